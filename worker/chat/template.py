"""The chat template of a model: Jinja from the model file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from worker.chat.sandbox import RENDER_TIMEOUT_S, TemplateCrashed, TemplateFailed, TemplateSandbox

__all__ = ["FALLBACK", "ChatTemplate", "TemplateCrashed", "TemplateFailed"]

FALLBACK = (
    "{% for message in messages %}{{ message.role | capitalize }}: {{ message.content }}\n\n"
    "{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)
"""For models that come without a template: a plain transcript."""


class ChatTemplate:
    """Renders turns that are already what this template expects (`turns` makes them so).

    Rendering is thread-safe and may take a while: call it off the event loop.
    """

    def __init__(
        self,
        source: str | None,
        sandbox: TemplateSandbox,
        *,
        bos_token: str = "",
        eos_token: str = "",
    ) -> None:
        self.source = FALLBACK if source is None else source
        self._sandbox = sandbox
        self._specials = {"bos_token": bos_token, "eos_token": eos_token}

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        now: datetime,
        tools: Sequence[Mapping[str, Any]] = (),
        variables: Mapping[str, Any] = {},
        add_generation_prompt: bool = True,
        timeout_s: float | None = None,
    ) -> str:
        """The prompt, up to where the assistant's turn begins, or the answer when no generation
        prompt is wanted. Raises TemplateFailed.

        `now` is what the template believes the time is.
        """
        context = {
            **variables,
            **self._specials,
            "messages": messages,
            "add_generation_prompt": add_generation_prompt,
        }
        if tools:
            context["tools"] = tools  # templates ask whether it is defined: never None
        else:
            context.pop("tools", None)
        limit = RENDER_TIMEOUT_S if timeout_s is None else timeout_s
        return self._sandbox.render(self.source, context, now=now, timeout_s=limit)
