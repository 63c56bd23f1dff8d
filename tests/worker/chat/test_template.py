from __future__ import annotations

from datetime import datetime

import pytest

from worker.chat import template as module
from worker.chat.messages import ChatMessage
from worker.chat.template import ChatTemplate, TemplateFailed

NOW = datetime(2026, 3, 1, 12, 0)
HI = [ChatMessage("user", "hi é")]


def render(source: str | None, messages: list[ChatMessage] = HI, timeout_s: float = 5.0) -> str:
    template = ChatTemplate(source, bos_token="<s>", eos_token="</s>")
    return template.render(messages, now=NOW, timeout_s=timeout_s)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{ bos_token }}{{ messages[0]['content'] }}{{ eos_token }}", "<s>hi é</s>"),
        ("{{ messages | tojson }}", '[{"role": "user", "content": "hi é"}]'),
        ("{{ '<b>' }}{{ '<b>' | tojson }}", '<b>"<b>"'),
        ("{{ strftime_now('%d %b %Y') }}", "01 Mar 2026"),
        ("a\n  {% if true %}\nb\n  {% endif %}\nc", "a\nb\nc"),
        ("{% for i in [1, 2, 3] %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}", "1"),
        ("{% set l = [] %}{% do l.append(1) %}{{ l }}", "[1]"),
        ("{% generation %}x{% endgeneration %}", "x"),
        ("{{ '-' * 3 }}{{ 2 * 3 }}", "---6"),
        ("{% if tools %}tools{% endif %}{% if add_generation_prompt %}go{% endif %}", "go"),
    ],
)
def test_templates_find_what_they_expect(source: str, expected: str) -> None:
    assert render(source) == expected


def test_a_model_without_a_template_gets_a_transcript() -> None:
    messages = [ChatMessage("system", "Be brief."), ChatMessage("user", "hi")]
    assert render(None, messages) == "System: Be brief.\n\nUser: hi\n\nAssistant:"


def test_rendering_does_not_change_the_conversation() -> None:
    source = "{% do messages.append(1) %}{% do messages[0].update(content='x') %}{{ messages }}"
    assert render(source) == render(source)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("{{ raise_exception('no system role') }}", "no system role"),
        ("{{ nothing.here }}", "nothing"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{{ messages[5].content }}", "no element"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "RecursionError"),
        ("{% if %}", "cannot be compiled"),
        ("{% include 'x' %}", "loader"),
        ("{{ 'x' * 1000000000 }}", "too long"),
        ("{{ 9 ** 999999999 }}", "powers"),
    ],
)
def test_what_goes_wrong_is_said(source: str, reason: str) -> None:
    with pytest.raises(TemplateFailed, match=reason):
        render(source)


def test_an_endless_template_is_stopped() -> None:
    loop = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    with pytest.raises(TemplateFailed, match="longer than 0.1 s"):
        render(loop, timeout_s=0.1)


def test_a_template_that_writes_without_end_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_OUTPUT_CHARS", 1000)
    with pytest.raises(TemplateFailed, match="more than 1000"):
        render("{% for a in range(99999) %}{{ messages }}{% endfor %}")
