"""MODEL as users write it: what is not there is one clear line."""

import pytest

from pennyweight.checkpoints.open import local_path
from pennyweight.core.errors import BadRequest


@pytest.mark.parametrize(
    ("model", "named"),
    [
        ("nothing.gguf", "no model at 'nothing.gguf'"),
        ("./user/repo", "no model at './user/repo'"),
        ("", "no model at ''"),
        ("two words", "no model at 'two words'"),
        ("Qwen3-14B", r"a published name and no file; hf\.co/Qwen/Qwen3-14B-GGUF:Q4_K_M"),
        ("qwen3-14b-instruct", "a published name and no file"),
    ],
)
def test_what_is_no_model_says_what_would_be_one(model: str, named: str) -> None:
    with pytest.raises(BadRequest, match=named) as caught:
        local_path(model)
    assert "\n" not in str(caught.value)
