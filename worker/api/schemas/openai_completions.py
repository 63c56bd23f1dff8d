"""`POST /v1/completions`."""

from __future__ import annotations

from pydantic import Field

from worker.api.schemas.openai_sampling import OpenAISampling, first
from worker.api.schemas.prompts import Prompts
from worker.engine.params import MAX_TOP_LOGPROBS, InvalidParam, SamplingParams


class CompletionRequest(OpenAISampling):
    """Texts to be continued. With `echo` each comes back before what was written; with `suffix`
    what is written goes between the two."""

    prompt: Prompts
    echo: bool | None = None
    logprobs: int | None = Field(None, ge=0, le=MAX_TOP_LOGPROBS)
    suffix: str | None = None
    best_of: int | None = None

    def sampling(self, default_max_tokens: int) -> SamplingParams:
        """Raises InvalidParam, naming the field as this request spells it."""
        if self.best_of is not None and self.best_of != self.num_choices:
            raise InvalidParam("best_of", "must be the same as n: answers are not ranked here")
        if self.suffix and self.echo:
            raise InvalidParam("echo", "cannot be combined with suffix")
        if self.suffix and not all(isinstance(prompt, str) for prompt in self.prompt):
            raise InvalidParam("suffix", "needs a prompt that is text")
        limit = first(self.max_tokens, default=default_max_tokens)
        # Nothing but the prompt and what is to be known of it.
        is_echo_only = self.only_echoes
        return self.sampling_params(1 if is_echo_only else limit, self.logprobs)

    @property
    def only_echoes(self) -> bool:
        return self.max_tokens == 0 and bool(self.echo)

    @property
    def scores_prompt(self) -> bool:
        return bool(self.echo) and self.logprobs is not None
