"""What fits a card, how fast it is, what it costs in quality, and why; every number says where it is from."""
