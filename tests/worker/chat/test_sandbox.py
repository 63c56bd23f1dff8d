from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.chat import sandbox as module
from worker.chat.sandbox import TemplateCrashed, TemplateFailed, TemplateSandbox

ROOT = Path(__file__).parents[3]
NOW = datetime(2026, 3, 1, 12, 0)
LONG = "'x' * 16777217"


def render(sandbox: TemplateSandbox, source: str, timeout_s: float = 5.0, **context: Any) -> str:
    return sandbox.render(source, context, now=NOW, timeout_s=timeout_s)


@pytest.fixture
def own() -> Iterator[TemplateSandbox]:
    with TemplateSandbox() as sandbox:
        yield sandbox


@pytest.mark.parametrize(
    "source",
    [
        "{{ 9 ** 999999999 }}",
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% set n = namespace(x=0) %}{% for a in range(99999) %}"
        "{% set n.x = range(99999) | sum %}{% endfor %}",
        "{% for a in range(99999) %}{{ range(99999) | list | sort | join | length }}{% endfor %}",
    ],
)
def test_a_template_that_takes_too_long_is_ended(own: TemplateSandbox, source: str) -> None:
    render(own, "up")
    started = time.monotonic()
    with pytest.raises(TemplateCrashed, match="longer than 0.3 s"):
        render(own, source, timeout_s=0.3)
    assert time.monotonic() - started < 5
    assert render(own, "{{ x }}", x="next") == "next"


@pytest.mark.parametrize(
    "source",
    [
        "{{ 'x' * 10000000000 }}",
        "{{ 'x' | center(10 ** 10) }}",
        "{{ '%10000000000d' % 1 }}",
        "{{ '{:>10000000000}'.format(1) }}",
        "{{ ('a' * 100000) | replace('a', 'b' * 100000) }}",
        "{{ ('ab,' * 100000).replace(',', 'x' * 100000) }}",
        "{{ (['x' * 1000000] * 1000) | join('y') }}",
        "{{ (['x'] * 100000) | join('y' * 1000000) }}",
        "{% set n = namespace(x='x' * 1000) %}{% for a in range(99) %}"
        "{% set n.x = n.x ~ n.x %}{% endfor %}",
        "{% set l = [] %}{% for a in range(999) %}"
        "{% do l.append('x' * (9999999 + a)) %}{% endfor %}",
        "{{ [1] * 10000000000 }}",
        "{{ 'x'.zfill(10 ** 10) }}",
        "{{ 'x' | indent(10 ** 10, first=true) }}",
    ],
)
def test_a_template_that_takes_too_much_memory_is_ended(own: TemplateSandbox, source: str) -> None:
    with pytest.raises(TemplateCrashed, match="memory"):
        render(own, source, timeout_s=60)  # filling what it may have takes a busy machine a while
    assert render(own, "next") == "next"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ cycler.__init__.__globals__ }}", "unsafe"),
        ("{% include '/etc/passwd' %}", "loader"),
        ("{% import 'os' as os %}", "loader"),
        ("{{ range(10 ** 12) | list }}", "Range too big"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "RecursionError"),
        ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "cannot be compiled"),
        ("{% set l = [] %}{% do l.append(l) %}{{ l | tojson }}", "Circular"),
        ("{% for a in range(99999) %}{{ x * 1000 }}{% endfor %}", "more than 16777216"),
        ("{{ (" + LONG + ") }}", "more than 16777216"),
    ],
)
def test_what_a_template_may_not_do(own: TemplateSandbox, source: str, reason: str) -> None:
    with pytest.raises(TemplateFailed, match=reason):
        render(own, source, x="x")


@pytest.mark.parametrize(
    "expression",
    [
        "''.__class__",
        "'' | attr('__class__')",
        "[''] | map(attribute='__class__') | first",
        "'{0.__class__}'.format('')",
        "'{0.__class__}' | format('')",
        "'{x.__class__}'.format_map({'x': ''})",
        "strftime_now.__self__",
        "raise_exception.__globals__",
        "self._TemplateReference__context",
        "namespace.__init__",
        "cycler",
        "lipsum",
        "(x | tojson).__doc__",
        "dict.mro",
        "''.format.__globals__",
    ],
)
def test_nothing_of_python_is_to_be_seen(sandbox: TemplateSandbox, expression: str) -> None:
    try:
        text = render(sandbox, f"{{{{ ({expression}) }}}}", x="x")
    except TemplateFailed:
        return
    assert text in ("", "{0.__class__}", "<class 'jinja2.utils.Cycler'>")


def test_half_a_character_comes_back_as_it_went(sandbox: TemplateSandbox) -> None:
    assert render(sandbox, "{{ x }}", x="\ud800é\0") == "\ud800é\0"


def test_what_is_not_json_is_refused(sandbox: TemplateSandbox) -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(TemplateFailed, match="not plain JSON"):
        render(sandbox, "{{ x }}", x=deep)
    assert render(sandbox, "next") == "next"


def test_many_at_once_each_get_their_own(sandbox: TemplateSandbox) -> None:
    with ThreadPoolExecutor(8) as threads:
        asked = [f"{i}" * 5000 for i in range(64)]
        assert list(threads.map(lambda x: render(sandbox, "{{ x }}", x=x), asked)) == asked


def test_large_conversations_pass(sandbox: TemplateSandbox) -> None:
    text = "é" * (8 << 20)
    assert render(sandbox, "{{ x }}", x=text) == text


def test_a_process_that_was_killed_is_replaced(own: TemplateSandbox) -> None:
    render(own, "up")
    pid = own.pid
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert render(own, "{{ x }}", x="next") == "next"
    assert own.pid != pid


def test_a_process_that_is_killed_while_it_renders_is_replaced(own: TemplateSandbox) -> None:
    render(own, "up")
    with ThreadPoolExecutor(1) as threads:
        busy = threads.submit(render, own, "{{ 9 ** 999999999 }}", 60)
        child = psutil.Process(own.pid)
        used = child.cpu_times().user
        while child.cpu_times().user <= used:
            time.sleep(0.01)
        child.kill()
        with pytest.raises(TemplateCrashed, match="ended its process"):
            busy.result()
    assert render(own, "{{ x }}", x="next") == "next"


def test_signals_for_the_group_are_the_workers_to_obey(own: TemplateSandbox) -> None:
    render(own, "up")
    os.kill(own.pid, signal.SIGINT)
    os.kill(own.pid, signal.SIGTERM)
    assert render(own, "still") == "still"


def test_the_process_is_confined(own: TemplateSandbox) -> None:
    render(own, "up")
    child = psutil.Process(own.pid)
    assert "LLORCH_WORKER_TOKEN" not in child.environ() and "PATH" not in child.environ()
    if not sys.platform.startswith("linux"):
        return
    assert child.num_fds() == 3
    assert child.rlimit(psutil.RLIMIT_NOFILE) == (3, 3)
    assert child.rlimit(psutil.RLIMIT_AS)[1] <= 1 << 30


def test_afterwards_nothing_is_left(own: TemplateSandbox) -> None:
    pid = own.pid
    own.close()
    assert not psutil.pid_exists(pid)
    with pytest.raises(TemplateFailed, match="stopping"):
        render(own, "x")


@pytest.mark.parametrize("source", ["up", "{{ 9 ** 999999999 }}"], ids=["idle", "busy"])
def test_the_process_goes_with_a_worker_that_is_killed(source: str) -> None:
    script = (
        "import sys, threading, time\n"
        "from datetime import datetime\n"
        "from worker.chat.sandbox import TemplateSandbox\n"
        "sandbox = TemplateSandbox()\n"
        "sandbox.render('up', {}, now=datetime.now())\n"
        "print(sandbox.pid, flush=True)\n"
        f"sandbox.render({source!r}, {{}}, now=datetime.now(), timeout_s=2)\n"
        "time.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE)
    with parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    child.wait(20)  # raises when it does not end


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
PIECES = st.sampled_from(
    ["{{ x }}", "{{ x | length }}", "{% for a in x %}", "{% endfor %}", "{{ a.b.c }}", "{% if x %}"]
    + ["{% endif %}", "{{ x[0] }}", "{{ x | tojson }}", "{{ x ~ x }}", "{{ x * 99999 }}", "{#", "x"]
    + ["{{ x | list | join(x) }}", "{% set x = x ~ x %}", "{{ x | center(x) }}", "{{ x() }}", "}}"]
)


@settings(deadline=None, max_examples=150)
@given(source=st.lists(PIECES, max_size=8).map("".join), x=JSON)
def test_whatever_the_template_it_renders_or_says_why_in_time(
    sandbox: TemplateSandbox, source: str, x: Any
) -> None:
    started = time.monotonic()
    try:
        text = render(sandbox, source, timeout_s=1.0, x=x)
    except TemplateFailed as error:
        assert str(error)
    else:
        assert len(text) <= module.MAX_OUTPUT_CHARS
    assert time.monotonic() - started < 10
