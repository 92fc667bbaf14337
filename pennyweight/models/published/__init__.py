"""The rows of the catalogue: some eighty published models."""

from pennyweight.models.published.llama import LLAMA
from pennyweight.models.published.others import OTHERS
from pennyweight.models.published.qwen import QWEN
from pennyweight.models.published.qwen_hybrid import QWEN_HYBRID
from pennyweight.models.published.row import Row

ROWS: tuple[Row, ...] = (*QWEN, *QWEN_HYBRID, *LLAMA, *OTHERS)
"""Every model of the catalogue; sizes in the names are the publishers'."""
