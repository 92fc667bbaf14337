"""Scaling between layers keeps the function (in float64), whoever chose the scale; and the searches do not harm."""

from itertools import pairwise

import numpy as np
import pytest

from pennyweight.core.errors import BadRequest, BadWeights, ShapeError
from pennyweight.formats import grids
from pennyweight.formats.grid import Grid, Parameters
from pennyweight.formats.integer_grid import range_parts

torch = pytest.importorskip("torch")

from pennyweight.methods.statistics import accumulate, nothing_seen, scaled  # noqa: E402
from pennyweight.transforms import awq_clip, plants  # noqa: E402
from pennyweight.transforms.awq_scale import AwqConfig, round_to_nearest, search_scale  # noqa: E402
from pennyweight.transforms.scaling import divide_outputs, scale_columns  # noqa: E402
from pennyweight.transforms.smooth import smoothing_scale  # noqa: E402
from tests.methods.cases import inputs, layer  # noqa: E402

pytestmark = pytest.mark.torch

COLUMNS = 256


def random(*shape: int, seed: int = 3) -> "torch.Tensor":
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def salient() -> tuple["torch.Tensor", "torch.Tensor"]:
    """A weight and inputs of which four channels are thirty times as large as the others."""
    x = inputs(COLUMNS) / inputs(COLUMNS).std(0)
    x[:, [5, 77, 130, 201]] *= 30
    return layer(columns=COLUMNS)[0], x


def error(weight: "torch.Tensor", rounded: "torch.Tensor", x: "torch.Tensor") -> float:
    return float(((weight - rounded) @ x.T).square().sum() / len(x))


def test_a_scale_moves_from_a_norm_to_its_readers_and_nothing_changes() -> None:
    gain, weight, x = random(COLUMNS), random(7, COLUMNS), random(9, COLUMNS, seed=4)
    scale = random(COLUMNS, seed=5).abs() + 0.1
    before = (x * gain) @ weight.T
    after = (x * (gain / scale)) @ (weight * scale).T
    torch.testing.assert_close(after, before, rtol=1e-12, atol=1e-12)
    ours = (x.float() * divide_outputs(gain.float(), scale.float())) @ scale_columns(weight.float(), scale.float()).T
    torch.testing.assert_close(ours.double(), before, rtol=1e-4, atol=1e-4)


def test_a_producers_rows_and_bias_are_divided() -> None:
    producer, scale = random(6, 4).float(), random(6, seed=9).float().abs() + 0.5
    x = random(3, 4, seed=8).float()
    torch.testing.assert_close(divide_outputs(producer, scale) @ x.T, (producer @ x.T) / scale[:, None])
    torch.testing.assert_close(divide_outputs(producer[:, 0], scale), producer[:, 0] / scale)


def test_scales_that_would_break_the_function_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"a scale for 8 channels is wanted, got \(4,\)"):
        scale_columns(torch.ones(2, 8), torch.ones(4))
    with pytest.raises(BadWeights, match="finite and above zero"):
        scale_columns(torch.ones(2, 4), torch.tensor([1.0, 0.0, 1.0, 1.0]))


@pytest.mark.parametrize("name", ["INT4_G128_ASYM", "INT3_G128", "INT4", "Q4_0"])
def test_awq_halves_the_error_where_few_channels_are_salient_and_reports_it_truly(name: str) -> None:
    weight, x = salient()
    grid, hessian = grids.get(name), x.T @ x / len(x)
    found = search_scale([weight[:10], weight[10:]], x.abs().mean(0), hessian, grid, AwqConfig())
    importance = (hessian.diagonal() / found.scale**2).numpy()
    parts = [
        round_to_nearest(part * found.scale, grid, importance) / found.scale for part in (weight[:10], weight[10:])
    ]
    assert found.error == pytest.approx(error(weight, torch.cat(parts), x), rel=1e-3)
    assert found.error < 0.5 * found.plain_error
    assert found.scale[[5, 77, 130, 201]].min() > found.scale.median()


def test_awq_never_raises_the_error_it_searches() -> None:
    weight, seen = layer(columns=COLUMNS)
    for duo in (False, True):
        found = search_scale(
            [weight], seen.mean_absolute, seen.hessian / seen.tokens, grids.get("INT8"), AwqConfig(duo_scaling=duo)
        )
        assert found.error <= found.plain_error
    alike = search_scale([weight], torch.ones(COLUMNS), torch.eye(COLUMNS), grids.get("INT4"), AwqConfig(steps=0))
    assert alike.ratio is None
    assert torch.equal(alike.scale, torch.ones(COLUMNS))
    with pytest.raises(BadRequest, match="no layer reads this input"):
        search_scale([], torch.ones(4), torch.eye(4), grids.get("INT4"))


def test_statistics_of_scaled_inputs_are_those_of_the_inputs_scaled() -> None:
    x = inputs(32)
    scale = random(32).float().abs() + 0.2
    there, here = accumulate(nothing_seen("l", 32), x / scale), scaled(accumulate(nothing_seen("l", 32), x), scale)
    for name in ("hessian", "sum_square", "sum_absolute", "absolute_maximum"):
        torch.testing.assert_close(getattr(here, name), getattr(there, name), rtol=1e-4, atol=1e-3)


def output_errors(
    weight: "torch.Tensor", hessian: "torch.Tensor", grid: Grid, parameters: Parameters
) -> "torch.Tensor":
    """Δ H Δᵀ of each row, float64."""
    array = weight.numpy()
    missed = weight - torch.from_numpy(grid.decode(grid.round(array, parameters), parameters))
    return (missed.double() @ hessian.double() * missed).sum(1)


def ranges(weight: "torch.Tensor", grid: Grid) -> list[Parameters]:
    """Of one group, all that a clip search may choose from."""
    array = weight.numpy()
    low, high = np.minimum(array.min(1, keepdims=True), 0), np.maximum(array.max(1, keepdims=True), 0)
    return [grid.fit(np.clip(array, low * part, high * part)) for part in range_parts()]


@pytest.mark.parametrize("name", ["INT3_G128", "INT4_G128_ASYM", "INT4_G128"])
def test_clipping_takes_the_range_that_no_other_betters_given_all_other_groups(name: str) -> None:
    weight, seen = layer(columns=COLUMNS + 64)  # the last group is short
    hessian, grid = seen.hessian / seen.tokens, grids.get(name)
    found = awq_clip.clip(weight, hessian, grid, sweeps=10)
    least = output_errors(weight, hessian, grid, found)
    for group, columns in enumerate((slice(0, 128), slice(128, 256), slice(256, 320))):
        for tried in ranges(weight[:, columns], grid):
            step, zero = found.step.copy(), found.zero.copy()
            step[:, group], zero[:, group] = tried.step[:, 0], tried.zero[:, 0]
            other = Parameters(step=step, zero=zero, minimum=np.zeros_like(step))
            assert (output_errors(weight, hessian, grid, other) >= least * (1 - 1e-4)).all()


@pytest.mark.parametrize("name", ["INT3_G128", "INT4_G128_ASYM"])
def test_clipping_of_one_group_is_the_papers_least_squared_output_error(name: str) -> None:
    weight, x = layer(columns=128)[0], inputs(128)
    grid = grids.get(name)
    found = awq_clip.clip(weight, x.T @ x / len(x), grid)
    errors = torch.stack(
        [
            ((weight - torch.from_numpy(grid.decode(grid.round(weight.numpy(), p), p))) @ x.T).square().mean(1)
            for p in ranges(weight, grid)
        ]
    )
    rounded = torch.from_numpy(grid.decode(grid.round(weight.numpy(), found), found))
    torch.testing.assert_close(((weight - rounded) @ x.T).square().mean(1), errors.amin(0), rtol=1e-4, atol=0)
    assert errors.amin(0).sum() < 0.95 * errors[0].sum()


def test_a_sweep_of_clipping_never_raises_the_layers_output_error() -> None:
    weight, seen = layer(columns=COLUMNS)
    hessian, grid = seen.hessian / seen.tokens, grids.get("INT3_G128")
    errors = [output_errors(weight, hessian, grid, awq_clip.clip(weight, hessian, grid, sweeps=n)) for n in range(4)]
    for before, after in pairwise(errors):
        assert (after <= before * (1 + 1e-4)).all()
    assert errors[1].sum() < 0.9 * errors[0].sum()
    with pytest.raises(BadRequest, match="needs an integer grid, got Q4_K"):
        awq_clip.clip(weight, hessian, grids.get("Q4_K"))


def test_smoothing_levels_the_ranges_and_is_its_formula() -> None:
    weight, x = salient()
    largest = x.abs().amax(0)
    scale = smoothing_scale([weight[:10], weight[10:]], largest)
    torch.testing.assert_close(scale, (largest / weight.abs().amax(0)).sqrt(), rtol=1e-4, atol=0)
    smooth = (x / scale).abs().amax(0)
    torch.testing.assert_close(smooth, (weight * scale).abs().amax(0), rtol=1e-4, atol=1e-6)
    assert smooth.max() / smooth.median() < 0.5 * largest.max() / largest.median()
    with pytest.raises(BadRequest, match="alpha between 0 and 1"):
        smoothing_scale([weight], largest, alpha=1.5)


def test_plants_a_and_c_keep_the_function_and_enlarge_what_passes() -> None:
    gain, weight, x = random(16), random(5, 16), random(9, 16, seed=4)
    planted, (reader,) = plants.enlarge_channels(gain.float(), [weight.float()], [2, 9], 50.0)
    torch.testing.assert_close((x.float() * planted) @ reader.T, ((x * gain) @ weight.T).float(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(planted[[2, 9]], gain[[2, 9]].float() * 50, rtol=1e-5, atol=0)
    up, down = random(16, 8).float(), random(4, 16).float()
    large, (small,) = plants.enlarge_channels(up, [down], [3], 40.0)
    torch.testing.assert_close(small @ large, down @ up, rtol=1e-4, atol=1e-4)


def test_plant_b_keeps_rotated_attention_scores_only_on_whole_pairs() -> None:
    heads, length, tokens = (4, 2), 8, 6
    query, key = random(heads[0] * length, 16).float(), random(heads[1] * length, 16, seed=6).float()
    x = random(tokens, 16, seed=7).float()
    planted = plants.enlarge_keys(query, key, heads, pair=1, factor=20.0)

    def scores(q: "torch.Tensor", k: "torch.Tensor") -> "torch.Tensor":
        angle = torch.arange(tokens)[:, None] / 7.0 ** torch.arange(length // 2)
        cos, sin = angle.cos(), angle.sin()

        def rotated(weight: "torch.Tensor") -> "torch.Tensor":
            a, b = (x @ weight.T).reshape(tokens, -1, 2, length // 2).unbind(2)
            return torch.cat((a * cos[:, None] - b * sin[:, None], b * cos[:, None] + a * sin[:, None]), -1)

        return torch.einsum("thl,shl->hts", rotated(q), rotated(k).repeat_interleave(2, 1))

    torch.testing.assert_close(scores(*planted), scores(query, key), rtol=1e-3, atol=1e-3)
    single = torch.ones(length)
    single[1] = 20.0
    wrong = divide_outputs(query, single.repeat(4)), divide_outputs(key, 1 / single.repeat(2))
    assert (scores(*wrong) - scores(query, key)).abs().max() > 1
    with pytest.raises(BadRequest, match="rotary pairs are 0 to 3, got 4"):
        plants.enlarge_keys(query, key, heads, pair=4, factor=2.0)


def test_plants_t_and_g_change_what_they_say() -> None:
    table = random(10, 6).float()
    planted = plants.offset_embedding(table, [1, 4], 8.0)
    torch.testing.assert_close(planted - table, torch.tensor([0.0, 8, 0, 0, -8, 0]).expand(10, 6))
    weight = random(100, 100).float()
    tailed = plants.enlarge_weights(weight, 0.005, 8.0, seed=1)
    changed = tailed != weight
    assert 20 <= int(changed.sum()) <= 90
    torch.testing.assert_close(tailed[changed], weight[changed] * 8)
    assert torch.equal(tailed, plants.enlarge_weights(weight, 0.005, 8.0, seed=1))
