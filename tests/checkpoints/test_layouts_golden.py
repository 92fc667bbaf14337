"""Our packers against the libraries whose layouts they write, word for word (golden/make_layouts.py made them)."""

from pathlib import Path

import numpy as np
import pytest

from pennyweight.checkpoints import layouts
from pennyweight.formats.codes import IntegerCodes
from tests.golden.make_layouts import GROUP, random_codes

GOLDEN = dict(np.load(Path(__file__).parents[1] / "golden" / "layouts.npz"))
CASES = sorted({tuple(name.split("/")[:2]) for name in GOLDEN if not name.startswith("made by")})


def test_the_golden_file_says_who_made_it() -> None:
    assert sorted(name for name in GOLDEN if name.startswith("made by")) == [
        "made by/compressed-tensors",
        "made by/gptqmodel",
    ]
    assert {layout for layout, _ in CASES} == {"awq", "gptq", "gptq_v2", "pack-quantized"}


@pytest.mark.parametrize(("layout", "bits"), CASES)
def test_every_word_is_the_librarys(layout: str, bits: str) -> None:
    codes, zero_point, scale = random_codes(int(bits))
    given = IntegerCodes(
        bits=int(bits),
        group_size=GROUP,
        symmetric=False,
        codes=codes,
        scale=scale.astype(np.float32),
        zero_point=zero_point,
    )
    packed = {tensor.suffix: tensor for tensor in layouts.get(layout).pack(given)}
    for name, theirs in GOLDEN.items():
        if name.startswith(f"{layout}/{bits}/"):
            ours = packed[name.rsplit("/", 1)[1]]
            assert ours.shape == theirs.shape, name
            np.testing.assert_array_equal(ours.data.view(theirs.dtype).reshape(theirs.shape), theirs, err_msg=name)
