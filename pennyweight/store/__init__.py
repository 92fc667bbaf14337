"""store: what was measured and calibrated here, in one SQLite file: what, how, where, when, seed."""
