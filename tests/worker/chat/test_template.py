from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import pytest

from worker.chat.sandbox import TemplateFailed, TemplateSandbox
from worker.chat.template import ChatTemplate

Turn = Mapping[str, Any]
Render = Callable[..., str]
NOW = datetime(2026, 3, 1, 12, 0)
HI = [{"role": "user", "content": "hi é"}]


@pytest.fixture
def render(sandbox: TemplateSandbox) -> Render:
    def render(source: str | None, messages: Sequence[Turn] = HI) -> str:
        template = ChatTemplate(source, sandbox, bos_token="<s>", eos_token="</s>")
        return template.render(messages, now=NOW)

    return render


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
def test_templates_find_what_they_expect(render: Render, source: str, expected: str) -> None:
    assert render(source) == expected


def test_a_model_without_a_template_gets_a_transcript(render: Render) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]
    assert render(None, messages) == "System: Be brief.\n\nUser: hi\n\nAssistant:"


def test_rendering_does_not_change_the_conversation(render: Render) -> None:
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
        ("{{ raise_exception | tojson }}", "TypeError"),
    ],
)
def test_what_goes_wrong_is_said(render: Render, source: str, reason: str) -> None:
    with pytest.raises(TemplateFailed, match=reason):
        render(source)


def test_a_template_without_tools_does_not_see_any(render: Render) -> None:
    assert render("{{ tools is defined }}") == "False"


def test_a_request_cannot_pretend_to_be_the_worker(sandbox: TemplateSandbox) -> None:
    template = ChatTemplate("{{ bos_token }}{{ messages }}{{ tools }}", sandbox, bos_token="<s>")
    names = {"bos_token": "x", "messages": "x", "tools": "x", "strftime_now": "x"}
    assert template.render([], now=NOW, variables=names) == "<s>[]"
