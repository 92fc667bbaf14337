"""Make `layouts.npz`: small matrices packed by the libraries whose layouts they are. Run in each one's environment:

    python tests/golden/make_layouts.py compressed-tensors PART.npz      # in test-interop's `hf`
    python tests/golden/make_layouts.py gptqmodel PART.npz               # in its `gptq`
    python tests/golden/make_layouts.py join layouts.npz PART.npz …      # any Python with NumPy

Codes come from a seed, so the file holds what went in and what came out; `made by` says by which version.
"""

import sys
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import numpy as np

ROWS, COLUMNS, GROUP = 64, 96, 32
BITS = (2, 3, 4, 8)


def random_codes(bits: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes uint8 (rows, columns), zero points uint8 (rows, groups), scales float16 (rows, groups)."""
    rng = np.random.default_rng(bits)
    codes = rng.integers(0, 1 << bits, (ROWS, COLUMNS)).astype(np.uint8)
    zero_point = rng.integers(1, 1 << bits, (ROWS, COLUMNS // GROUP)).astype(np.uint8)
    return codes, zero_point, rng.uniform(0.01, 0.02, zero_point.shape).astype(np.float16)


def by_compressed_tensors() -> dict[str, Any]:
    import torch
    from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32

    def signed(codes: np.ndarray, bits: int) -> torch.Tensor:
        return torch.from_numpy((codes.astype(np.int16) - (1 << (bits - 1))).astype(np.int8))

    made: dict[str, Any] = {"made by/compressed-tensors": version("compressed-tensors")}
    for bits in (*BITS, 5):
        codes, zero_point, _ = random_codes(bits)
        made[f"pack-quantized/{bits}/weight_packed"] = pack_to_int32(signed(codes, bits), bits).numpy()
        made[f"pack-quantized/{bits}/weight_zero_point"] = pack_to_int32(signed(zero_point, bits), bits, 0).numpy()
    return made


def by_gptqmodel() -> dict[str, Any]:
    import torch
    from gptqmodel.nn_modules.qlinear.torch import TorchLinear
    from gptqmodel.quantization.awq.utils.packing_utils import pack_awq
    from gptqmodel.utils.model import convert_gptq_v2_to_v1_format_module

    made: dict[str, Any] = {"made by/gptqmodel": version("gptqmodel")}
    for bits in BITS:
        codes, zero_point, scale = random_codes(bits)
        group = np.arange(COLUMNS) // GROUP
        weight = scale.astype(np.float32)[:, group] * (codes.astype(np.float32) - zero_point[:, group])
        linear = torch.nn.Linear(COLUMNS, ROWS, bias=False)
        linear.weight.data = torch.from_numpy(weight)
        module = TorchLinear(
            bits=bits, group_size=GROUP, sym=False, desc_act=False, in_features=COLUMNS, out_features=ROWS
        )
        scales, zeros = (torch.from_numpy(x.astype(np.float32)) for x in (scale, zero_point))
        module.pack_original(linear, scales, zeros, torch.from_numpy(group.astype(np.int32)))
        for name in ("qweight", "qzeros", "scales", "g_idx"):
            made[f"gptq_v2/{bits}/{name}"] = getattr(module, name).clone().numpy()
        said: Any = SimpleNamespace(bits=bits, pack_dtype=torch.int32)
        convert_gptq_v2_to_v1_format_module(module, said)
        made[f"gptq/{bits}/qzeros"] = module.qzeros.clone().numpy()
    codes, zero_point, _ = random_codes(4)
    packed = pack_awq(torch.from_numpy(codes.T.astype(np.int32)), torch.from_numpy(zero_point.T.astype(np.int32)), 4)
    made["awq/4/qweight"], made["awq/4/qzeros"] = (tensor.numpy() for tensor in packed)
    return made


def main(what: str, out: str, *parts: str) -> None:
    if what == "join":
        made = {name: array for part in parts for name, array in np.load(part).items()}
    else:
        made = by_compressed_tensors() if what == "compressed-tensors" else by_gptqmodel()
    np.savez_compressed(out, **made)
    print(f"{out}: {len(made)} arrays")


if __name__ == "__main__":
    main(*sys.argv[1:])
