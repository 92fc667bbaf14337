"""LLM.int8() and other rounded activations: closed numbers, the split by definition, and what hooks may rely on."""

from dataclasses import replace

import numpy as np
import pytest

from pennyweight.core.errors import BadRequest
from pennyweight.formats import grids
from pennyweight.formats.codes import Float8Codes

torch = pytest.importorskip("torch")

from pennyweight.methods import activations, fp8, llm_int8  # noqa: E402
from pennyweight.methods.fp8 import Fp8Config  # noqa: E402
from pennyweight.methods.statistics import accumulate, nothing_seen  # noqa: E402
from tests.methods.cases import inputs, layer  # noqa: E402

pytestmark = pytest.mark.torch


def gaussian(tokens: int = 512, columns: int = 4096, rows: int = 256) -> tuple["torch.Tensor", "torch.Tensor"]:
    rng = np.random.default_rng(12)
    return tuple(
        torch.from_numpy(rng.standard_normal(shape).astype(np.float32))
        for shape in ((tokens, columns), (rows, columns))
    )


def relative_error(x: "torch.Tensor", weight: "torch.Tensor", threshold: float) -> float:
    codes = llm_int8.quantize_weight(weight, None, grids.get("INT8")).codes
    exact = x @ weight.T
    return float((llm_int8.matmul(x, codes, threshold) - exact).norm() / exact.norm())


def by_definition(x: np.ndarray, weight: np.ndarray, threshold: float) -> np.ndarray:
    """bitsandbytes' steps, one after the other, in NumPy with integers."""
    absmax = np.abs(weight).max(1)
    cb = np.rint(weight * (127 / absmax)[:, None]).astype(np.int64)
    outlier = (np.abs(x) >= threshold).any(0)
    sca = np.where(np.abs(x) < threshold, np.abs(x), 0).max(1)
    ca = np.rint(x * (127 / sca)[:, None]).astype(np.int64)
    ca[:, outlier] = 0
    whole = (ca @ cb.T) * sca[:, None] * absmax / 127**2
    return whole + x[:, outlier].astype(np.float64) @ (cb[:, outlier] * absmax[:, None] / 127).T


def test_the_split_product_is_the_definition() -> None:
    x, weight = gaussian(tokens=20, columns=300, rows=30)
    x[:, [4, 100]] *= 20
    codes = llm_int8.quantize_weight(weight, None, grids.get("INT8")).codes
    expected = by_definition(x.numpy(), weight.numpy(), 6.0)
    # The scale of a row is a float16 number here: 2^-11 of the output, and now and then another code.
    difference = np.linalg.norm(llm_int8.matmul(x, codes).numpy() - expected) / np.linalg.norm(expected)
    assert difference < 4e-3
    assert codes.codes.min() >= 1


def test_gaussian_layers_have_the_error_of_theory() -> None:
    assert relative_error(*gaussian(), 6.0) == pytest.approx(0.012213, abs=3e-4)


@pytest.mark.parametrize(("factor", "split"), [(20, 0.0109), (60, 0.0092)])
def test_six_large_channels_spoil_plain_int8_and_not_the_split(factor: float, split: float) -> None:
    x, weight = gaussian()
    x[:, [7, 300, 1111, 2048, 3000, 4000]] *= factor
    # A rounding error is even in a step: step² / 12 of each input, and as much of each weight, relative to their size.
    step_x, step_w = x.abs().amax(1) / 127, weight.abs().amax(1) / 127
    theory = (step_x.square().mean() / 12 / x.square().mean() + step_w.square().mean() / 12).sqrt()
    assert relative_error(x, weight, 0.0) == pytest.approx(float(theory), rel=0.03)
    assert relative_error(x, weight, 6.0) == pytest.approx(split, rel=0.1)


def test_no_outliers_or_no_threshold_are_plain_int8_bit_for_bit() -> None:
    x, weight = gaussian(tokens=9, columns=256, rows=8)
    x = x.clamp(-5.9, 5.9)
    codes = llm_int8.quantize_weight(weight, None, grids.get("INT8")).codes
    results = [llm_int8.matmul(x, codes, threshold) for threshold in (0.0, 6.0, float("inf"))]
    assert all(torch.equal(result, results[0]) for result in results)
    torch.testing.assert_close(llm_int8.mixed_activations(x), activations.int8_per_token(x), rtol=1e-5, atol=1e-6)


def test_the_hook_gives_the_split_product() -> None:
    x, weight = gaussian(tokens=12, columns=256, rows=8)
    x[:, 9] *= 30
    result = llm_int8.quantize_weight(weight, None, grids.get("INT8"))
    torch.testing.assert_close(
        llm_int8.mixed_activations(x) @ result.weight.T, llm_int8.matmul(x, result.codes), rtol=1e-4, atol=1e-3
    )
    torch.testing.assert_close(llm_int8.mixed_activations(x)[:, 9], x[:, 9])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize(
    "hook",
    [
        activations.int8_per_token,
        activations.fp8_per_token,
        lambda x: activations.fp8_static(x, 0.01),
        llm_int8.mixed_activations,
    ],
)
def test_hooks_keep_shape_dtype_and_zeros(hook: object, dtype: str) -> None:
    x = gaussian(tokens=6, columns=64)[0].reshape(2, 3, 64).to(getattr(torch, dtype))
    x[1, 2] = 0
    rounded = hook(x)
    assert rounded.shape == x.shape
    assert rounded.dtype == x.dtype
    assert torch.equal(rounded[1, 2], x[1, 2])
    assert not torch.equal(rounded, x)


def test_int8_tokens_are_rounded_to_255_levels_of_their_own() -> None:
    x = gaussian(tokens=5, columns=128)[0]
    rounded = activations.int8_per_token(x)
    step = x.abs().amax(1, keepdim=True) / 127
    torch.testing.assert_close(rounded / step, (x / step).round(), rtol=0, atol=1e-3)


def test_fp8_tokens_are_the_casts_of_torch() -> None:
    x = gaussian(tokens=5, columns=128)[0]
    scale = x.abs().amax(1, keepdim=True) / 448
    expected = (x / scale).to(torch.float8_e4m3fn).float() * scale
    torch.testing.assert_close(activations.fp8_per_token(x), expected, rtol=1e-6, atol=1e-7)
    assert activations.fp8_static(x, 1e-3).abs().max() == pytest.approx(0.448, rel=1e-3)  # saturates


def test_fp8_weights_carry_a_static_scale_where_asked() -> None:
    weight, seen = layer(columns=256)
    for name, count in (("FP8_E4M3", 24), ("FP8_E4M3_TENSOR", 1)):
        dynamic = fp8.quantize_weight(weight, seen, grids.get(name))
        static = fp8.quantize_weight(weight, seen, grids.get(name), Fp8Config(static_input=True))
        assert isinstance(dynamic.codes, Float8Codes)
        assert dynamic.codes.scale.shape == (count, 1)
        assert dynamic.codes.input_scale is None
        assert static.codes.input_scale == pytest.approx(float(inputs(256).abs().max()) / 448, rel=1e-6)
        assert torch.equal(static.weight, dynamic.weight)
        scale = torch.from_numpy(dynamic.codes.scale)
        torch.testing.assert_close(dynamic.weight, (weight / scale).to(torch.float8_e4m3fn).float() * scale)
    with pytest.raises(BadRequest, match="needs activations"):
        fp8.quantize_weight(weight, None, grids.get("FP8_E4M3"), Fp8Config(static_input=True))


def test_experts_share_the_largest_input_scale_and_one_that_saw_nothing_gets_it_too() -> None:
    weight, seen = layer(columns=256)
    grid = grids.get("FP8_E4M3")
    louder = replace(seen, absolute_maximum=seen.absolute_maximum * 3)
    experts = [fp8.quantize_weight(weight, s, grid, Fp8Config(static_input=True)).codes for s in (seen, louder)]
    starved = fp8.quantize_weight(weight, None, grid).codes
    shared = fp8.with_one_input_scale("blk.0.ffn_down_exps.weight", [*experts, starved])
    assert [codes.input_scale for codes in shared] == [experts[1].input_scale] * 3
    for codes, before in zip(shared, (*experts, starved), strict=True):
        np.testing.assert_array_equal(codes.codes, before.codes)
    with pytest.raises(BadRequest, match=r"blk\.0\.ffn_down_exps\.weight: no calibration token reached it"):
        fp8.with_one_input_scale("blk.0.ffn_down_exps.weight", [starved])


def test_other_grids_are_refused() -> None:
    weight, seen = layer(columns=256)
    with pytest.raises(BadRequest, match=r"llm\.int8 rounds to INT8, one scale per row, got INT4"):
        llm_int8.quantize_weight(weight, seen, grids.get("INT4"))
    with pytest.raises(BadRequest, match="fp8 rounds to FP8_E4M3 or FP8_E4M3_TENSOR, got INT8"):
        fp8.quantize_weight(weight, seen, grids.get("INT8"))


def test_integer_products_fit_int32_up_to_the_known_width() -> None:
    assert 133_143 * 127**2 < 2**31 < 133_153 * 127**2
    assert accumulate(nothing_seen("l", 4), torch.ones(2, 4)).tokens == 2
