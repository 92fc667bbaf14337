"""How many layers go to the GPU here, before a model is loaded: the planner as the answer to `-ngl auto`."""

from dataclasses import dataclass

from pennyweight.jobs.fit import Fit
from pennyweight.jobs.speaking_options import USUAL_CONTEXT, SpeakingOptions, context_of
from pennyweight.runtimes.llama_cpp.placement import gpus


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """What to ask llama.cpp for (negative: all), and what a person should know of it."""

    count: int
    notes: tuple[str, ...] = ()


def layers_here(model: str, options: SpeakingOptions) -> Layers:
    """The layers that were asked for, else those that fit the cards beside the context; a spill is said.

    Nothing is read where this llama.cpp has no GPU, or none is wanted. Raises: as `Fit.of`.
    """
    if not options.gpu_layers or not gpus():
        return Layers(count=options.gpu_layers)
    fit = Fit.of(model, options)
    ctx = context_of(fit.trained or USUAL_CONTEXT, options.ctx)
    return Layers(count=fit.gpu_layers(ctx), notes=(*fit.notes, *fit.spill(ctx)))
