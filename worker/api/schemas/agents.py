"""`/v1/agents`: what agents are made with, and what they are asked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from worker.api.body import Body
from worker.api.errors import invalid
from worker.api.schemas.execute import JobId, NativeSampling
from worker.chat.messages import ChatMessage, Conversation, Role, Tool, ToolCall


class AgentToolCall(Body):
    """A call that the assistant made; `arguments` is an object, or its text."""

    name: str = Field(min_length=1)
    arguments: dict[str, Any] | str = "{}"
    id: str = ""

    def normalised(self) -> ToolCall:
        text = self.arguments if isinstance(self.arguments, str) else json.dumps(self.arguments)
        return ToolCall(self.id, self.name, text)


class AgentMessage(Body):
    """One turn; a `tool` turn answers the call `tool_call_id`, of the tool `name`."""

    role: Role
    content: str = ""
    reasoning: str = ""
    tool_calls: list[AgentToolCall] = []
    tool_call_id: str = ""
    name: str = ""

    def normalised(self) -> ChatMessage:
        return ChatMessage(
            self.role,
            self.content,
            self.reasoning,
            tuple(call.normalised() for call in self.tool_calls),
            self.tool_call_id,
            self.name,
        )


def _unwrapped(value: Any) -> Any:
    """OpenAI's way to write a tool has the same in it."""
    if isinstance(value, Mapping) and value.get("type") == "function":
        return value.get("function")
    return value


class AgentTool(Body):
    """`parameters` is a JSON schema."""

    name: str = Field(min_length=1)
    description: str = ""
    parameters: dict[str, Any] = {}
    strict: bool | None = None


Tools = list[Annotated[AgentTool, BeforeValidator(_unwrapped)]]
Messages = Annotated[list[AgentMessage], Field(min_length=1)]


def conversation_of(
    messages: list[AgentMessage], tools: Tools, variables: Mapping[str, Any]
) -> Conversation:
    return Conversation(
        tuple(message.normalised() for message in messages),
        tuple(
            Tool(tool.name, tool.description, tool.parameters, bool(tool.strict)) for tool in tools
        ),
        variables=variables,
    )


class CreateAgentRequest(Body):
    """`prompt`, or `messages` and `tools`, is computed at once, so that what begins so need not
    be later. A `reproducible` one serves requests that are so too."""

    name: str | None = None
    prompt: str | None = Field(None, min_length=1)
    messages: Messages | None = None
    tools: Tools = []
    chat_template_kwargs: dict[str, Any] = {}
    reproducible: bool = False

    def conversation(self) -> Conversation | None:
        """Raises ApiError 400."""
        return _only_conversation(self)


class AgentGenerateRequest(NativeSampling):
    """Either `messages`, a whole conversation, or `prompt`, which goes on from the agent's text.
    With neither the text itself is continued."""

    prompt: str = ""
    messages: Messages | None = None
    tools: Tools = []
    chat_template_kwargs: dict[str, Any] = {}
    job_id: JobId | None = None
    stream: bool = True
    reproducible: bool | None = None

    def conversation(self) -> Conversation | None:
        """Raises ApiError 400."""
        return _only_conversation(self)

    @property
    def is_reproducible(self) -> bool:
        """Whoever gives a seed wants the same answer again."""
        return self.seed is not None if self.reproducible is None else self.reproducible


class ForkRequest(Body):
    """Without a `name` one is made."""

    name: str | None = None


def _only_conversation(body: CreateAgentRequest | AgentGenerateRequest) -> Conversation | None:
    if body.messages is None:
        for field in ("tools", "chat_template_kwargs"):
            if getattr(body, field):
                raise invalid(f"{field} needs messages", field)
        return None
    if body.prompt:
        raise invalid("prompt cannot be combined with messages", "prompt")
    return conversation_of(body.messages, body.tools, body.chat_template_kwargs)
