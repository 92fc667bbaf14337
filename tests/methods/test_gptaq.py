"""GPTAQ: its target is the least-squares solution, rounding it is rounding towards the unquantized model's outputs."""

from dataclasses import replace

import numpy as np
import pytest

from pennyweight.core.errors import BadRequest
from pennyweight.kernels import grids

torch = pytest.importorskip("torch")

from pennyweight.methods import gptaq, gptq  # noqa: E402
from pennyweight.methods.gptaq import GptaqConfig, target  # noqa: E402
from pennyweight.methods.statistics import Statistics, accumulate, nothing_seen, scaled  # noqa: E402
from tests.methods.cases import inputs  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.slow]

COLUMNS, TOKENS = 128, 900
FULL_SOLUTION = GptaqConfig(part=1.0, damp=0.0)


def drifted(columns: int = COLUMNS) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A weight, the unquantized model's inputs x̃, and what the layers before made of them: x, near them and shrunk."""
    rng = np.random.default_rng(3)
    weight = torch.from_numpy(rng.standard_normal((24, columns)).astype(np.float32))
    full = inputs(columns, TOKENS)
    noise = torch.from_numpy(rng.standard_normal(full.shape).astype(np.float32))
    return weight, full, 0.9 * full + 0.3 * full.std(0) * noise + 0.05 * full.roll(1, 1)


def seen(full: torch.Tensor, x: torch.Tensor, batches: int = 3) -> Statistics:
    found = nothing_seen("blk.0.ffn_up.weight", x.shape[1], drift=True)
    for part, whole in zip(x.chunk(batches), full.chunk(batches), strict=True):
        found = accumulate(found, part, whole)
    return found


def test_the_target_is_the_least_squares_fit_of_the_unquantized_outputs() -> None:
    weight, full, x = drifted()
    found = target(weight, seen(full, x), FULL_SOLUTION)
    wanted = np.linalg.lstsq(x.double().numpy(), (full.double() @ weight.double().T).numpy(), rcond=None)[0].T
    np.testing.assert_allclose(found.numpy(), wanted, atol=2e-3 * np.abs(wanted).max())


def test_any_rounding_is_as_far_from_the_outputs_as_from_the_target_but_for_a_constant() -> None:
    weight, full, x = (part.double() for part in drifted())
    wanted = target(weight.float(), seen(full.float(), x.float()), FULL_SOLUTION).double()
    generator = torch.Generator().manual_seed(0)
    constants = []
    for _ in range(4):
        q = weight + 0.1 * torch.randn(weight.shape, generator=generator, dtype=torch.float64)
        constants.append(float((full @ weight.T - x @ q.T).square().sum() - (x @ (wanted - q).T).square().sum()))
    np.testing.assert_allclose(constants, constants[0], rtol=1e-3)


def test_rounding_towards_the_outputs_comes_nearer_to_them_than_gptq() -> None:
    weight, full, x = drifted()
    statistics = seen(full, x)
    outputs = full @ weight.T

    def far(quantized: torch.Tensor) -> float:
        return float((outputs - x @ quantized.T).square().sum())

    grid = grids.get("INT4_G32")
    ours = far(gptaq.quantize_weight(weight, statistics, grid, GptaqConfig(part=1.0)).weight)
    half = far(gptaq.quantize_weight(weight, statistics, grid, GptaqConfig(part=0.5)).weight)
    theirs = far(gptq.quantize_weight(weight, statistics, grid).weight)
    assert ours < half < theirs


def test_no_part_and_no_drift_are_gptq_bit_for_bit() -> None:
    weight, full, x = drifted()
    grid, drifting, still = grids.get("INT4_G32"), seen(full, x), seen(x, x)
    for statistics, config in ((drifting, GptaqConfig(part=0.0)), (still, GptaqConfig(part=1.0))):
        ours = gptaq.quantize_weight(weight, statistics, grid, config)
        assert torch.equal(ours.weight, gptq.quantize_weight(weight, statistics, grid).weight)


def test_scaled_inputs_have_the_scaled_drift() -> None:
    _, full, x = drifted()
    scale = torch.linspace(0.5, 2.0, COLUMNS)
    found, wanted = scaled(seen(full, x), scale), seen(full / scale, x / scale)
    torch.testing.assert_close(found.drift, wanted.drift, rtol=1e-3, atol=1e-3 * float(wanted.drift.abs().max()))


def test_statistics_without_drift_and_parts_that_make_no_sense_are_refused() -> None:
    weight, full, x = drifted()
    statistics = seen(full, x)
    with pytest.raises(BadRequest, match="needs the Hessian and the drift"):
        gptaq.quantize_weight(weight, replace(statistics, drift=None), grids.get("INT4_G32"))
    with pytest.raises(BadRequest, match=r"part is between 0 and 1, got 1\.5"):
        gptaq.quantize_weight(weight, statistics, grids.get("INT4_G32"), GptaqConfig(part=1.5))
