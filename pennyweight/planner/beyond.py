"""A context longer than the one a model was trained on: allowed, and said, with the stretching it has or would need."""

from pennyweight.models.anatomy import Anatomy


def context_note(anatomy: Anatomy, context: int) -> str:
    """What a person should know of `context` tokens per slot; empty where the model was trained on as many.

    llama.cpp computes past the trained context without a word; answers get worse unless positions are stretched.
    """
    trained = anatomy.shape.context_length
    if not trained or context <= trained:
        return ""
    factor = -(-context // trained)
    has = f"its positions are stretched already ({anatomy.rope_scaling})" if anatomy.rope_scaling else "unstretched"
    return (
        f"{context} tokens are more than the {trained} that {anatomy.name} was trained on; {has}. Answers get worse "
        f"past that; stretch with --rope-scaling yarn --rope-scale {factor} --yarn-orig-ctx {trained}"
    )
