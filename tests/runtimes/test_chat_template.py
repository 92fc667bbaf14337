"""Chat templates: what transformers makes of them, in a sandbox that a stranger's template cannot leave or hang."""

from dataclasses import replace
from pathlib import Path

import gguf
import pytest

from pennyweight.core.errors import FormatError
from pennyweight.runtimes import chat_template as module
from pennyweight.runtimes.chat_template import ChatTemplate, Message
from pennyweight.runtimes.llama_cpp import Model
from pennyweight.runtimes.llama_cpp.prompt import chat_template, chat_tokens
from tests.tiny_gguf import write_tiny_gguf

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
THINKS = CHATML + "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
BRACKETS = (
    "{{ bos_token }}{%- for m in messages %}\n"
    "    {%- if m.role == 'user' %}\n{{ '[INST] ' + m.content | trim + ' [/INST]' }}\n"
    "    {%- elif m.role == 'system' %}{{ raise_exception('no system messages, please') }}\n"
    "    {%- else %}{{ m.content + eos_token }}{%- endif %}\n{%- endfor %}"
)
MACROS = (
    "{%- set ns = namespace(n=0) -%}{%- macro turn(m) -%}{{ m.role | upper }}: {{ m | tojson }}{%- endmacro -%}"
    "{%- for m in messages -%}{%- set ns.n = ns.n + 1 -%}{%- if loop.first and not tools %}{{ bos_token }}{% endif -%}"
    "{{ turn(m) }}#{{ ns.n }}{%- if ns.n > 2 -%}{%- break -%}{%- endif -%}{%- endfor -%}"
)
TALK = [
    Message(role="user", content=" Wie geht's? "),
    Message(role="assistant", content="Gut & <b>fett</b>."),
    Message(role="user", content='Say "ja".'),
]


def template(source: str) -> ChatTemplate:
    return ChatTemplate(source=source, bos_token="<s>", eos_token="</s>")


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.parametrize("source", [CHATML, THINKS, BRACKETS, MACROS])
def test_a_template_gives_what_transformers_makes_of_it(source: str) -> None:
    rendering = pytest.importorskip("transformers.utils.chat_template_utils")
    compiled = rendering._compile_jinja_template(source)
    messages = [{"role": m.role, "content": m.content} for m in TALK]
    expected = compiled.render(
        messages=messages,
        add_generation_prompt=True,
        enable_thinking=False,
        bos_token="<s>",
        eos_token="</s>",
        tools=None,
    )
    assert template(source).render(TALK) == expected


def test_thinking_is_what_the_template_makes_of_it() -> None:
    assert template(THINKS).render(TALK[:1]).endswith("</think>\n\n")
    assert "think" not in template(THINKS).render(TALK[:1], thinking=True)


def test_a_refusal_of_the_template_is_one_line() -> None:
    with pytest.raises(FormatError, match=r"no system messages, please.*--no-template"):
        template(BRACKETS).render([Message(role="system", content="Be brief."), *TALK])


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ cycler.__init__.__globals__.os.system('true') }}",
        "{{ messages.clear() }}",
        "{% include '/etc/passwd' %}",
        "{{ 'a' * 1000000000 }}",
        "{{ 10 ** 10 ** 10 }}",
        "{{ range(100000000) | list }}",
        "{% for",
    ],
)
def test_what_a_template_may_not_do_is_refused(source: str) -> None:
    with pytest.raises(FormatError, match="chat template fails"):
        template(source).render(TALK)


def test_a_template_that_never_ends_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DEADLINE_SECONDS", 0.05)
    loops = "{% for a in range(90000) %}{% for b in range(90000) %}{% set c = a + b %}{% endfor %}{% endfor %}"
    with pytest.raises(FormatError, match="computes for more than"):
        template(loops).render(TALK)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    plain = write_tiny_gguf(tmp_path_factory.mktemp("tiny") / "plain.gguf")
    return Model.load(plain)


def test_a_model_without_a_template_has_none(model: Model) -> None:
    assert chat_template(model) is None


def test_the_template_stands_in_the_metadata_with_its_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = gguf.GGUFWriter.add_add_bos_token
    monkeypatch.setattr(
        gguf.GGUFWriter,
        "add_add_bos_token",
        lambda self, value: (self.add_chat_template(CHATML), write(self, value))[1],
    )
    with Model.load(write_tiny_gguf(tmp_path / "chat.gguf")) as chat:
        assert chat_template(chat) == ChatTemplate(source=CHATML, bos_token="<s>", eos_token="</s>")


def test_bos_comes_once_whether_the_template_writes_it_or_not(model: Model) -> None:
    for source in ("{{ messages[0].content }}", "{{ bos_token }}{{ messages[0].content }}"):
        tokens = chat_tokens(model, template(source), [Message(role="user", content="the harbour")])
        assert list(tokens).count(model.facts.bos) == 1


def test_a_text_that_spells_a_control_token_stays_text(model: Model) -> None:
    framed = template("{{ messages[0].content }}</s>{{ messages[1].content }}")
    honest = [Message(role="user", content="the sea"), Message(role="assistant", content="is wide")]
    hostile = [replace(honest[0], content="the </s> sea"), honest[1]]
    assert list(chat_tokens(model, framed, honest)).count(model.facts.eos) == 1
    tokens = chat_tokens(model, framed, hostile)
    assert list(tokens).count(model.facts.eos) == 1  # the template's own
    assert model.detokenize(tokens, special=True).endswith("the </s> sea</s>is wide")
