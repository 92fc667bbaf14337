"""Which recipes round activations, and where."""

import numpy as np
import pytest

from pennyweight.methods.activations import fp8_per_token, int8_per_token
from pennyweight.methods.llm_int8 import mixed_activations
from pennyweight.pipeline.activations import activation_hooks
from pennyweight.recipes.grammar import parse_recipe

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

ROUNDED = {"rtn:W8A8": int8_per_token, "smooth+gptq:W4A8_G128": int8_per_token, "fp8": fp8_per_token}
X = torch.from_numpy(np.random.default_rng(5).standard_normal((4, 32), np.float32) * 3)


@pytest.mark.parametrize("text", ["gptq:INT4_G128", "rtn:INT8", "spqr:3", "gptq:Q3_K_S"])
def test_recipes_on_weights_alone_have_no_hook(text: str) -> None:
    assert activation_hooks(parse_recipe(text)).linear_input is None


@pytest.mark.parametrize("text", [*ROUNDED, "llm_int8"])
def test_the_layers_of_the_blocks_are_rounded_and_nothing_else(text: str) -> None:
    hook = activation_hooks(parse_recipe(text)).linear_input
    assert hook is not None
    for name in ("output.weight", "blk.0.ffn_gate_inp.weight"):
        assert torch.equal(hook(name, None, X), X)
    rounded = ROUNDED.get(text, mixed_activations)
    found = hook("blk.0.attn_q.weight", None, X)
    assert torch.equal(found, rounded(X))
    assert not torch.equal(found, X)
