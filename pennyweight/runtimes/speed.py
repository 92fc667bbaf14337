"""What a speed measurement asks for and what it gives, whichever program runs it: llama-bench's terms."""

import statistics
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedSettings:
    """What to measure, and how; the defaults are llama-bench's.

    Attributes:
        prompt_tokens: tokens of the prompt test `pp`; 0 leaves it out.
        generated_tokens: tokens of the decode test `tg`; 0 leaves it out.
        repetitions: timed runs of each test, after a warm-up that is not timed.
        threads: threads of computation; None leaves it to the runtime.
        gpu_layers: decoder blocks on the GPU; -1 for all that the runtime sees fit.
        type_k, type_v: what keys and values are stored in.
        flash_attention: None leaves it to the runtime.
        n_batch, n_ubatch: tokens of one call, and tokens computed at once.
        depth: tokens already in the cache when a test starts; reading them is not timed.
    """

    prompt_tokens: int = 512
    generated_tokens: int = 128
    repetitions: int = 5
    threads: int | None = None
    gpu_layers: int = -1
    type_k: str = "f16"
    type_v: str = "f16"
    flash_attention: bool | None = None
    n_batch: int = 2048
    n_ubatch: int = 512
    depth: int = 0


LLAMA_BENCH_DEFAULTS = SpeedSettings()


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """One test: `pp512` or `tg128`, and tokens per second of each repetition."""

    test: str
    samples: tuple[float, ...]

    @property
    def is_prompt(self) -> bool:
        """Whether it reads a prompt; otherwise it writes."""
        return self.test.startswith("pp")

    @property
    def mean(self) -> float:
        """Tokens per second, mean over the repetitions."""
        return statistics.fmean(self.samples)

    @property
    def stdev(self) -> float:
        """Sample standard deviation, tokens per second; 0 of a single repetition, as llama-bench has it."""
        return statistics.stdev(self.samples) if len(self.samples) > 1 else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedReport:
    """All tests of one model, and what ran them.

    Attributes:
        description: what the runtime calls the model (`qwen3 8B Q4_K - Medium`).
        tensor_bytes: bytes of all tensors.
        parameters: number of weights.
        backend: where it ran (`CPU`, `CUDA`).
        threads: threads of computation.
        build: the runtime's build.
        instruction_set: extensions of the processor that the build uses; `not reported` where the runtime is silent.
        speeds: the tests, prompt first.
        protocol: whose way of measuring it is.
    """

    description: str
    tensor_bytes: int
    parameters: int
    backend: str
    threads: int
    build: str
    instruction_set: str
    speeds: tuple[Speed, ...]
    protocol: str = "llama-bench"
