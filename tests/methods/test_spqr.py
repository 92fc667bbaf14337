"""SpQR: by definition, what its outliers and its damping must satisfy, and its refusals."""

from dataclasses import replace

import numpy as np
import pytest

from pennyweight.core.errors import BadRequest, ShapeError
from pennyweight.formats import grids
from pennyweight.formats.spqr_codes import SpQRCodes

torch = pytest.importorskip("torch")

from pennyweight.methods import rtn, spqr  # noqa: E402
from pennyweight.methods.quantized import hessian_error  # noqa: E402
from pennyweight.methods.spqr import SpqrConfig, quantize_weight  # noqa: E402
from pennyweight.methods.statistics import nothing_seen  # noqa: E402
from pennyweight.transforms.plants import enlarge_weights  # noqa: E402
from tests.methods.cases import layer  # noqa: E402

pytestmark = pytest.mark.torch


def heavy(rows: int = 32, columns: int = 256) -> tuple["torch.Tensor", "object"]:
    weight, seen = layer(rows=rows, columns=columns)
    return enlarge_weights(weight, 0.005, 8.0, seed=2), seen


def outliers(codes: SpQRCodes) -> np.ndarray:
    found = np.zeros(codes.codes.shape, bool)
    found[np.repeat(np.arange(len(found)), np.diff(codes.outlier_offsets)), codes.outlier_columns] = True
    return found


@pytest.mark.parametrize("act_order", [False, True])
def test_codes_outliers_and_loss_are_those_of_the_definition(act_order: bool) -> None:
    weight, seen = heavy(rows=16, columns=64)
    config = SpqrConfig(act_order=act_order, damp=0.1)
    result = quantize_weight(weight, seen, config)
    codes = result.codes
    hessian = 2 * seen.hessian.double().numpy() / seen.tokens
    hessian += 0.1 * np.diag(hessian).mean() * np.eye(64)
    order = np.argsort(-np.diag(seen.hessian.numpy()), kind="stable") if act_order else np.arange(64)
    w = weight.double().numpy().copy()
    # 1 / d² of each column: what is left of H⁻¹ when the columns before it are fixed, inverted anew each time.
    inverses = {j: np.linalg.inv(hessian[np.ix_(order[i:], order[i:])]) for i, j in enumerate(order)}
    cost = np.array([1 / inverses[j][0, 0] for j in range(64)])
    threshold = config.outlier_threshold * (weight.numpy().var(0) * cost).mean()
    second = np.repeat(codes.second, 16, axis=0)
    scale = second[..., 0] * (codes.scale_codes - second[..., 1])
    zero = second[..., 2] * (codes.zero_codes - second[..., 3])
    loss, decoded, apart = 0.0, np.zeros_like(w), np.zeros(w.shape, bool)
    for i, j in enumerate(order):
        s, z = scale[:, j // 16], zero[:, j // 16]
        dense = s * (np.clip(np.rint(w[:, j] / s + z), 0, 7) - z)
        apart[:, j] = (w[:, j] - dense) ** 2 * cost[j] > threshold
        decoded[:, j] = np.where(apart[:, j], w[:, j].astype(np.float16), dense)
        error = w[:, j] - decoded[:, j]
        loss += (error**2).sum() * cost[j] / 2
        w[:, order[i:]] -= np.outer(error, inverses[j][0] / inverses[j][0, 0])
    np.testing.assert_array_equal(outliers(codes), apart)
    np.testing.assert_allclose(result.weight.numpy(), decoded, rtol=2e-3, atol=2e-5)
    assert result.loss == pytest.approx(loss, rel=1e-3)
    assert apart.any()


def test_weights_left_out_are_those_whose_absence_helps_the_others() -> None:
    weight = np.random.default_rng(3).standard_normal((4, 32)).astype(np.float32) * np.float32(0.1)
    weight[1, 5], weight[2, 20] = 4.0, -3.0
    cost = np.linspace(0.5, 2, 32).astype(np.float32)
    expected = np.zeros(weight.shape, bool)

    def error(values: np.ndarray, costs: np.ndarray) -> float:
        scale = (values.max() - values.min()) / 7
        codes = np.rint((values - values.min()) / scale)
        return float((((values.min() + scale * codes) - values) ** 2 * costs).sum())

    for row in range(4):
        for group in (slice(0, 16), slice(16, 32)):
            values, costs = weight[row, group].astype(float), cost[group].astype(float)
            for i in range(16):
                without = error(np.delete(values, i), np.delete(costs, i))
                expected[row, group.start + i] = error(values, costs) - without > 0.05
    np.testing.assert_array_equal(spqr.leave_one_out(weight, cost, 0.05), expected)
    assert expected[1, 5]
    assert expected[2, 20]


def test_the_weight_is_what_the_codes_decode_to_and_the_second_order_is_float16() -> None:
    result = quantize_weight(*heavy())
    assert isinstance(result.codes, SpQRCodes)
    np.testing.assert_array_equal(result.codes.decode(), result.weight.numpy())
    assert (result.codes.second == result.codes.second.astype(np.float16)).all()
    assert (result.codes.outlier_values == result.codes.outlier_values.astype(np.float16)).all()
    for part in (result.codes.codes, result.codes.scale_codes, result.codes.zero_codes):
        assert part.max() <= 7


def test_the_loss_is_the_damped_output_error() -> None:
    weight, seen = heavy()
    result = quantize_weight(weight, seen, SpqrConfig(damp=0.01))
    damping = result.damp * float(seen.mean_square.mean()) * float((weight - result.weight).square().sum())
    assert result.loss == pytest.approx(hessian_error(weight, result.weight, seen) + damping, rel=1e-3)


def test_a_lower_threshold_keeps_more_apart_costs_more_bits_and_errs_less() -> None:
    weight, seen = heavy()
    results = [quantize_weight(weight, seen, SpqrConfig(outlier_threshold=t)) for t in (1e9, 0.5, 0.1)]
    counts = [result.codes.outlier_values.size for result in results]
    assert counts[0] == 0 < counts[1] < counts[2]
    assert [result.codes.stored_bits for result in results] == [
        4 * weight.numel() + 32 * (count + len(weight) + 1) for count in counts
    ]
    errors = [hessian_error(weight, result.weight, seen) for result in results]
    assert errors[0] > errors[1] > errors[2]


def test_few_outliers_beat_nearest_rounding_of_more_bits() -> None:
    weight, seen = heavy()
    ours = quantize_weight(weight, seen, SpqrConfig(outlier_threshold=0.5))
    nearest = rtn.quantize_weight(weight, seen, grids.get("INT4_G32_ASYM"), rtn.RtnConfig(clip_search=True))
    assert ours.codes.stored_bits < nearest.codes.stored_bits
    assert hessian_error(weight, ours.weight, seen) < hessian_error(weight, nearest.weight, seen)


def test_lazy_columns_change_the_result_by_rounding_alone() -> None:
    weight, seen = heavy()
    results = [quantize_weight(weight, seen, SpqrConfig(lazy_columns=n)) for n in (1, 32, 256)]
    for other in results[1:]:
        assert (other.codes.codes != results[0].codes.codes).mean() < 0.01  # sums in another order may break a tie
        assert other.loss == pytest.approx(results[0].loss, rel=1e-2)


def test_flat_and_zero_groups_decode_to_their_number() -> None:
    weight, seen = layer(rows=16, columns=64)
    weight[:, :16], weight[:, 16:32] = 0.0, 0.25
    result = quantize_weight(weight, seen)
    assert result.weight[:, :16].abs().max() < 1e-3
    assert (result.weight[:, 16:32] - 0.25).abs().max() < 0.02


def test_what_cannot_be_done_is_refused_by_name() -> None:
    weight, seen = heavy()
    with pytest.raises(ShapeError, match=r"multiples of 16, got \(30, 256\)"):
        quantize_weight(weight[:30], seen)
    with pytest.raises(BadRequest, match="spqr needs activations"):
        quantize_weight(weight, nothing_seen("l", 256))
    with pytest.raises(BadRequest, match="spqr needs the Hessian"):
        quantize_weight(weight, replace(seen, hessian=None))
