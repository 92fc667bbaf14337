"""jobs: one module per verb, what the Python face offers and the command line calls."""
