"""The embedded model: a small Qwen3 in bfloat16 and a text of ours, so that one command runs with no download."""

from pathlib import Path

EMBEDDED = Path(__file__).parent
"""The checkpoint directory, in the Hugging Face layout."""

SURVEY = EMBEDDED / "survey.md"
"""A survey of quantization in our own words, about 60 kB: what the demo evaluates on, held back from the training."""
