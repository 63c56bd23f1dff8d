"""Tools, and which of them are to be called, as OpenAI's clients write them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from worker.api.body import LenientBody
from worker.chat.messages import Tool, ToolChoice, ToolMode
from worker.engine.params import InvalidParam

MAX_TOOLS = 128
MAX_SCHEMA_DEPTH = 64


def _not_deep(schema: dict[str, Any]) -> dict[str, Any]:
    """Everything that walks through a schema later does so by recursion."""
    level: list[Any] = [schema]
    for _ in range(MAX_SCHEMA_DEPTH):
        level = [child for value in level for child in _children(value)]
        if not level:
            return schema
    raise ValueError(f"is nested deeper than {MAX_SCHEMA_DEPTH} levels")


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


Schema = Annotated[dict[str, Any], AfterValidator(_not_deep)]
ToolName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_.-]{1,64}$")]


class FunctionTool(LenientBody):
    name: ToolName
    description: str | None = None
    parameters: Schema | None = None
    strict: bool | None = None

    def tool(self) -> Tool:
        return Tool(self.name, self.description or "", self.parameters or {}, bool(self.strict))


class ToolSpec(LenientBody):
    type: Literal["function"]
    function: FunctionTool


class FunctionName(LenientBody):
    name: str


class NamedTool(LenientBody):
    type: Literal["function"] = "function"
    function: FunctionName


class AllowedTools(LenientBody):
    mode: Literal["auto", "required"] = "auto"
    tools: list[NamedTool] = Field(min_length=1)


class ChosenTools(LenientBody):
    """One function by its name, or those that are allowed."""

    type: Literal["function", "allowed_tools"]
    function: FunctionName | None = None
    allowed_tools: AllowedTools | None = None

    def choice(self, *, parallel: bool) -> ToolChoice:
        """Raises InvalidParam."""
        if self.type == "function":
            if self.function is None:
                raise InvalidParam("tool_choice.function", "is required")
            return ToolChoice(ToolMode.REQUIRED, (self.function.name,), parallel=False)
        if self.allowed_tools is None:
            raise InvalidParam("tool_choice.allowed_tools", "is required")
        names = tuple(tool.function.name for tool in self.allowed_tools.tools)
        return ToolChoice(ToolMode(self.allowed_tools.mode), names, parallel)


Choice = Literal["none", "auto", "required"] | ChosenTools


def read_choice(
    wanted: Choice | None, tools: Sequence[Tool], *, parallel: bool, field: str = "tool_choice"
) -> ToolChoice:
    """Raises InvalidParam when it names a tool that there is not."""
    if isinstance(wanted, ChosenTools):
        choice = wanted.choice(parallel=parallel)
    else:
        choice = ToolChoice(ToolMode(wanted or ToolMode.AUTO), (), parallel)
    known = {tool.name for tool in tools}
    for name in choice.names:
        if name not in known:
            raise InvalidParam(field, f'names "{name}", which is not among the tools')
    if choice.mode is ToolMode.REQUIRED and not tools:
        raise InvalidParam(field, "asks for a call, but there are no tools")
    return choice
