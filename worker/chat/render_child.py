"""The process in which chat templates run: a script that `sandbox` starts, and nobody imports.

A template is a program from a model file that nobody vouches for. Jinja's sandbox keeps it from
Python's internals; what Jinja cannot bound, one long call inside C among it, this process does by
limits that the kernel keeps: of memory, of time, and no files.

Requests come on stdin, answers go to stdout, until stdin ends. A request is 4 bytes of length and
a JSON object: `key` of the template, its `source` when it is new here, `context`, `now` in ISO
8601, `seconds`, `max_chars`. An answer is one byte, 4 bytes of length and UTF-8 text: `=` and what
was rendered, `!` and why it was not, or `m` when there was not enough memory, and then the process
ends. So it does when a template takes longer than its `seconds`.
"""

from __future__ import annotations

import contextlib
import json
import signal
import sys
from datetime import datetime
from typing import Any, NoReturn

sys.path[:] = json.loads(sys.argv[1])

import jinja2.debug  # noqa: E402, F401  (else at the first error, when no file can be opened)
from jinja2 import Template, TemplateError, nodes  # noqa: E402
from jinja2.ext import Extension  # noqa: E402
from jinja2.parser import Parser  # noqa: E402
from jinja2.sandbox import SandboxedEnvironment  # noqa: E402

MEMORY_BYTES = 512 << 20  # of addresses, the interpreter's own included


class _Refused(Exception):
    """The text is the reason."""


class _Generation(Extension):
    """`{% generation %}` marks the assistant's words for training; here it is transparent."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Models are trained on plain JSON; Jinja's own filter escapes it for HTML."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _raise(message: str) -> NoReturn:
    raise TemplateError(message)


def _environment() -> SandboxedEnvironment:
    environment = SandboxedEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.loopcontrols", "jinja2.ext.do", _Generation],
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise
    del environment.globals["lipsum"]  # random, and loads more of Jinja
    return environment


class Renderer:
    """Compiled templates by their keys."""

    def __init__(self) -> None:
        self._environment = _environment()
        self._templates: dict[str, Template] = {}

    def answer(self, request: dict[str, Any]) -> tuple[bytes, str]:
        try:
            return b"=", self._render(request)
        except MemoryError:
            return b"m", ""
        except _Refused as error:
            return b"!", str(error)
        except TemplateError as error:
            return b"!", error.message or type(error).__name__
        except Exception as error:  # whatever the template's own expressions raised
            return b"!", f"{type(error).__name__}: {error}"

    def _render(self, request: dict[str, Any]) -> str:
        template = self._template(request)
        now = datetime.fromisoformat(request["now"])
        context = {**request["context"], "strftime_now": now.strftime}
        limit = request["max_chars"]
        kept, size = [], 0
        for piece in template.generate(context):
            size += len(piece)
            if size > limit:
                raise _Refused(f"the chat template wrote more than {limit} characters")
            kept.append(piece)
        return "".join(kept)

    def _template(self, request: dict[str, Any]) -> Template:
        key = request["key"]
        if key not in self._templates:
            try:
                self._templates[key] = self._environment.from_string(request["source"])
            except (TemplateError, SyntaxError, RecursionError) as error:
                reason = f"the model's chat template cannot be compiled: {error}"
                raise _Refused(reason) from None
        return self._templates[key]


def _confine() -> None:
    """From here on: bounded memory, no new file, socket or process, and first to go when the
    machine has no memory left."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")
    try:
        import resource
    except ImportError:  # not on this system
        return
    limits = {
        resource.RLIMIT_AS: MEMORY_BYTES,
        resource.RLIMIT_NOFILE: 3,  # stdin, stdout and stderr are there already
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
    }
    if hasattr(resource, "RLIMIT_NPROC"):
        limits[resource.RLIMIT_NPROC] = 0
    for kind, value in limits.items():
        # Some systems have the names and not the limits.
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(kind, (value, value))


def main() -> None:
    # A signal that is meant for the worker reaches all of its group; the worker decides what then.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    renderer = Renderer()
    # Whatever the standard library loads at first use is loaded while files can be opened.
    source = "{{ [1] | tojson }}{{ strftime_now('%d %b') }}{{ nothing.here }}"
    warm_up = {"key": "", "source": source, "context": {}, "max_chars": 100}
    renderer.answer({**warm_up, "now": datetime.now().isoformat()})
    _confine()
    while len(head := requests.read(4)) == 4:
        request = json.loads(requests.read(int.from_bytes(head)))
        # Nobody handles it: the kernel ends the process, whatever the process is doing.
        signal.setitimer(signal.ITIMER_REAL, request["seconds"])
        kind, text = renderer.answer(request)
        try:
            raw = text.encode("utf-8", "surrogatepass")
        except MemoryError:
            kind, raw = b"m", b""
        answers.write(kind + len(raw).to_bytes(4) + raw)
        answers.flush()
        signal.setitimer(signal.ITIMER_REAL, 0)
        if kind == b"m":
            return  # with what is left of the memory nothing else would work


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):  # the worker has gone
        main()
