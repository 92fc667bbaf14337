"""lint: what is wrong with a checkpoint before anybody deploys it; one file for each thing that is looked at."""
