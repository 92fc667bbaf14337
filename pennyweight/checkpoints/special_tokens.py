"""Special tokens of a Hugging Face tokenizer: their ids, which of them are put around a text, and the chat template."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pennyweight.checkpoints.json_file import read_json_if_there
from pennyweight.containers.gguf import GGUFValue, ValueType, encode_text
from pennyweight.core.errors import FormatError, UnsupportedModel
from pennyweight.core.units import MIB

_KEYS = {
    "bos": "tokenizer.ggml.bos_token_id",
    "eos": "tokenizer.ggml.eos_token_id",
    "unk": "tokenizer.ggml.unknown_token_id",
    "sep": "tokenizer.ggml.seperator_token_id",  # as llama.cpp spells it
    "pad": "tokenizer.ggml.padding_token_id",
    "mask": "tokenizer.ggml.mask_token_id",
}
_MAX_TEMPLATE_BYTES = 4 * MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecialTokens:
    """Which tokens are special, and which of them are put around a text.

    Attributes:
        ids: `bos`, `eos`, `unk`, `sep`, `pad`, `mask` → id, as far as there is one.
    """

    ids: Mapping[str, int]
    add_bos: bool
    add_eos: bool


def special_tokens(
    tokenizer: Mapping[str, Any],
    config: Mapping[str, Any],
    ids: Mapping[str, int],
    fallback: Sequence[tuple[str, int]],
    default_bos: bool,
) -> SpecialTokens:
    """Read what the files of a directory say of special tokens.

    An id is that of the text that tokenizer_config.json names, else the one in config.json, else that of the token that
    the template in tokenizer.json adds. Whether BOS and EOS are added the template says; where there is none,
    tokenizer_config.json. (llama.cpp has defaults of its own, BOS under `llama-bpe`, so the answer is always written.)

    Args:
        tokenizer, config: tokenizer.json and tokenizer_config.json; empty where there is no such file.
        ids: text → id of all tokens.
        fallback: kind and id, of config.json; an id of no token is left out, as llama.cpp leaves it.
        default_bos: whether BOS goes before a text where no file says anything.

    Raises:
        UnsupportedModel: the template adds other tokens than BOS and EOS.
        FormatError: BOS or EOS is added, but no file says which token that is.
    """
    before, behind, stated = _template(tokenizer.get("post_processor"))
    numbers = set(ids.values())
    found = [(kind, ids[text]) for kind in _KEYS if (text := _text(config, kind)) in ids]
    found += [(kind, number) for kind, number in fallback if kind in _KEYS and number in numbers]
    found += [(kind, ids[texts[0]]) for kind, texts in (("bos", before), ("eos", behind)) if texts and texts[0] in ids]
    known = dict(reversed(found))
    add_bos, add_eos = bool(before), bool(behind)
    if not stated:
        add_bos, add_eos = config.get("add_bos_token", default_bos) is True, config.get("add_eos_token") is True
    for kind, texts, added in (("bos", before, add_bos), ("eos", behind, add_eos)):
        if [ids.get(text) for text in texts] not in ([], [known.get(kind)]):
            raise UnsupportedModel(
                f"tokenizer.json adds {texts} to a text; llama.cpp can add the one {kind.upper()} token"
            )
        if added and kind not in known:
            raise FormatError(f"the tokenizer adds {kind.upper()} to a text, but no file says which token that is")
    return SpecialTokens(ids={kind: known[kind] for kind, _ in found}, add_bos=add_bos, add_eos=add_eos)


def special_metadata(special: SpecialTokens) -> list[tuple[str, GGUFValue]]:
    """GGUF keys of the special tokens."""
    keys = [(_KEYS[kind], GGUFValue.scalar(ValueType.UINT32, number)) for kind, number in special.ids.items()]
    keys.append(("tokenizer.ggml.add_bos_token", GGUFValue.scalar(ValueType.BOOL, special.add_bos)))
    keys.append(("tokenizer.ggml.add_eos_token", GGUFValue.scalar(ValueType.BOOL, special.add_eos)))
    return keys


def _text(config: Mapping[str, Any], kind: str) -> str:
    """The text of `bos_token` and its like, which is a string or has it as `content`; empty where there is none."""
    value = config.get(f"{kind}_token")
    value = value.get("content") if isinstance(value, dict) else value
    return value if isinstance(value, str) else ""


def _template(processor: Any) -> tuple[list[str], list[str], bool]:
    """Tokens that the post-processor puts before and behind a text, and whether there is a post-processor at all."""
    if not isinstance(processor, dict):
        return [], [], False
    steps = processor["processors"] if isinstance(processor.get("processors"), list) else [processor]
    templates = [step for step in steps if isinstance(step, dict) and step.get("type") == "TemplateProcessing"]
    if not templates:
        return [], [], True
    single = templates[0].get("single")
    around: list[list[str]] = [[]]
    for part in single if isinstance(single, list) else [single]:
        match part:
            case {"SpecialToken": {"id": str(text)}}:
                around[-1].append(text)
            case {"Sequence": {"id": "A"}} if len(around) == 1:
                around.append([])
            case _:
                raise FormatError(f"tokenizer.json: {part!r} in the template of a single text; wanted text A once")
    if len(around) == 1:
        raise FormatError("tokenizer.json: the template of a single text has no text in it")
    return around[0], around[1], True


def chat_template_metadata(directory: Path, config: Mapping[str, Any]) -> list[tuple[str, GGUFValue]]:
    """GGUF keys of the chat template, and of named ones beside it.

    Raises: FormatError where a template cannot be read.
    """
    templates = _templates(directory, config)
    for text in templates.values():
        encode_text(text)  # now rather than when the file is written; see `tokenizer_metadata`
    named = {re.sub(r"[^A-Za-z0-9]", "_", name): text for name, text in templates.items() if name != "default"}
    keys = [(f"tokenizer.chat_template.{name}", GGUFValue.scalar(ValueType.STRING, named[name])) for name in named]
    if named:
        keys.append(("tokenizer.chat_templates", GGUFValue.array(ValueType.STRING, list(named))))
    if "default" in templates:
        keys.append(("tokenizer.chat_template", GGUFValue.scalar(ValueType.STRING, templates["default"])))
    return keys


def _templates(directory: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """Name → template: in tokenizer_config.json, else chat_template.jinja and its folder, else chat_template.json."""
    inside = config.get("chat_template")
    if isinstance(inside, list):
        pairs = [(item.get("name"), item.get("template")) for item in inside if isinstance(item, dict)]
        return {name: text for name, text in pairs if isinstance(name, str) and isinstance(text, str) and name}
    if isinstance(inside, str):
        return {"default": inside}
    if (directory / "chat_template.jinja").is_file():
        folder = sorted((directory / "additional_chat_templates").glob("*.jinja"))
        return {path.stem: _read_text(path) for path in folder} | {
            "default": _read_text(directory / "chat_template.jinja")
        }
    text = read_json_if_there(directory / "chat_template.json").get("chat_template")
    return {"default": text} if isinstance(text, str) else {}


def _read_text(path: Path) -> str:
    try:
        if path.stat().st_size > _MAX_TEMPLATE_BYTES:
            raise FormatError(f"{path}: {path.stat().st_size} bytes; a chat template has at most {_MAX_TEMPLATE_BYTES}")
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: cannot be read: {error}") from error
