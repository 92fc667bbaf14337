"""One step beyond the choice: the next better type, and the longest context, with what each costs when it spills."""

from dataclasses import replace

from pennyweight.core.errors import ShapeError
from pennyweight.core.units import show_bytes, show_rate
from pennyweight.planner.candidate import Candidate
from pennyweight.planner.decide import Evaluate
from pennyweight.planner.estimate import READING
from pennyweight.planner.ladder import BEST_FIRST

CONTEXT_STEP = 1024


def further(chosen: Candidate, evaluate: Evaluate, types: tuple[str, ...], longest: int) -> tuple[str, ...]:
    """Sentences.

    Args:
        types: what the model can be had in.
        longest: tokens that the model was trained on.
    """
    found = (_slow(chosen), _next_type(chosen, evaluate, types), _context(chosen, evaluate, longest))
    return tuple(sentence for sentence in found if sentence)


def _slow(chosen: Candidate) -> str:
    speed = chosen.decode_tok_s.value / max(chosen.settings.slots, 1)
    if speed >= READING:
        return ""
    return f"It writes {speed:.2g} tokens/s, slower than people read (about {READING:.0f}): a smaller model is faster."


def _next_type(chosen: Candidate, evaluate: Evaluate, types: tuple[str, ...]) -> str:
    """The first better type that does not fit, and how far it falls."""
    better = [name for name in reversed(BEST_FIRST) if name in types and _rank(name) < _rank(chosen.choice.type)]
    for name in better:
        candidate = evaluate(replace(chosen.choice, type=name))
        if not candidate.fits:
            return f"{name}: {fall(chosen, candidate)}."
        if candidate.settings.cpu_moe_layers > chosen.settings.cpu_moe_layers:
            return f"{name} fits too: {_lent(chosen, candidate)}."
    if better:
        return f"Every type up to {better[-1]} fits at this context."
    return ""


def fall(before: Candidate, after: Candidate) -> str:
    """What happens at the edge: `lacks 466 MiB; 39 of 41 layers on the card, decode 15.3 → 9.9 tokens/s (÷ 1.5)`."""
    lacking = after.total_bytes.value - after.memory_bytes
    words = [f"lacks {show_bytes(lacking)}" if lacking > 0 else "does not fit"]
    speed = after.decode_tok_s.value
    if speed > 0:
        words.append(_lent(before, after))
    return "; ".join(words)


def _lent(before: Candidate, after: Candidate) -> str:
    """What is on the host then, and the speed that leaves."""
    where = f"{after.layers_on_gpu} of {after.layers} layers on the card"
    if after.settings.cpu_moe_layers:
        where = f"the experts of {after.settings.cpu_moe_layers} blocks on the host"
    old, new = before.decode_tok_s.value, after.decode_tok_s.value
    return f"{where}, decode {show_rate(old)} → {show_rate(new)} tokens/s (÷ {old / new:.1f})"


def _context(chosen: Candidate, evaluate: Evaluate, longest: int) -> str:
    """The longest context that still fits, and the fall just beyond it."""
    asked, limit = chosen.choice.context, longest or 1 << 20
    if asked >= limit:
        return ""
    if _fits(chosen, evaluate, limit):
        return f"The context can grow to the model's {limit:,} tokens."
    low, high = asked // CONTEXT_STEP, limit // CONTEXT_STEP + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _fits(chosen, evaluate, middle * CONTEXT_STEP) else (low, middle)
    edge = max(low * CONTEXT_STEP, asked)
    beyond = evaluate(replace(chosen.choice, context=min(2 * edge, limit)))
    return f"A context of {edge:,} tokens still fits; at {beyond.choice.context:,} it {fall(chosen, beyond)}."


def _fits(chosen: Candidate, evaluate: Evaluate, context: int) -> bool:
    try:
        return evaluate(replace(chosen.choice, context=context)).fits
    except ShapeError:
        return False


def _rank(name: str) -> int:
    return BEST_FIRST.index(name) if name in BEST_FIRST else len(BEST_FIRST)
