"""The tools of `/v1/responses` and which of them may be called."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Tag, WithJsonSchema

from worker.api.body import LenientBody
from worker.api.schemas.openai_tools import Schema, ToolName
from worker.chat.messages import Tool, ToolChoice, ToolMode
from worker.engine.params import InvalidParam


class FunctionTool(LenientBody):
    type: Literal["function"]
    name: ToolName
    description: str | None = None
    parameters: Schema | None = None
    strict: bool | None = None

    def tool(self) -> Tool:
        return Tool(self.name, self.description or "", self.parameters or {}, bool(self.strict))


class HostedTool(LenientBody):
    """A tool that OpenAI would run itself. Clients offer them to everybody; the model is not told
    of them."""

    type: Annotated[str, WithJsonSchema({"type": "string", "not": {"const": "function"}})]


def _tool_tag(value: Any) -> str:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return "<function>" if kind == "function" else "<hosted>"


AnyTool = Annotated[
    Annotated[FunctionTool, Tag("<function>")] | Annotated[HostedTool, Tag("<hosted>")],
    Discriminator(_tool_tag),
]


class NamedChoice(LenientBody):
    """One tool, or with `allowed_tools` those that may be called."""

    type: str
    name: str | None = None
    mode: Literal["auto", "required"] = "auto"
    tools: list[AllowedTool] = []


class AllowedTool(LenientBody):
    type: str
    name: str | None = None


def _choice_tag(value: Any) -> str:
    return "<mode>" if isinstance(value, str) else "<named>"


AnyChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("<mode>")]
    | Annotated[NamedChoice, Tag("<named>")],
    Discriminator(_choice_tag),
]


def functions_of(tools: list[FunctionTool | HostedTool]) -> list[FunctionTool]:
    """Raises InvalidParam when two have one name."""
    seen: set[str] = set()
    functions = []
    for index, tool in enumerate(tools):
        if isinstance(tool, FunctionTool):
            if tool.name in seen:
                raise InvalidParam(f"tools.{index}.name", f'is "{tool.name}" a second time')
            seen.add(tool.name)
            functions.append(tool)
    return functions


def read_choice(
    choice: Literal["none", "auto", "required"] | NamedChoice | None,
    names: set[str],
    *,
    parallel: bool,
) -> ToolChoice:
    """What `choice` says when there are functions with these names. Raises InvalidParam."""
    if isinstance(choice, NamedChoice):
        return _read_named(choice, names, parallel)
    mode = ToolMode(choice or "auto")
    if mode is ToolMode.REQUIRED and not names:
        raise InvalidParam("tool_choice", "requires a call, but there is no function in tools")
    return ToolChoice(mode, (), parallel)


def _read_named(choice: NamedChoice, names: set[str], parallel: bool) -> ToolChoice:
    if choice.type == "function":
        name = _known(choice.name, names, "tool_choice.name")
        return ToolChoice(ToolMode.REQUIRED, (name,), parallel=False)
    if choice.type != "allowed_tools":
        reason = f"is {choice.type}, but only functions can be called here"
        raise InvalidParam("tool_choice.type", reason)
    allowed = tuple(
        _known(tool.name, names, f"tool_choice.tools.{index}.name")
        for index, tool in enumerate(choice.tools)
        if tool.type == "function"
    )
    if not allowed:
        raise InvalidParam("tool_choice.tools", "must name a function")
    return ToolChoice(ToolMode(choice.mode), allowed, parallel)


def _known(name: str | None, names: set[str], field: str) -> str:
    if name is None:
        raise InvalidParam(field, "is required")
    if name not in names:
        raise InvalidParam(field, f'is "{name}", but tools has no such function')
    return name
