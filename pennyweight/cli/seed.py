"""`-s/--seed`, as the verbs that draw tokens take it."""

MOST_SEED = 2**32 - 2
"""llama.cpp's seeds have 32 bits, and the last of them tells it to draw one that nobody hears of."""
