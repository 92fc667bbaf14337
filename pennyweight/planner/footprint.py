"""What a model weighs, block by block, in plain bytes: all that memory and speed need to know of it.

Made from an anatomy and a file type, or by hand from a published row; then where its blocks lie, on cards or host.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from pennyweight.core.errors import BadRequest


class Family(StrEnum):
    """Formats that a card reads at one rate: how much work lies between a byte and a product."""

    F16 = "F16"
    Q8_0 = "Q8_0"
    LEGACY = "Q4_0"  # Q4_0 to Q5_1, MXFP4: whole blocks of 32, one scale
    K = "K"
    K3 = "K3"  # Q2_K, Q3_K: more work for each byte than K-quants of 4 bits and up
    IQ4 = "IQ4"  # IQ4_XS, IQ4_NL: a table of 16 values, nearly as fast as K
    IQ = "IQ"  # codebooks of 2 to 3 bits


def family_of(format_name: str) -> Family:
    """The family of a format or a file type: `Q4_K_M` → K, `IQ4_XS` → IQ4, `BF16` → F16."""
    name = format_name.upper().removeprefix("UD-")
    if name.startswith("IQ4"):
        return Family.IQ4
    if name.startswith(("IQ", "TQ")):
        return Family.IQ
    if name.startswith("Q8"):
        return Family.Q8_0
    if name.startswith(("Q2_K", "Q3_K")):
        return Family.K3
    if name[:4] in ("Q4_0", "Q4_1", "Q5_0", "Q5_1") or name.startswith(("MXFP4", "NVFP4")):
        return Family.LEGACY
    return Family.F16 if name in ("F32", "F16", "BF16") else Family.K


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockBytes:
    """One decoder block.

    Attributes:
        weights: bytes of everything but experts; every token reads them.
        experts: bytes of all experts.
        experts_read: of these, what one token reads.
        cache: bytes of the cache at the context and slots asked for.
        cache_read: bytes of the cache that one token reads for each token before it.
        window: tokens that are seen at most; 0 for all.
        state: bytes of recurrent state that each token reads, whatever came before.
        idle: a draft head that nobody asked for: its bytes stay in the file, and it is not run.
        small_kernels: what norms after each half, or biases of experts, cost beside its bytes, in dense blocks.
        latent: its attention goes through a latent vector.
        recurrent: it mixes through a recurrent state, and has a feed-forward too.
    """

    weights: int
    experts: int = 0
    experts_read: float = 0.0
    cache: int = 0
    cache_read: float = 0.0
    window: int = 0
    state: int = 0
    idle: bool = False
    small_kernels: float = 0.0
    latent: bool = False
    recurrent: bool = False

    @property
    def read(self) -> float:
        """Bytes of weights that one token reads."""
        return self.weights + self.experts_read

    def depth_read(self, depth: float) -> float:
        """Bytes of the cache that one token reads after `depth` tokens."""
        return self.state + self.cache_read * (min(depth, self.window) if self.window else depth)


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """A model of one file type under one setting of the cache.

    Attributes:
        blocks: first to last.
        embedding: bytes of the token embedding, which lies on the host.
        output: bytes of the output matrix (the embedding again, where it is tied) and what belongs to it.
        tied: whether the output is the embedding.
        shares: part of the bytes read that each family has; adds up to 1.
        cache_family: of the cache's type.
        expert_count, expert_used: 0 without experts.
        parameters_used: weights that one token is multiplied with.
        parameters_routed, parameters_output: of these, in experts, and in the output (which a prompt's last token alone
            is multiplied with).
        largest_matrix: bytes of the largest single matrix in a block (experts of a kind count as one).
        attention_numbers: heads × head length summed over blocks that attend to everything (for long prompts).
    """

    blocks: tuple[BlockBytes, ...]
    embedding: int
    output: int
    tied: bool = False
    shares: tuple[tuple[Family, float], ...]
    cache_family: Family = Family.F16
    expert_count: int = 0
    expert_used: int = 0
    parameters_used: float = 0.0
    parameters_routed: float = 0.0
    parameters_output: float = 0.0
    largest_matrix: int = 0
    attention_numbers: int = 0

    @property
    def layers(self) -> int:
        """As llama.cpp's `-ngl` counts them: every block, and the output."""
        return len(self.blocks) + 1

    @property
    def weights(self) -> int:
        """Bytes of all weights, the embedding once more where the output is tied to it."""
        return self.embedding + self.output + sum(block.weights + block.experts for block in self.blocks)

    @property
    def cache(self) -> int:
        """Bytes of the whole cache."""
        return sum(block.cache for block in self.blocks)

    @property
    def read(self) -> float:
        """Bytes of weights that one token reads: everything but the embedding's other rows and idle experts."""
        return self.output + sum(block.read for block in self.blocks)

    def depth_read(self, depth: float) -> float:
        """Bytes of the cache that one token reads after `depth` tokens."""
        return sum(block.depth_read(depth) for block in self.blocks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Which blocks lie where.

    Attributes:
        card_blocks: numbers of the blocks on the cards; those left are the host's.
        output_on_card: whether the output is on the card.
        expert_blocks_on_host: numbers of the blocks on a card whose experts stay on the host.
    """

    footprint: Footprint
    card_blocks: range
    output_on_card: bool
    expert_blocks_on_host: range = range(0)

    @property
    def gpu_layers(self) -> int:
        """llama.cpp's `-ngl`."""
        return len(self.card_blocks) + self.output_on_card

    @property
    def whole(self) -> bool:
        """Whether no weight but the embedding is the host's."""
        return self.gpu_layers == self.footprint.layers and not len(self.expert_blocks_on_host)

    @property
    def on_card(self) -> tuple[BlockBytes, ...]:
        """Blocks whose attention and cache are the card's."""
        return tuple(self.footprint.blocks[i] for i in self.card_blocks)

    @property
    def on_host(self) -> tuple[BlockBytes, ...]:
        """Blocks that are the host's altogether."""
        return tuple(block for i, block in enumerate(self.footprint.blocks) if i not in self.card_blocks)

    @property
    def _lent(self) -> tuple[BlockBytes, ...]:
        return tuple(self.footprint.blocks[i] for i in self.card_blocks if i in self.expert_blocks_on_host)

    @property
    def card_weights(self) -> int:
        """Bytes of weights on the cards."""
        blocks = sum(block.weights + block.experts for block in self.on_card)
        return blocks - sum(block.experts for block in self._lent) + self.output_on_card * self.footprint.output

    @property
    def host_weights(self) -> int:
        """Bytes of weights in host memory. An embedding that is also the output lies on the card and here."""
        return self.footprint.weights - self.card_weights

    @property
    def card_cache(self) -> int:
        """Bytes of the cache on the cards."""
        return sum(block.cache for block in self.on_card)

    @property
    def host_cache(self) -> int:
        """Bytes of the cache in host memory."""
        return self.footprint.cache - self.card_cache

    @property
    def card_read(self) -> float:
        """Bytes of weights that one token reads from the cards."""
        blocks = sum(block.read for block in self.on_card)
        blocks -= sum(block.experts_read for block in self._lent if not block.idle)
        return blocks + self.output_on_card * self.footprint.output

    @property
    def host_read(self) -> float:
        """Bytes of weights that one token reads from host memory."""
        return self.footprint.read - self.card_read


def place(footprint: Footprint, gpu_layers: int | None = None, cpu_moe_layers: int = 0) -> Placement:
    """`-ngl` and `--n-cpu-moe` as llama.cpp takes them: the last blocks go to the card, the output being the last.

    Raises: BadRequest for negative counts.
    """
    blocks = len(footprint.blocks)
    if cpu_moe_layers < 0 or (gpu_layers is not None and gpu_layers < 0):
        raise BadRequest(f"-ngl is {gpu_layers} and --n-cpu-moe {cpu_moe_layers}; counts of at least 0 are wanted")
    layers = footprint.layers if gpu_layers is None else min(gpu_layers, footprint.layers)
    first = max(blocks + 1 - layers, 0)
    return Placement(
        footprint=footprint,
        card_blocks=range(first, blocks),
        output_on_card=layers > 0,
        expert_blocks_on_host=range(min(cpu_moe_layers, blocks)) if footprint.expert_count else range(0),
    )


def single_family(family: Family) -> tuple[tuple[Family, float], ...]:
    """The shares of a model that is of one family throughout."""
    return ((family, 1.0),)


def shares_of(read: Sequence[tuple[Family, float]]) -> tuple[tuple[Family, float], ...]:
    """Bytes read by family → shares, one entry for each family that is read."""
    total = sum(nbytes for _, nbytes in read)
    return tuple(
        (family, part / total) for family in Family if (part := sum(n for f, n in read if f == family)) and total
    )
