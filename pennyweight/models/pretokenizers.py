r"""How byte-level BPE tokenizers cut text into words, by structure, and llama.cpp's label of each.

llama.cpp's converter knows a pre-tokenizer by a hash of the token ids of one text, which changes with every vocabulary.
Here it is the structure of tokenizer.json that counts (normalizer, splits in order, `ignore_merges`), so a vocabulary
trained yesterday with Qwen2's splits is Qwen2's. Entries are only those whose splits stand in llama.cpp's
src/llama-vocab.cpp (`llm_tokenizer_bpe`, `llama_vocab::impl::load`) and whose token ids a test compares with
`tokenizers`. Where two labels split alike, the one is taken that leaves spaces alone when decoding: it loses nothing.

llama.cpp never normalizes BPE text: under a vocabulary with NFC, text that is not NFC gets other tokens than from
`tokenizers`. It is so for every Qwen file in circulation.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pennyweight.core.errors import UnsupportedModel

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_CASED_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"

LLAMA3 = rf"{_CONTRACTIONS}|{_WORD}|\p{{N}}{{1,3}}{_REST}"
QWEN2 = rf"{_CONTRACTIONS}|{_WORD}|\p{{N}}{_REST}"
QWEN35 = (
    rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}"
    r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEKKEN = rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*|\p{{N}}{_CASED_REST}"
GPT4O = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_CONTRACTIONS}?|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_CONTRACTIONS}?"
    rf"|\p{{N}}{{1,3}}{_CASED_REST}"
)
SEED_CODER = rf"{_CONTRACTIONS}|{_WORD}|\p{{N}}{{1}}| ?[^\s\p{{L}}\p{{N}}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+"
DEEPSEEK3 = (
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
MINICPM5 = rf"{_CONTRACTIONS}|{_WORD}|\p{{N}}+{_REST}"

BYTES = "bytes"  # ByteLevel without a regex: it only spells bytes as letters
GPT2_WORDS = "gpt2 words"  # ByteLevel with its own regex, GPT-2's
DIGITS = "digits"  # every digit alone


@dataclass(frozen=True, slots=True, kw_only=True)
class PreTokenizer:
    """One structure and its label.

    Attributes:
        label: `tokenizer.ggml.pre`.
        steps: in order, a regex whose matches stand alone, or one of BYTES, GPT2_WORDS, DIGITS.
        ignore_merges: a word that is in the vocabulary is one token, whatever the merges say.
        differs: Unicode categories (`M` for all marks) of the characters beyond ASCII around which llama.cpp cuts
            elsewhere than `tokenizers`. The label is still the right one: llama.cpp has no better.
        nfc: vocabularies of this kind may ask for NFC first (see above for what that means in llama.cpp).
    """

    label: str
    steps: tuple[str, ...]
    ignore_merges: bool = False
    nfc: bool = False
    differs: tuple[str, ...] = ()


_MARKS_AND_CASE = ("M", "Lu", "Lt", "Ll")  # llama.cpp tells case by [a-z] and [A-Z], and takes marks for no letters
_WIDE_SPACES = ("Zs",)  # it turns them into one control character, which is not in the range ࠀ-一

ALL = (
    PreTokenizer(label="llama-bpe", steps=(LLAMA3, BYTES), ignore_merges=True),
    PreTokenizer(label="smaug-bpe", steps=(LLAMA3, BYTES)),
    PreTokenizer(label="qwen2", steps=(QWEN2, BYTES), nfc=True),
    PreTokenizer(label="qwen35", steps=(QWEN35, BYTES), nfc=True),
    PreTokenizer(label="gpt-2", steps=(GPT2_WORDS,)),
    PreTokenizer(label="smollm", steps=(DIGITS, GPT2_WORDS)),
    PreTokenizer(label="tekken", steps=(TEKKEN, BYTES), ignore_merges=True, differs=_MARKS_AND_CASE),
    PreTokenizer(label="gpt-4o", steps=(GPT4O, BYTES), differs=_MARKS_AND_CASE),
    PreTokenizer(label="seed-coder", steps=(SEED_CODER, BYTES)),
    PreTokenizer(label="minicpm5", steps=(r"\p{N}{1,3}", MINICPM5, BYTES), ignore_merges=True),
    PreTokenizer(
        label="deepseek-coder",
        steps=(r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+", DIGITS, BYTES),
        differs=_WIDE_SPACES,
    ),
    PreTokenizer(label="deepseek-v3", steps=(r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", DEEPSEEK3, BYTES)),
)


def identify(normalizer: Any, pre_tokenizer: Any, ignore_merges: bool) -> PreTokenizer:
    """The entry that these parts of tokenizer.json describe.

    Raises: UnsupportedModel, with the splits found and the labels known, where there is none. A guess would give a
        file that loads and answers in slightly wrong tokens.
    """
    steps = tuple(_step(part) for part in _parts(pre_tokenizer, "pretokenizers"))
    norms = tuple(_type(part) for part in _parts(normalizer, "normalizers"))
    for known in ALL:
        if (
            known.steps == steps
            and known.ignore_merges == ignore_merges
            and norms in ((), ("NFC",) if known.nfc else ())
        ):
            return known
    raise UnsupportedModel(
        f"tokenizer.json: no pre-tokenizer known with splits {list(steps)!r}, normalizers {list(norms)!r} and "
        f"ignore_merges {ignore_merges}; known: {', '.join(known.label for known in ALL)}"
    )


def _parts(node: Any, key: str) -> tuple[Any, ...]:
    """The steps of a `Sequence`, nested ones too; one step where it is none; nothing for null."""
    if node is None:
        return ()
    if _type(node) != "Sequence":
        return (node,)
    inner = node.get(key)
    return tuple(part for item in inner for part in _parts(item, key)) if isinstance(inner, list) else (node,)


def _type(node: Any) -> str:
    return str(node.get("type")) if isinstance(node, Mapping) else repr(node)


def _step(node: Any) -> str:
    """One step in the words of the table, line ends spelled with backslashes; anything else as its own JSON."""
    match node:
        case {"type": "Split", "pattern": {"Regex": str(regex)}, "behavior": behavior}:
            # To remove all that does not match is the same, for a pattern that ends in "or any space": nothing is left.
            how = (behavior, node.get("invert", False))
            if how == ("Isolated", False) or (how == ("Removed", True) and regex.endswith(r"|\s+")):
                return regex.replace("\r", r"\r").replace("\n", r"\n")
        case {"type": "ByteLevel", "add_prefix_space": False, **options}:
            return GPT2_WORDS if options.get("use_regex", True) else BYTES
        case {"type": "Digits", "individual_digits": True}:
            return DIGITS
    return str(node)
