"""A paramiko transport that notices when the other side is gone."""

from __future__ import annotations

import threading
from typing import Any

import paramiko
from paramiko.common import cMSG_GLOBAL_REQUEST

# Old names that sshd may still take; with a modern sshd none of them is needed.
WEAK_ALGORITHMS = {
    "ciphers": ["aes128-cbc", "aes192-cbc", "aes256-cbc", "3des-cbc"],
    "macs": ["hmac-sha1", "hmac-md5", "hmac-sha1-96", "hmac-md5-96"],
}


class LiveTransport(paramiko.Transport):
    """Asks the server for a sign of life, and hangs up when several in a row get none.

    paramiko's own keepalive wants no reply, so it never notices. Any answer will do: sshd
    refuses the request it does not know, and that refusal is the sign.
    """

    def __init__(self, sock: Any) -> None:
        super().__init__(sock, disabled_algorithms=WEAK_ALGORITHMS)
        self.num_unanswered = 0
        self.farewell = ""  # what the server said when it ended the connection, if it said it
        self._hung_up = threading.Event()

    def start_pulse(self, interval: float, limit: int) -> None:
        """Ask every `interval` seconds; hang up after `limit` unanswered ones."""
        threading.Thread(
            target=self._pulse, args=(interval, limit), name="ssh-pulse", daemon=True
        ).start()

    def _pulse(self, interval: float, limit: int) -> None:
        while not self._hung_up.wait(interval) and self.is_active():
            if self.num_unanswered >= limit:
                self.close()
                return
            self.num_unanswered += 1
            self._send_user_message(_keepalive())  # type: ignore[attr-defined]

    def close(self) -> None:
        self._hung_up.set()
        super().close()
        self.sock.close()

    # Private hooks of paramiko, not in its stubs; tests/llorch_ctl/ssh/test_live.py guards them.

    def _parse_disconnect(self, m: paramiko.Message) -> None:
        m.get_int()
        self.farewell = m.get_text()

    def _parse_request_success(self, m: paramiko.Message) -> None:
        self.num_unanswered = 0
        super()._parse_request_success(m)  # type: ignore[misc]

    def _parse_request_failure(self, m: paramiko.Message) -> None:
        self.num_unanswered = 0
        super()._parse_request_failure(m)  # type: ignore[misc]


def _keepalive() -> paramiko.Message:
    message = paramiko.Message()
    message.add_byte(cMSG_GLOBAL_REQUEST)
    message.add_string("keepalive@openssh.com")
    message.add_boolean(True)
    return message
