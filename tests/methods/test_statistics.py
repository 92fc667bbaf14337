"""Statistics of inputs: the sums of their definition, whatever the batches."""

import numpy as np
import pytest

from pennyweight.core.errors import BadRequest, BadWeights, ShapeError

torch = pytest.importorskip("torch")

from pennyweight.methods.quantized import check_statistics, hessian_error  # noqa: E402
from pennyweight.methods.statistics import accumulate, importance, nothing_seen  # noqa: E402

pytestmark = pytest.mark.torch


def inputs(tokens: int = 60, columns: int = 24) -> "torch.Tensor":
    return torch.from_numpy(np.random.default_rng(5).standard_normal((tokens, columns)).astype(np.float32))


def test_batches_sum_to_the_definition() -> None:
    x, seen = inputs(), nothing_seen("layer", 24)
    for batch in (x[:7], x[7:7], x[7:40].reshape(3, 11, 24), x[40:]):
        seen = accumulate(seen, batch)
    double = x.double().numpy()
    assert seen.tokens == 60
    np.testing.assert_allclose(seen.hessian, double.T @ double, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(seen.mean_square, (double**2).mean(0), rtol=1e-6)
    np.testing.assert_allclose(seen.mean_absolute, np.abs(double).mean(0), rtol=1e-6)
    np.testing.assert_array_equal(seen.absolute_maximum, x.abs().amax(0))
    np.testing.assert_allclose(importance(seen), np.diag(seen.hessian) / 60, rtol=1e-5)


def test_the_same_batches_give_the_same_bits() -> None:
    once, again = (accumulate(accumulate(nothing_seen("l", 24), inputs()[:30]), inputs()[30:]) for _ in range(2))
    assert torch.equal(once.hessian, again.hessian)
    assert torch.equal(once.sum_square, again.sum_square)


def test_half_precision_inputs_are_summed_in_float32() -> None:
    seen = accumulate(nothing_seen("l", 24), torch.full((70_000, 24), 0.01, dtype=torch.bfloat16))
    assert float(seen.mean_absolute[0]) == pytest.approx(0.01, rel=2**-8)


def test_bad_inputs_are_named_by_layer() -> None:
    x = inputs()
    x[3, 4] = float("inf")
    with pytest.raises(BadWeights, match=r"blk\.0\.attn_q\.weight: its inputs hold NaN, infinity"):
        accumulate(nothing_seen("blk.0.attn_q.weight", 24), x)
    with pytest.raises(ShapeError, match="inputs of width 8, wanted 24"):
        accumulate(nothing_seen("l", 24), inputs(columns=8))


def test_a_layer_without_tokens_is_refused_by_name() -> None:
    with pytest.raises(BadRequest, match="gptq needs activations, but expert 7 has seen no calibration token"):
        check_statistics(torch.zeros(2, 24), nothing_seen("expert 7", 24), "gptq")


def test_the_hessian_error_is_the_mean_output_error() -> None:
    x, rng = inputs(), np.random.default_rng(6)
    seen = accumulate(nothing_seen("l", 24), x)
    weight, other = (torch.from_numpy(rng.standard_normal((5, 24)).astype(np.float32)) for _ in range(2))
    expected = (((weight - other) @ x.T) ** 2).sum(0).mean()
    assert hessian_error(weight, other, seen) == pytest.approx(float(expected), rel=1e-5)
