"""Pennyweight fits language models onto the hardware you own: plan, make, measure, run."""

__version__ = "0.1.0"
