"""`/tokenize`, `/detokenize`, `/tokenizer_info` and `/props` over a scripted model."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fakes.runner import BOS, FakeRunner
from tests.rigs.api_server import ApiServer, serve_api
from tests.rigs.http import call


def tokens(server: ApiServer, **body: Any) -> Any:
    answer = call(server.url, "/tokenize", body)
    assert answer.status == 200, answer.text
    return answer.json()["tokens"]


def test_llama_servers_clients_get_no_bos_and_vllms_do(server: ApiServer) -> None:
    assert tokens(server, content="ab") == [97, 98]
    assert tokens(server, content="ab", add_special=True) == [BOS, 97, 98]
    assert tokens(server, prompt="ab") == [BOS, 97, 98]
    assert tokens(server, prompt="ab", add_special_tokens=False) == [97, 98]
    answer = call(server.url, "/tokenize", {"content": "ab"}).json()
    assert (answer["count"], answer["max_model_len"]) == (2, 2048)


def test_pieces_are_text_or_bytes(server: ApiServer) -> None:
    pieces = tokens(server, content="aé", with_pieces=True)
    assert pieces == [
        {"id": 97, "piece": "a"},
        {"id": 0xC3, "piece": [0xC3]},
        {"id": 0xA9, "piece": [0xA9]},
    ]


@pytest.mark.parametrize("text", ["", "hello", "é 🎉\n"])
def test_detokenize_undoes_tokenize(server: ApiServer, text: str) -> None:
    answer = call(server.url, "/detokenize", {"tokens": tokens(server, content=text)})
    assert answer.json() == {"content": text, "prompt": text}


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/tokenize", {}, "content"),
        ("/tokenize", {"content": 5}, "content"),
        ("/detokenize", {"tokens": [999]}, "tokens"),
        ("/detokenize", {"tokens": [-1]}, "tokens"),
        ("/detokenize", {"tokens": ["a"]}, "tokens.0"),
        ("/detokenize", {}, "tokens"),
    ],
)
def test_bad_field_is_refused_by_name(server: ApiServer, path: str, body: Any, field: str) -> None:
    answer = call(server.url, path, body)
    assert (answer.status, answer.json()["error"]["field"]) == (400, field)


def test_tokenizer_info_has_what_lm_eval_asks_for() -> None:
    with serve_api(FakeRunner(chat_template="{{ messages[0].content }}")) as server:
        info = call(server.url, "/tokenizer_info").json()
    assert info == {
        "tokenizer_class": "bpe",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "pad_token": "</s>",
        "chat_template": "{{ messages[0].content }}",
    }


def test_props_say_the_file_not_where_it_is(server: ApiServer) -> None:
    props = call(server.url, "/props").json()
    assert (props["model_path"], props["model_alias"]) == ("fake.gguf", "fake")
    assert props["total_slots"] == 4
    assert props["modalities"] == {"vision": False, "audio": False}
    assert props["default_generation_settings"]["n_ctx"] == 2048
    assert props["default_generation_settings"]["params"]["temperature"] == 1.0
    assert props["chat_template_caps"]["system"] is True


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/fake", "/", "/api/hello"])
def test_head_is_answered_without_a_body(server: ApiServer, path: str) -> None:
    answer = call(server.url, path, method="HEAD")
    assert (answer.status, answer.raw) == (200, b"")
