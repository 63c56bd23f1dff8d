"""A conversation's next prompt begins with the one before, and costs only what is new in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.runner import FakeRunner
from tests.rigs.api_server import template_sandbox
from tests.rigs.http import call
from tests.rigs.worker import WorkerProcess, running_worker
from worker.api.anthropic_prompt import read_conversation
from worker.api.schemas.anthropic import CountTokensRequest
from worker.chat.format import ChatFormat

TEMPLATES = Path(__file__).parents[1] / "chat" / "templates"
NOW = datetime(2026, 5, 4)
SESSION = "5e0a5c5e-0b3f-4c6a-9d3e-1f2a3b4c5d6e"
MARK = {"cache_control": {"type": "ephemeral"}}
TOOLS = [
    {"name": name, "description": f"Does {name}. " * 20, "input_schema": {"type": "object"}}
    for name in ("Bash", "Edit", "Read")
]
RULES = "Answer in few words. Do not guess what you can look up. Keep files as you found them. "
Record = dict[str, Any]


@pytest.fixture(scope="module")
def worker() -> Iterator[WorkerProcess]:
    yield from running_worker("--ctx", "16384", "--slots", "4", model="ref-qwen2")


def claude_request(conversation: list[Record], version: str) -> Record:
    """As Claude Code asks: the stamp in the first block changes, the last message is marked and
    is a list, those before it are texts where they can be."""
    messages = [_as_text(message) for message in conversation[:-1]]
    last = conversation[-1]["content"]
    messages.append(conversation[-1] | {"content": [*last[:-1], last[-1] | MARK]})
    note = {"role": "system", "content": [{"type": "text", "text": "Tools found later: none."}]}
    messages.insert(1, note)
    return {
        "model": "ref-qwen2",
        "max_tokens": 32_000,
        "system": [
            {"type": "text", "text": f"x-anthropic-billing-header: cc_version={version};"},
            {"type": "text", "text": "You are Claude Code."} | MARK,
            {"type": "text", "text": RULES * 150} | MARK,
        ],
        "messages": messages,
        "tools": TOOLS,
        "thinking": {"type": "adaptive", "display": "omitted"},
        "output_config": {"effort": "high"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015"}]},
        "metadata": {"user_id": json.dumps({"device_id": "d", "session_id": SESSION})},
        "temperature": 0.0,
    }


def _as_text(message: Record) -> Record:
    content = message["content"]
    if len(content) == 1 and content[0]["type"] == "text":
        return message | {"content": content[0]["text"]}
    return message


def ask(worker: WorkerProcess, body: Record, agent: str | None = None) -> Record:
    headers = {"X-Claude-Code-Session-Id": SESSION}
    if agent is not None:
        headers["x-claude-code-agent-id"] = agent
    answer = call(worker.url, "/v1/messages?beta=true", body, headers=headers)
    assert answer.status == 200, answer.text
    found: Record = answer.json()
    return found


def user(*blocks: Record) -> Record:
    return {"role": "user", "content": list(blocks)}


def text(value: str) -> Record:
    return {"type": "text", "text": value}


def costs(found: Record) -> tuple[int, int]:
    """Tokens that were sent, and of them those that were computed."""
    usage = found["usage"]
    computed = usage["input_tokens"] + usage["cache_creation_input_tokens"]
    return computed + usage["cache_read_input_tokens"], computed


def test_later_turns_of_a_session_compute_only_what_is_new(worker: WorkerProcess) -> None:
    questions = ["What is the capital of France?", "What is 17 + 25?", "Say river stone 7", "Hello"]
    conversation = [user(text("<system-reminder>Be kind.</system-reminder>"), text(questions[0]))]
    found = ask(worker, claude_request(conversation, "2.1.a"))
    counts = [found["usage"]["cache_read_input_tokens"]]
    for number, question in enumerate(questions[1:]):
        conversation.append({"role": "assistant", "content": found["content"]})
        if number == 1:
            used = {"type": "tool_use", "id": "toolu_1", "name": "Read", "input": {"path": "a"}}
            conversation[-1]["content"] = [*conversation[-1]["content"], used]
            result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "An old poem."}
            conversation.append(user(result, text(question)))
        else:
            conversation.append(user(text(question)))
        # Somebody else's turn in between, and the title of the session, must not cost a thing.
        aside = claude_request([user(text(f"Look at {number}"))], "2.1.s")
        sent, computed = costs(ask(worker, aside, agent="a1"))
        assert computed < 0.05 * sent
        ask(worker, claude_request([user(text("A title?"))], "2.1.t") | {"tools": []})
        found = ask(worker, claude_request(conversation, f"2.1.{number}"))
        sent, computed = costs(found)
        assert sent > 3000 and computed < 0.05 * sent, f"turn {number + 2}: {computed} of {sent}"
        counts.append(found["usage"]["cache_read_input_tokens"])
    assert counts == sorted(counts) and len(set(counts)) == len(counts)


def test_counting_says_what_a_message_costs(worker: WorkerProcess) -> None:
    body = claude_request([user(text("Who invented tea?"))], "2.1")
    counted = call(worker.url, "/v1/messages/count_tokens", body).json()["input_tokens"]
    assert counted == costs(ask(worker, body))[0]


@cache
def chat_format(name: str) -> ChatFormat:
    runner = FakeRunner(chat_template=(TEMPLATES / f"{name}.jinja").read_text())
    return ChatFormat.load(runner.info, runner.vocab, template_sandbox())


def prompt(name: str, conversation: list[Record], **fields: Any) -> str:
    body = claude_request(conversation, "2.1") | {"tools": TOOLS} | fields
    request = CountTokensRequest.model_validate_json(json.dumps(body))
    return chat_format(name).render(read_conversation(request), NOW).text


WORDS = st.text("ab é", min_size=1, max_size=8).map(str.strip).filter(bool)
TURNS = st.tuples(
    st.lists(WORDS, min_size=1, max_size=2),
    WORDS,
    st.lists(st.dictionaries(WORDS, WORDS | st.integers(0, 9), max_size=2), max_size=2),
)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["qwen2.5", "qwen3"]), st.lists(TURNS, min_size=2, max_size=4))
def test_the_next_prompt_begins_with_the_one_before(
    name: str, turns: list[tuple[list[str], str, list[Record]]]
) -> None:
    conversation: list[Record] = []
    before = ""
    for number, (asked, said, calls) in enumerate(turns):
        conversation.append(user(*map(text, asked)))
        now = prompt(name, conversation)
        assert now.startswith(before)
        before = now
        used = [
            {"type": "tool_use", "id": f"toolu_{number}{at}", "name": "Bash", "input": arguments}
            for at, arguments in enumerate(calls)
        ]
        conversation.append({"role": "assistant", "content": [text(said), *used]})
        if used:
            results = [
                {"type": "tool_result", "tool_use_id": call["id"], "content": "done"}
                for call in used
            ]
            conversation.append(user(*results))
            now = prompt(name, conversation)
            assert now.startswith(before)
            before = now
            conversation.append({"role": "assistant", "content": [text("So it is.")]})
