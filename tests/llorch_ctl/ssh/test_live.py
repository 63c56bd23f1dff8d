"""What we rely on inside paramiko, so that an upgrade that changes it is noticed here."""

from __future__ import annotations

import inspect

import paramiko
from paramiko.agent import AgentSSH

from llorch_ctl.ssh.live import WEAK_ALGORITHMS, LiveTransport


def test_the_hooks_of_the_pulse_exist() -> None:
    for name in ("_parse_request_success", "_parse_request_failure", "_send_user_message"):
        assert callable(getattr(paramiko.Transport, name))
    assert "m" in inspect.signature(paramiko.Transport._parse_request_failure).parameters


def test_the_hooks_are_looked_up_on_the_instance() -> None:
    source = inspect.getsource(paramiko.Transport.__init__)

    assert "self._parse_request_failure" in source
    assert "self._parse_request_success" in source


def test_the_hooks_of_the_agent_exist() -> None:
    assert callable(AgentSSH._connect) and callable(AgentSSH._close)


def test_weak_algorithms_are_named_as_paramiko_names_them() -> None:
    assert set(WEAK_ALGORITHMS["ciphers"]) <= set(paramiko.Transport._preferred_ciphers)
    assert set(WEAK_ALGORITHMS["macs"]) <= set(paramiko.Transport._preferred_macs)
    left = set(paramiko.Transport._preferred_macs) - set(WEAK_ALGORITHMS["macs"])
    assert all(name.startswith("hmac-sha2-") for name in left)


def test_any_answer_is_a_sign_of_life() -> None:
    assert LiveTransport._parse_request_success is not paramiko.Transport._parse_request_success
    assert LiveTransport._parse_request_failure is not paramiko.Transport._parse_request_failure
