"""The chat template of a model: Jinja from the model file, run sandboxed and bounded."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from types import FrameType
from typing import Any, NoReturn

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import SandboxedEnvironment

from worker.chat.messages import ChatMessage

MAX_OUTPUT_CHARS = 16 << 20
RENDER_TIMEOUT_S = 5.0

FALLBACK = (
    "{% for message in messages %}{{ message.role | capitalize }}: {{ message.content }}\n\n"
    "{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)
"""For models that come without a template: a plain transcript."""


class TemplateFailed(Exception):
    """The template refused the conversation or is broken; the text is the reason."""


class ChatTemplate:
    """Renders conversations as one model wants them. Rendering is thread-safe and may take a
    while: call it off the event loop.
    """

    def __init__(self, source: str | None, *, bos_token: str = "", eos_token: str = "") -> None:
        self._specials = {"bos_token": bos_token, "eos_token": eos_token}
        self._broken = ""
        try:
            self._template = _ENVIRONMENT.from_string(FALLBACK if source is None else source)
        except TemplateError as error:
            # The worker still serves raw prompts; chat requests hear why they cannot be answered.
            self._broken = f"the model's chat template cannot be compiled: {error}"

    def render(
        self,
        messages: Sequence[ChatMessage],
        *,
        now: datetime,
        variables: Mapping[str, Any] = {},
        timeout_s: float = RENDER_TIMEOUT_S,
    ) -> str:
        """The prompt, up to where the assistant's turn begins. Raises TemplateFailed.

        `now` is what the template believes the time is.
        """
        if self._broken:
            raise TemplateFailed(self._broken)
        turns = [{"role": message.role, "content": message.content} for message in messages]
        context = {
            **variables,
            **self._specials,
            "messages": turns,
            "add_generation_prompt": True,
            "strftime_now": now.strftime,
        }
        try:
            with _deadline(timeout_s):
                return _join_bounded(self._template.generate(context))
        except TemplateFailed:
            raise
        except TemplateError as error:
            raise TemplateFailed(error.message or type(error).__name__) from error
        except Exception as error:  # whatever the template's own expressions raised
            raise TemplateFailed(f"{type(error).__name__}: {error}") from error


def _join_bounded(pieces: Iterator[str]) -> str:
    kept = []
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > MAX_OUTPUT_CHARS:
            raise TemplateFailed(f"the chat template wrote more than {MAX_OUTPUT_CHARS} characters")
        kept.append(piece)
    return "".join(kept)


@contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    """Stops Python code that runs too long, at its next line.

    A thread cannot be killed from outside and a template can loop without writing anything, so
    this thread's own trace function looks at the clock.
    """
    end = time.monotonic() + seconds

    def check(frame: FrameType, event: str, arg: Any) -> Any:
        if time.monotonic() > end:
            raise TemplateFailed(f"the chat template ran longer than {seconds:g} s")
        return check

    before = sys.gettrace()
    sys.settrace(check)
    try:
        yield
    finally:
        sys.settrace(before)


class _Environment(SandboxedEnvironment):
    """Jinja's sandbox, in which repetition cannot be used to eat the machine's memory."""

    intercepted_binops = frozenset({"*", "**"})

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "**":
            raise TemplateError("powers are not allowed in a chat template")
        size = max(_size(left) * _count(right), _size(right) * _count(left))
        if size > MAX_OUTPUT_CHARS:
            raise TemplateError("a repeated text in the chat template is too long")
        return super().call_binop(context, operator, left, right)


def _size(value: Any) -> int:
    return len(value) if isinstance(value, str | list | tuple) else 0


def _count(value: Any) -> int:
    return value if isinstance(value, int) else 0


class _Generation(Extension):
    """`{% generation %}` marks the assistant's words for training; here it is transparent."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _to_json(
    value: Any,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
    ensure_ascii: bool = False,
) -> str:
    """Models are trained on plain JSON; Jinja's own filter escapes it for HTML."""
    return json.dumps(
        value, indent=indent, separators=separators, sort_keys=sort_keys, ensure_ascii=ensure_ascii
    )


def _raise(message: str) -> NoReturn:
    raise TemplateError(message)


def _make_environment() -> _Environment:
    environment = _Environment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.loopcontrols", "jinja2.ext.do", _Generation],
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise
    return environment


_ENVIRONMENT = _make_environment()
