"""Makes formats.npz, the golden bytes of every number format. Run by hand, only to add to them: they stay for years.

    python -m tests.golden.make_formats

GGUF formats are encoded by ggml (the xllamacpp wheel), FP8 by torch's casts: never by Pennyweight.
"""

from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pennyweight import formats
from pennyweight.formats.base import BlockFormat
from tests.oracle import ggml_encode, hard_importances, hard_rows

PATH = Path(__file__).with_name("formats.npz")
COLUMNS = 256


def main() -> None:
    rows, importance = hard_rows(COLUMNS)[::3], hard_importances(COLUMNS)["lognormal"]
    arrays = {"rows": rows, "importance": importance}
    for format in formats.ALL:
        arrays[f"{format.name} plain"] = encoded(format, rows, None)
        arrays[f"{format.name} weighted"] = encoded(format, rows, importance)
    made_with = ", ".join(f"{package} {version(package)}" for package in ("xllamacpp", "torch", "numpy"))
    np.savez_compressed(PATH, made_by=f"tests/golden/make_formats.py with {made_with}", **arrays)


def encoded(
    format: BlockFormat, rows: NDArray[np.float32], importance: NDArray[np.float32] | None
) -> NDArray[np.uint8]:
    """The bytes of `format` by those who defined it."""
    if format.ggml_type is not None:
        return ggml_encode(format.ggml_type, rows, importance)
    import torch

    dtype = {"FP8_E4M3": torch.float8_e4m3fn, "FP8_E5M2": torch.float8_e5m2}[format.name]
    return torch.from_numpy(rows).to(dtype).view(torch.uint8).numpy()


if __name__ == "__main__":
    main()
