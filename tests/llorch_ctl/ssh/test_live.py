"""What we rely on inside paramiko, so that an upgrade that changes it is noticed here."""

from __future__ import annotations

import inspect
from typing import Any

import paramiko
import paramiko.agent

from llorch_ctl.ssh.live import WEAK_ALGORITHMS, LiveTransport

# As Any: what is private is in no stubs.
Transport: Any = paramiko.Transport
AgentSSH: Any = paramiko.agent.AgentSSH


def test_the_hooks_of_the_pulse_exist() -> None:
    for name in (
        "_parse_request_success",
        "_parse_request_failure",
        "_parse_disconnect",
        "_send_user_message",
    ):
        assert callable(getattr(Transport, name))
    assert "m" in inspect.signature(Transport._parse_request_failure).parameters


def test_the_hooks_are_looked_up_on_the_instance() -> None:
    source = inspect.getsource(Transport.__init__)

    assert "self._parse_request_failure" in source
    assert "self._parse_request_success" in source


def test_the_hooks_of_the_agent_exist() -> None:
    assert callable(AgentSSH._connect) and callable(AgentSSH._close)


def test_weak_algorithms_are_named_as_paramiko_names_them() -> None:
    assert set(WEAK_ALGORITHMS["ciphers"]) <= set(Transport._preferred_ciphers)
    assert set(WEAK_ALGORITHMS["macs"]) <= set(Transport._preferred_macs)
    left = set(Transport._preferred_macs) - set(WEAK_ALGORITHMS["macs"])
    assert all(name.startswith("hmac-sha2-") for name in left)


def test_any_answer_is_a_sign_of_life() -> None:
    assert LiveTransport._parse_request_success is not Transport._parse_request_success
    assert LiveTransport._parse_request_failure is not Transport._parse_request_failure
