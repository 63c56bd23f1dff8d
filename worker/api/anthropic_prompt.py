"""What Anthropic's request asks to be continued, for generation and for counting alike."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from worker.api.anthropic_history import read_system, read_turns, referenced_tools
from worker.api.errors import invalid
from worker.api.schemas.anthropic import CountTokensRequest, CustomTool, ToolChoiceParam
from worker.chat.messages import ChatMessage, Conversation, Tool, ToolChoice, ToolMode

# The efforts that templates know, by what clients call them.
_EFFORTS = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}


class Thoughts(StrEnum):
    """What becomes of the model's thoughts in the answer. Omitted ones are in a block that does
    not show them."""

    SHOWN = "shown"
    OMITTED = "omitted"
    LEFT_OUT = "left_out"


def read_conversation(body: CountTokensRequest) -> Conversation:
    """Raises ApiError 400."""
    turns = read_turns(body.messages)
    if not turns:
        raise invalid("messages: nothing in them is for the model to read", "messages")
    system = read_system(body.system)
    messages = (ChatMessage("system", system), *turns) if system else turns
    last = turns[-1]
    tools = _tools(body)
    choice = _tool_choice(body.tool_choice, tools)
    return Conversation(
        messages,
        tools=tools,
        tool_choice=choice,
        variables=_variables(body, turns, choice),
        continues_last=last.role == "assistant" and bool(last.content) and not last.tool_calls,
    )


def thoughts_of(body: CountTokensRequest) -> Thoughts:
    """Clients that did not ask for thoughts take the first block for the answer."""
    thinking = body.thinking
    if thinking is None or thinking.type == "disabled":
        return Thoughts.LEFT_OUT
    return Thoughts.OMITTED if thinking.display == "omitted" else Thoughts.SHOWN


def marks_cache(body: CountTokensRequest) -> bool:
    """Whether anything is marked with `cache_control`."""
    if body.cache_control is not None:
        return True
    marked: list[Any] = [*body.system, *(body.tools or ())]
    for message in body.messages:
        marked += message.content
    return any(getattr(one, "cache_control", None) is not None for one in marked)


def _tools(body: CountTokensRequest) -> tuple[Tool, ...]:
    """Those that the client runs. Deferred ones come last, as they are found, so that the prompt
    stays the same up to them."""
    at_once: dict[str, CustomTool] = {}
    deferred: dict[str, CustomTool] = {}
    for at, tool in enumerate(body.tools or ()):
        if isinstance(tool, CustomTool):
            if tool.name in at_once or tool.name in deferred:
                field = f"tools.{at}.name"
                raise invalid(f"{field}: there are two tools of the name {tool.name}", field)
            (deferred if tool.defer_loading else at_once)[tool.name] = tool
    found = (deferred[name] for name in referenced_tools(body.messages) if name in deferred)
    return tuple(_tool(tool) for tool in (*at_once.values(), *found))


def _tool(tool: CustomTool) -> Tool:
    schema = {"type": "object"} | tool.input_schema
    return Tool(tool.name, tool.description or "", schema, strict=bool(tool.strict))


def _tool_choice(choice: ToolChoiceParam | None, tools: tuple[Tool, ...]) -> ToolChoice:
    if choice is None:
        return ToolChoice()
    parallel = not choice.disable_parallel_tool_use
    match choice.type:
        case "auto":
            return ToolChoice(parallel=parallel)
        case "none":
            return ToolChoice(ToolMode.NONE)
        case "any":
            if not tools:
                raise invalid("tool_choice: there are no tools to choose from", "tool_choice")
            return ToolChoice(ToolMode.REQUIRED, parallel=parallel)
        case "tool":
            if choice.name not in [tool.name for tool in tools]:
                reason = f"tool_choice.name: no tool is called {choice.name or 'nothing'}"
                raise invalid(reason, "tool_choice.name")
            return ToolChoice(ToolMode.REQUIRED, (choice.name,), parallel)


def _variables(
    body: CountTokensRequest, turns: tuple[ChatMessage, ...], choice: ToolChoice
) -> dict[str, Any]:
    # A form leaves no room for thoughts before what it asks for.
    has_form = body.form() is not None or choice.mode is ToolMode.REQUIRED
    variables: dict[str, Any] = {"enable_thinking": not has_form and _thinks(body, turns)}
    if (effort := _EFFORTS.get(body.effort or "")) is not None:
        variables["reasoning_effort"] = effort
    return variables


def _thinks(body: CountTokensRequest, turns: tuple[ChatMessage, ...]) -> bool:
    match None if body.thinking is None else body.thinking.type:
        case "enabled" | "adaptive":
            return True
        case "between_tools":
            return turns[-1].role == "tool"
        case _:
            return False
