"""`POST /tokenize` and `/detokenize`, as llama-server's and as vLLM's; `GET /tokenizer_info`."""

from __future__ import annotations

from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from pydantic import Field

from worker.api.body import LenientBody, read_body
from worker.api.deps import ModelDep
from worker.api.describe import takes
from worker.api.errors import invalid
from worker.api.generate import tokenise_off_loop
from worker.engine.params import InvalidParam
from worker.engine.runner import Vocab

router = APIRouter()


class TokenizeRequest(LenientBody):
    """The text is `content` to llama-server's clients and `prompt` to vLLM's, who have a BOS added
    unless they say otherwise. `parse_special` reads control tokens in it as such."""

    content: str | None = None
    prompt: str | None = None
    add_special: bool | None = None
    add_special_tokens: bool | None = None
    parse_special: bool | None = None
    with_pieces: bool | None = None

    def text(self) -> tuple[str, str]:
        """With the name of its field. Raises InvalidParam."""
        if self.content is not None:
            return self.content, "content"
        if self.prompt is None:
            raise InvalidParam("content", "is required")
        return self.prompt, "prompt"

    @property
    def adds_special(self) -> bool:
        if self.content is not None:
            return bool(self.add_special)
        return self.add_special_tokens is not False


class DetokenizeRequest(LenientBody):
    tokens: list[int] = Field(max_length=1 << 20)


@router.post("/tokenize", **takes(TokenizeRequest))
async def tokenize(request: Request, model: ModelDep) -> dict[str, Any]:
    body = await read_body(request, TokenizeRequest)
    text, _ = body.text()
    tokenise = partial(
        model.vocab.tokenize,
        text,
        add_special=body.adds_special,
        parse_special=body.parse_special is not False,
    )
    tokens = await tokenise_off_loop(len(text), tokenise)
    listed: list[Any] = list(tokens)
    if body.with_pieces:
        listed = [{"id": token, "piece": _piece(model.vocab, token)} for token in tokens]
    limit = model.engine.max_sequence_tokens
    return {"tokens": listed, "count": len(tokens), "max_model_len": limit}


@router.post("/detokenize", **takes(DetokenizeRequest))
async def detokenize(request: Request, model: ModelDep) -> dict[str, str]:
    body = await read_body(request, DetokenizeRequest)
    for token in body.tokens:
        if not 0 <= token < model.vocab.size:
            message = f"tokens names {token}, of which the model has only {model.vocab.size}"
            raise invalid(message, "tokens")
    raw = b"".join([model.vocab.token_bytes(token, special=True) for token in body.tokens])
    text = raw.decode(errors="replace")
    return {"content": text, "prompt": text}


@router.get("/tokenizer_info")
async def tokenizer_info(model: ModelDep) -> dict[str, str | None]:
    """What a client needs to render and tokenise for itself."""
    vocab = model.vocab
    return {
        "tokenizer_class": vocab.kind,
        "bos_token": vocab.bos_token or None,
        "eos_token": vocab.eos_token or None,
        "pad_token": vocab.eos_token or None,
        "chat_template": model.info.chat_template,
    }


def _piece(vocab: Vocab, token: int) -> str | list[int]:
    """As text, or as bytes when it is a part of a character."""
    raw = vocab.token_bytes(token, special=True)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return list(raw)
