"""What run and summarize share: a model that is loaded and ready to speak, in llama.cpp or in PyTorch."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pennyweight.checkpoints.base import Checkpoint
from pennyweight.checkpoints.open import open_checkpoint
from pennyweight.containers.gguf_writer import GGUFWriter
from pennyweight.core.errors import BadRequest, UnknownName
from pennyweight.core.progress import progress_bar
from pennyweight.jobs.layers import layers_here
from pennyweight.jobs.runnable import runnable
from pennyweight.jobs.scoring import ENGINES
from pennyweight.jobs.speaking_options import SpeakingOptions, context_of
from pennyweight.runtimes.chat_template import ChatTemplate, Message
from pennyweight.runtimes.llama_cpp import BUILD, Context, ContextSettings, Model
from pennyweight.runtimes.llama_cpp.placement import placement
from pennyweight.runtimes.llama_cpp.prompt import chat_template, chat_tokens
from pennyweight.runtimes.llama_cpp.session import Session
from pennyweight.runtimes.unused_gpu import unused_gpu

if TYPE_CHECKING:
    from pennyweight.runtimes.torch_reference.decoder import Decoder


@dataclass(frozen=True, slots=True, kw_only=True)
class Speaker:
    """A model ready to speak.

    Attributes:
        vocabulary: its tokens, templates and facts; weights too where the engine is llama.cpp.
        template: None where the model has none.
        sessions: the sequences it speaks in (`runtimes.torch_reference.session.TorchSession` has the same face).
        n_ctx: tokens of each.
        engine: runtime and build.
        placement: where its layers live.
        notes: what a person should know.
    """

    vocabulary: Model
    template: ChatTemplate | None
    sessions: tuple[Session, ...]
    n_ctx: int
    engine: str
    placement: str
    notes: tuple[str, ...]

    @property
    def session(self) -> Session:
        """The first."""
        return self.sessions[0]

    def prompt(self, messages: Sequence[Message], *, thinking: bool = False) -> NDArray[np.int32]:
        """The tokens of `messages`; without a template their texts, a blank line between them."""
        if self.template:
            return chat_tokens(self.vocabulary, self.template, messages, thinking=thinking)
        return self.vocabulary.tokenize("\n\n".join(m.content for m in messages), add_special=True)


@contextmanager
def speaker(model: str, options: SpeakingOptions) -> Iterator[Speaker]:
    """MODEL, loaded. Raises: UnknownName, BadRequest, and what loading raises."""
    if options.engine not in ENGINES:
        raise UnknownName.among("engine", options.engine, ENGINES)
    with _torch_speaker(model, options) if options.engine == "torch" else _llama_cpp_speaker(model, options) as made:
        yield made


@contextmanager
def _llama_cpp_speaker(model: str, options: SpeakingOptions) -> Iterator[Speaker]:
    layers = layers_here(model, options)
    with runnable(model) as gguf, Model.load(gguf, n_gpu_layers=layers.count) as loaded:
        settings = ContextSettings(
            n_ctx=context_of(loaded.facts.n_ctx_train, options.ctx),
            n_seq_max=options.slots,
            threads=options.threads,
            type_k=options.type_k,
            type_v=options.type_v,
            flash_attention=options.flash_attention,
        )
        with Context(loaded, settings) as context:
            idle = unused_gpu() if options.gpu_layers else None
            yield Speaker(
                vocabulary=loaded,
                template=chat_template(loaded),
                sessions=tuple(Session(context, slot) for slot in range(options.slots)),
                n_ctx=context.n_ctx,
                engine=f"llama.cpp {BUILD}",
                placement=placement(loaded),
                notes=(*layers.notes, *_notes(loaded.facts.n_ctx_train, settings.n_ctx), *([idle] if idle else [])),
            )


@contextmanager
def _torch_speaker(model: str, options: SpeakingOptions) -> Iterator[Speaker]:
    from pennyweight.runtimes.torch_reference.session import TorchSession, stored_as

    if options.gpu_layers > 0 or options.flash_attention is not None:
        raise BadRequest("-ngl and -fa are llama.cpp's; the torch engine takes a GPU where PyTorch has one")
    checkpoint = open_checkpoint(model)
    with vocabulary_of(checkpoint) as vocabulary, _decoder(checkpoint, options) as (decoder, name):
        trained = decoder.config.context_length
        session = TorchSession(
            decoder, vocabulary, context_of(trained, options.ctx), stored_as(options.type_k, options.type_v)
        )
        yield Speaker(
            vocabulary=vocabulary,
            template=chat_template(vocabulary),
            sessions=(session,),  # type: ignore[arg-type]
            n_ctx=session.n_ctx,
            engine=name,
            placement=f"all {decoder.config.block_count} layers on {decoder.device.type.replace('cpu', 'the CPU')}",
            notes=tuple(_notes(trained, session.n_ctx)),
        )


@contextmanager
def _decoder(checkpoint: Checkpoint, options: SpeakingOptions) -> "Iterator[tuple[Decoder, str]]":
    """Its weights in memory, and the engine's name."""
    from pennyweight.pipeline.activations import activation_hooks
    from pennyweight.runtimes.torch_reference import TorchLogits, TorchSettings

    settings = TorchSettings(n_ctx=512, threads=options.threads, blockwise=False)
    with TorchLogits(checkpoint, settings, activation_hooks(checkpoint)) as engine:
        with progress_bar("loading", len(engine.decoder.stages), "stages") as advance:
            for stage in engine.decoder.stages:
                engine.decoder.load(stage)
                advance(1)
        yield engine.decoder, engine.name


@contextmanager
def vocabulary_of(checkpoint: Checkpoint) -> Iterator[Model]:
    """A checkpoint's vocabulary in llama.cpp, without weights."""
    source = Path(checkpoint.source)
    if source.is_file():
        with Model.load(source, vocabulary_only=True) as model:
            yield model
        return
    with tempfile.TemporaryDirectory(prefix="pennyweight-") as directory:
        path = Path(directory) / "vocabulary.gguf"
        with GGUFWriter(path, checkpoint.metadata, []):
            pass
        with Model.load(path, vocabulary_only=True) as model:
            yield model


def _notes(trained: int, n_ctx: int) -> Iterator[str]:
    if n_ctx > trained:
        yield (
            f"a context of {n_ctx:,} tokens is more than the {trained:,} this model was trained for; beyond them it "
            "may write nonsense"
        )
