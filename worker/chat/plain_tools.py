"""Tools, for templates that do not know of any: told in words, called in tagged JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from worker.chat.messages import ChatMessage, Tool, ToolCall

_INTRODUCTION = """\
# Tools

You may call functions. Their signatures are given as JSON within <tools></tools>:
<tools>
{tools}
</tools>

To call one, write its name and its arguments as a JSON object within <tool_call></tool_call>:
<tool_call>
{{"name": <name>, "arguments": <arguments>}}
</tool_call>"""


def described(tools: Sequence[Tool]) -> str:
    """For the system's turn."""
    lines = "\n".join(json.dumps(tool_dict(tool), ensure_ascii=False) for tool in tools)
    return _INTRODUCTION.format(tools=lines)


def tool_dict(tool: Tool) -> dict[str, Any]:
    """A tool as templates know it; with the parts of a schema that they do not ask for before
    they use them."""
    parameters = {"type": "object", "properties": {}, **tool.parameters}
    function = {"name": tool.name, "description": tool.description, "parameters": parameters}
    return {"type": "function", "function": function}


def with_calls(message: ChatMessage) -> str:
    """The content of an assistant's turn with its calls in it."""
    texts = [message.content] if message.content else []
    return "\n".join(texts + [_written(call) for call in message.tool_calls])


def answered(content: str) -> str:
    """What a tool said, for a user's turn."""
    return f"<tool_response>\n{content}\n</tool_response>"


def _written(call: ToolCall) -> str:
    name = json.dumps(call.name, ensure_ascii=False)
    return f'<tool_call>\n{{"name": {name}, "arguments": {call.arguments or "{}"}}}\n</tool_call>'
