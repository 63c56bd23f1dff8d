"""`POST /v1/chat/completions`: fields are honoured, refused by name, or not known and ignored."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from worker.api.schemas.openai_messages import Message, Unsupported, read_messages
from worker.api.schemas.openai_sampling import OpenAISampling, first
from worker.api.schemas.openai_tools import (
    MAX_TOOLS,
    Choice,
    FunctionName,
    FunctionTool,
    Schema,
    ToolSpec,
    read_choice,
)
from worker.chat.messages import Conversation, Tool, ToolChoice, ToolMode
from worker.engine.params import InvalidParam, SamplingParams


class ChatRequest(OpenAISampling):
    """OpenAI's request plus the extensions that clients of local servers send.

    With `continue_final_message` the last message is the beginning of the answer.
    """

    messages: list[Message] = Field(min_length=1)
    max_completion_tokens: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    tools: list[ToolSpec] | None = Field(None, max_length=MAX_TOOLS)
    tool_choice: Choice | None = None
    parallel_tool_calls: bool | None = None
    functions: list[FunctionTool] | None = Field(None, max_length=MAX_TOOLS)
    function_call: Literal["none", "auto"] | FunctionName | None = None

    chat_template_kwargs: Schema | None = None
    reasoning_effort: str | None = None
    reasoning_format: Literal["auto", "deepseek"] | None = None
    continue_final_message: bool | None = None

    audio: Unsupported = None
    web_search_options: Unsupported = None
    modalities: list[Literal["text"]] | None = None

    def sampling(self, default_max_tokens: int) -> SamplingParams:
        """Raises InvalidParam, naming the field as this request spells it."""
        if self.top_logprobs is not None and not self.logprobs:
            raise InvalidParam("top_logprobs", "needs logprobs to be true")
        limit = first(self.max_completion_tokens, self.max_tokens, default=default_max_tokens)
        logprobs = first(self.top_logprobs, default=0) if self.logprobs else None
        return self.sampling_params(limit, logprobs)

    def conversation(self) -> Conversation:
        """Raises InvalidParam."""
        tools = tuple(function.tool() for function in self._functions())
        messages = read_messages(self.messages)
        continues = bool(self.continue_final_message)
        if continues and (messages[-1].role != "assistant" or messages[-1].tool_calls):
            raise InvalidParam("continue_final_message", "needs a last message of the assistant's")
        return Conversation(
            messages, tools, self._choice(tools), self._template_variables(), continues
        )

    @property
    def wants_function_call(self) -> bool:
        """Whether the client knows one call only, in the form that came before tools."""
        return bool(self.functions)

    def _functions(self) -> list[FunctionTool]:
        if self.functions and self.tools:
            raise InvalidParam("functions", "cannot be combined with tools")
        return self.functions or [tool.function for tool in self.tools or ()]

    def _choice(self, tools: tuple[Tool, ...]) -> ToolChoice:
        if not self.functions:
            parallel = self.parallel_tool_calls is not False
            return read_choice(self.tool_choice, tools, parallel=parallel)
        if isinstance(self.function_call, FunctionName):
            name = self.function_call.name
            if all(tool.name != name for tool in tools):
                raise InvalidParam("function_call", f'names "{name}", which is not a function')
            return ToolChoice(ToolMode.REQUIRED, (name,), parallel=False)
        return ToolChoice(ToolMode(self.function_call or ToolMode.AUTO), (), parallel=False)

    def _template_variables(self) -> dict[str, Any]:
        variables = dict(self.chat_template_kwargs or {})
        effort = self.reasoning_effort
        if effort == "none":
            variables.setdefault("enable_thinking", False)
        elif effort is not None:
            variables["reasoning_effort"] = effort
        return variables
