"""cli: parse, call a job, print; computes nothing."""
