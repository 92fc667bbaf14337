"""SpQR within a budget: every bit counted, grid and outliers by definition, and what the budget buys."""

from dataclasses import replace

import numpy as np
import pytest

from pennyweight.core.errors import BadRequest, ShapeError
from pennyweight.formats.spqr_codes import SpQRCodes, dense_bits
from pennyweight.kernels import grids

torch = pytest.importorskip("torch")

from pennyweight.methods import gptq, spqr_dense  # noqa: E402
from pennyweight.methods.quantized import hessian_error  # noqa: E402
from pennyweight.methods.spqr_dense import SpqrDenseConfig, quantize_weight  # noqa: E402
from pennyweight.methods.statistics import nothing_seen  # noqa: E402
from tests.methods.cases import layer  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.slow]


@pytest.mark.parametrize(("bits", "group"), [(3.25, 64), (3.5, 32), (3.4, 32), (3.75, 16), (5.0, 16)])
def test_the_budget_is_spent_to_the_last_outlier(bits: float, group: int) -> None:
    weight, seen = layer(rows=48)
    assert spqr_dense.group_for(bits) == group
    result = quantize_weight(weight, seen, SpqrDenseConfig(bits=bits, group_size=group))
    codes = result.codes
    assert isinstance(codes, SpQRCodes)
    spent = dense_bits(*weight.shape, group, codes.outlier_values.size)
    assert 0 <= bits * weight.numel() - spent < 32
    np.testing.assert_array_equal(codes.decode(), result.weight.numpy())
    assert (codes.second == codes.second.astype(np.float16)).all()
    assert max(codes.codes.max(), codes.scale_codes.max(), codes.zero_codes.max()) <= 7


def test_each_group_has_the_best_of_its_64_pairs() -> None:
    weight, seen = layer(rows=32, columns=64)
    cost = np.asarray(seen.mean_square)
    apart = np.random.default_rng(4).random(weight.shape) < 0.05
    found = spqr_dense.fit(weight.numpy(), cost, apart, 32)
    x, paid = weight.numpy().astype(float).reshape(32, 2, 32), (~apart * cost.astype(float)).reshape(32, 2, 32)

    def error(row: int, group: int, scale: float, zero: float) -> float:
        codes = np.clip(np.rint(x[row, group] / scale + zero), 0, 7)
        return float((paid[row, group] * (scale * (codes - zero) - x[row, group]) ** 2).sum())

    for row in range(32):
        for group in range(2):
            step, shift, zero_step, zero_shift = found.second[row // 16, group].astype(float)
            scales, zeros = step * (np.arange(8) - shift), zero_step * (np.arange(8) - zero_shift)
            least = min(error(row, group, s, z) for s in scales if s > 0 for z in zeros)
            ours = error(row, group, float(found.scale[row, group]), float(found.zero[row, group]))
            assert ours == pytest.approx(least, rel=1e-4)


def test_those_kept_apart_cost_most_on_the_grid_of_the_others() -> None:
    weight, seen = layer(rows=16, columns=64)
    weight, cost = weight.numpy(), np.asarray(seen.mean_square)
    sensitivity = np.linspace(0.5, 2, 64).astype(np.float32)
    found = spqr_dense.fit(weight, cost, np.zeros(weight.shape, bool), 32)
    for _ in range(2):
        scale, zero = np.repeat(found.scale, 32, 1).astype(float), np.repeat(found.zero, 32, 1).astype(float)
        missed = scale * (np.clip(np.rint(weight / scale + zero), 0, 7) - zero) - weight
        order = np.argsort(-(missed**2 * sensitivity), axis=None)
        apart = np.zeros(weight.size, bool)
        apart[order[:20]] = True
        found = spqr_dense.fit(weight, cost, apart.reshape(weight.shape), 32)
    ours, kept = spqr_dense.fit_around_outliers(weight, cost, sensitivity, 32, 20)
    np.testing.assert_array_equal(kept.reshape(-1), apart)
    np.testing.assert_array_equal(ours.scale, found.scale)


def test_it_beats_gptq_at_no_more_bits_and_more_bits_buy_less_error() -> None:
    weight, seen = layer(rows=64)
    errors = []
    for bits in (3.25, 3.5, 3.75, 4.0):
        config = SpqrDenseConfig(bits=bits, group_size=spqr_dense.group_for(bits))
        errors.append(hessian_error(weight, quantize_weight(weight, seen, config).weight, seen))
    assert errors == sorted(errors, reverse=True)
    for grid, ours in (("INT3_G64", errors[0]), ("INT3_G32", errors[1]), ("INT3_G32_ASYM", errors[1])):
        rival = gptq.quantize_weight(weight, seen, grids.get(grid))
        assert rival.codes.stored_bits >= {"INT3_G64": 3.25}.get(grid, 3.5) * weight.numel()
        assert ours < 0.9 * hessian_error(weight, rival.weight, seen), grid


def test_dead_columns_are_rounded_and_the_loss_is_the_damped_output_error() -> None:
    weight, seen = layer(rows=32, columns=256)
    for part in (seen.hessian[7], seen.hessian[:, 7], seen.sum_square[7:8], seen.absolute_maximum[7:8]):
        part.zero_()
    result = quantize_weight(weight, seen, SpqrDenseConfig(damp=0.01))
    assert result.dead_columns == 1
    assert (result.weight[:, 7] - weight[:, 7]).abs().max() < 0.1
    alive = torch.arange(256) != 7
    damping = result.damp * float(seen.mean_square.mean()) * float((weight - result.weight)[:, alive].square().sum())
    assert result.loss == pytest.approx(hessian_error(weight, result.weight, seen) + damping, rel=2e-2)


def test_what_cannot_be_done_is_refused_by_name() -> None:
    weight, seen = layer(rows=32, columns=256)
    with pytest.raises(
        BadRequest, match=r"3\.3 bits a weight are asked for, but codes and scales of 32 × 256 take 3\.375"
    ):
        quantize_weight(weight, seen, SpqrDenseConfig(bits=3.3))
    with pytest.raises(ShapeError, match=r"rows of 16, got 30 × 256"):
        quantize_weight(weight[:30], seen)
    with pytest.raises(BadRequest, match="spqr needs activations"):
        quantize_weight(weight, nothing_seen("l", 256))
    with pytest.raises(BadRequest, match="spqr needs the Hessian"):
        quantize_weight(weight, replace(seen, hessian=None))
