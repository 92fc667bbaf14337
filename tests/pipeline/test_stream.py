"""The stream's bytes are the format's own, whatever the threads and slabs; bad weights are named."""

import numpy as np
import pytest
from numpy.typing import NDArray

from pennyweight import formats
from pennyweight.checkpoints.base import LazyTensor
from pennyweight.core.errors import BadWeights
from pennyweight.pipeline.stream import TensorPlan, stream


def _tensor(name: str, values: NDArray[np.float32]) -> LazyTensor:
    flat = values.reshape(-1, values.shape[-1])
    return LazyTensor(
        name=name,
        shape=values.shape,
        format="F32",
        nbytes=values.nbytes,
        read_rows=lambda start, stop: flat[start:stop],
        raw_rows=lambda start, stop: flat[start:stop].view(np.uint8),
    )


def _collect(plans: list[TensorPlan], threads: int, slab_weights: int) -> dict[str, NDArray[np.uint8]]:
    out = {p.tensor.name: np.zeros((p.tensor.rows, p.format.row_bytes(p.tensor.columns)), np.uint8) for p in plans}

    def write(name: str, start: int, data: NDArray[np.uint8]) -> None:
        out[name][start : start + len(data)] = data

    stream(plans, write, threads=threads, slab_weights=slab_weights)
    return out


@pytest.mark.slow
def test_threads_and_slabs_never_change_the_bytes() -> None:
    rng = np.random.default_rng(3)
    experts = rng.standard_normal((3, 7, 256)).astype(np.float32)
    importance = rng.random((3, 256)).astype(np.float32)
    dense = rng.standard_normal((33, 512)).astype(np.float32)
    plans = [
        TensorPlan(tensor=_tensor("experts", experts), format=formats.get("Q4_K"), importance=importance),
        TensorPlan(tensor=_tensor("dense", dense), format=formats.get("Q8_0")),
        TensorPlan(tensor=_tensor("norm", dense[0]), format=formats.get("F32")),
    ]
    wanted = np.concatenate([formats.get("Q4_K").encode(experts[e], importance[e]) for e in range(3)])
    for threads, slab_weights in ((1, 1), (2, 700), (3, 1 << 20)):
        got = _collect(plans, threads, slab_weights)
        assert np.array_equal(got["experts"], wanted)
        assert np.array_equal(got["dense"], formats.get("Q8_0").encode(dense))
        assert np.array_equal(got["norm"].view(np.float32)[0], dense[0])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_weight_that_is_no_number_is_named_with_its_place(bad: float) -> None:
    values = np.ones((40, 64), np.float32)
    values[37, 5] = bad
    plan = TensorPlan(tensor=_tensor("blk.0.attn_q.weight", values), format=formats.get("Q8_0"))
    with pytest.raises(BadWeights, match=r"blk\.0\.attn_q\.weight holds (nan|-?inf) at row 37, column 5"):
        stream([plan], lambda *_: None, threads=2, slab_weights=640)
