"""Rounded activations, as the hooks of the reference engine take them: x in, what the layer reads out.

    int8    per token, symmetric:  x ≈ s · round(x / s),  s = max|x| / 127
    fp8     E4M3, per token (dynamic) or with one stored scale (static):  x ≈ s · float8(x / s),  s = max|x| / 448

Each returns the shape, device and dtype it was given. Source: compressed-tensors, strategies `token` and `tensor`.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

INT8_TOP, FP8_TOP = 127.0, 448.0


def int8_per_token(x: "torch.Tensor") -> "torch.Tensor":
    """Each token (last axis) rounded to 255 levels of its own scale."""
    scale = scale_of(x.abs().amax(-1, keepdim=True).float(), INT8_TOP)
    return ((x.float() / scale).round().clamp(-INT8_TOP, INT8_TOP) * scale).to(x.dtype)


def fp8_per_token(x: "torch.Tensor") -> "torch.Tensor":
    """Each token (last axis) rounded to E4M3 of its own scale."""
    return _fp8(x, scale_of(x.abs().amax(-1, keepdim=True).float(), FP8_TOP))


def fp8_static(x: "torch.Tensor", input_scale: float) -> "torch.Tensor":
    """All of x rounded to E4M3 with one scale that calibration found; what is past ±448 saturates."""
    return _fp8(x, input_scale)


def scale_of(largest: "torch.Tensor", top: float) -> "torch.Tensor":
    """largest / top, and 1 where that is zero: a token of zeros stays one."""
    import torch

    scale = largest / top
    return torch.where(scale > 0, scale, 1.0)


def _fp8(x: "torch.Tensor", scale: "torch.Tensor | float") -> "torch.Tensor":
    import torch

    scaled = (x.float() / scale).clamp(-FP8_TOP, FP8_TOP)
    return (scaled.to(torch.float8_e4m3fn).float() * scale).to(x.dtype)
