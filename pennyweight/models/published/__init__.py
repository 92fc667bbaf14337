"""The rows of the catalogue: some seventy published models."""

from pennyweight.models.published.llama import LLAMA
from pennyweight.models.published.others import OTHERS
from pennyweight.models.published.qwen import QWEN
from pennyweight.models.published.row import Row

ROWS: tuple[Row, ...] = (*QWEN, *LLAMA, *OTHERS)
"""Every model of the catalogue; sizes in the names are the publishers'."""
