"""A stand-in for `llorch-pool stdio` that misbehaves on request. Run as a script, stdlib only.

Usage: fake_agent.py MODE [ACTION…] stdio. The mode is what happens before `hello`; the action,
else the request's argv, is what happens after it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from typing import Any

VERSION = "0.1.0"


def say(**event: Any) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def hello(low: int = 1, high: int = 1, version: str = VERSION) -> None:
    say(t="hello", proto=[low, high], version=version, python="3", os="test", arch="test")


def result(**data: Any) -> None:
    say(t="result", ok=True, data=data)


def before_hello(mode: str) -> None:
    match mode.split(":"):
        case ["plain"]:
            hello()
        case ["noisy"]:
            print("Welcome to the lab")
            print('{"t": "progress", "not": "yet"}')
            print("[" * 100_000)
            hello()
        case ["silent"]:
            sys.stdin.read()
            sys.exit(0)
        case ["babbling"]:
            while True:
                print("Welcome to the lab")
        case ["old"]:
            hello(0, 0, "0.0.9")
        case ["new"]:
            hello(2, 3, "9.0")
        case ["close"]:
            hello(1, 2, "0.1.7")
        case ["exit", status, *words]:
            print(*words, file=sys.stderr)
            sys.exit(int(status))


def run(argv: list[str], request: dict[str, Any]) -> None:
    match argv:
        case ["echo", *words]:
            result(words=words, secrets=request["secrets"], client=request["client"])
        case ["count", number]:
            for done in range(1, int(number) + 1):
                say(t="progress", task="counting", done=done, total=int(number), unit="steps")
            result(counted=int(number))
        case ["flood", megabytes]:
            flood(int(megabytes))
        case ["strange"]:
            sys.stdout.buffer.write(b'{"t":"log","msg":"' + b"x" * 300_000 + b'"}\n')
            sys.stdout.buffer.write(b"\xff\xfe not json\n")
            sys.stdout.buffer.write(b'{"t":"log","msg":"caf\xe9"}\n')
            sys.stdout.buffer.write(b'{"t":"progress","task":7,"done":"x","total":[]}\n')
            sys.stdout.buffer.write(b'{"t":"from-the-future","x":1}\n')
            result(fine=True)
        case ["fail", code, exit_code]:
            details = {"code": "x", "message": "y"}
            say(
                t="error",
                code=code,
                msg="it broke",
                remedy="mend it",
                exit=int(exit_code),
                details=details,
            )
            sys.exit(int(exit_code))
        case ["unwell"]:
            say(t="result", ok=False, data={"sick": True})
            sys.exit(1)
        case ["die", number]:
            os.kill(os.getpid(), int(number))
            time.sleep(60)
        case ["leave", status]:
            print("Traceback: it broke", file=sys.stderr)
            sys.exit(int(status))
        case ["colours"]:
            say(t="log", msg="\x1b[31mred\x1b[0m [bold]not markup[/bold] \u202egnihton")
            result(text="\x1b]0;title\x07 [red]no[/red]")
        case ["chatter"]:
            while True:
                say(t="log", msg="and another thing")
        case ["hang"]:
            say(t="state", subject="agent", state="hanging")
            sys.stdout.flush()
            time.sleep(600)
        case ["stay"]:
            say(t="state", subject="agent", state="staying")
            stay()
        case ["stubborn"]:
            say(t="state", subject="agent", state="staying")
            for line in sys.stdin:
                if json.loads(line)["op"] == "cancel":
                    say(t="state", subject="agent", state="not listening")
            note("end of input")


def flood(megabytes: int) -> None:
    """Fill both streams at once; a client that reads them in turn would never see the end."""
    chunk = ("y" * 1023 + "\n") * 1024
    for _ in range(megabytes):
        os.write(2, chunk.encode())
    line = json.dumps({"t": "log", "msg": "z" * 1000}) + "\n"
    for _ in range(megabytes):
        sys.stdout.write(line * 1024)
    result(megabytes=megabytes)


def stay() -> None:
    """Work until told to stop, as the real one does; then leave a note where it can be seen."""
    for line in sys.stdin:
        if json.loads(line)["op"] == "cancel":
            say(t="error", code="E_CANCELLED", msg="cancelled", exit=130, remedy=None, details={})
            note("cancelled")
            sys.exit(130)
        say(t="hb")
    note("end of input")


def note(text: str) -> None:
    with open(os.path.join(os.environ["LLORCH_HOME"], "note"), "w") as file:
        file.write(text)


def main() -> None:
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    threading.Timer(120, lambda: os._exit(99)).start()  # whatever a test forgets
    before_hello(sys.argv[1])
    request = json.loads(sys.stdin.readline())
    run(sys.argv[2:-1] or request["argv"], request)
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    try:
        main()
    except SystemExit as stop:
        sys.stdout.flush()
        os._exit(stop.code if isinstance(stop.code, int) else 1)
