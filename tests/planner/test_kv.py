"""The cache's bytes, against what llama.cpp logged when it allocated them."""

import pytest

from pennyweight.models import catalogue
from pennyweight.models.describe import anatomy_from_config
from pennyweight.planner.kv import kv_bytes
from pennyweight.planner.request import Settings

MIB = 1 << 20


@pytest.mark.parametrize(
    ("name", "context", "cache_type", "mib"),
    [
        ("Llama-2-7B", 512, "F16", 256),
        ("Llama-3.1-8B", 8192, "F16", 1024),
        ("Llama-3.1-8B", 8192, "Q8_0", 544),
        ("Llama-3.1-8B", 8192, "Q4_0", 288),
        ("Qwen3-30B-A3B", 32768, "F16", 3072),
        ("Qwen3-32B", 8192, "F16", 2048),
    ],
)
def test_the_cache_takes_what_llama_cpp_logged(name: str, context: int, cache_type: str, mib: float) -> None:
    anatomy = anatomy_from_config(catalogue.get(name).fields, name=name)
    settings = Settings(context=context, key_type=cache_type, value_type=cache_type)
    assert kv_bytes(anatomy, settings) == mib * MIB
