"""What an answer cost, as OpenAI and as llama-server say it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from worker.engine.events import Timings

Record = dict[str, Any]


def usage(timings: Sequence[Timings], reasoning_tokens: int = 0) -> Record:
    """Of all choices together. They have one prompt, which counts once."""
    return usage_of_prompts([timings], reasoning_tokens)


def usage_of_prompts(prompts: Sequence[Sequence[Timings]], reasoning_tokens: int = 0) -> Record:
    """Of several prompts, each with the choices that were made of it."""
    prompt_tokens = sum(choices[0].prompt_tokens for choices in prompts)
    completion_tokens = sum(one.completion_tokens for choices in prompts for one in choices)
    cached_tokens = sum(choices[0].cached_tokens for choices in prompts)
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": reasoning_tokens},
    }


def llama_timings(timings: Timings) -> Record:
    """llama-server's, in milliseconds. `prompt_n` tokens were computed, `cache_n` were there."""
    prompt_n = timings.prompt_tokens - timings.cached_tokens
    record: Record = {"cache_n": timings.cached_tokens}
    record |= _pace("prompt", prompt_n, timings.prefill_s)
    record |= _pace("predicted", timings.completion_tokens, timings.decode_s)
    if timings.drafted:
        record |= {"draft_n": timings.drafted, "draft_n_accepted": timings.accepted}
    return record


def _pace(name: str, count: int, seconds: float) -> Record:
    return {
        f"{name}_n": count,
        f"{name}_ms": round(seconds * 1e3, 3),
        f"{name}_per_token_ms": round(seconds * 1e3 / count, 3) if count else 0.0,
        f"{name}_per_second": round(count / seconds, 3) if seconds > 0 else 0.0,
    }
