"""JUnit XML for CI viewers: a suite for each cell, a test case for each check."""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from llorch_ctl.matrix.reports.report import Report
from llorch_ctl.matrix.result import CellResult, Outcome, Status

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def to_junit(report: Report) -> str:
    """The whole report as one XML document."""
    root = Element("testsuites", name=f"llorch matrix {report.matrix.get('name', '')}".strip())
    for cell in report.cells:
        root.append(_suite(cell))
    for name in ("tests", "failures", "errors", "skipped"):
        root.set(name, str(sum(int(suite.get(name, "0")) for suite in root)))
    root.set("time", f"{sum(cell.seconds for cell in report.cells):.3f}")
    indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, encoding="unicode") + "\n"


def _suite(cell: CellResult) -> Element:
    suite = Element("testsuite", name=xml_text(str(cell.cell)), time=f"{cell.seconds:.3f}")
    if cell.started:
        suite.set("timestamp", cell.started.removesuffix("Z"))
    if name := cell.machine.get("name"):
        suite.set("hostname", xml_text(str(name)))
    properties = SubElement(suite, "properties")
    for name, value in {**cell.speed, **cell.machine}.items():
        if isinstance(value, (str, int, float)):
            SubElement(properties, "property", name=xml_text(name), value=xml_text(str(value)))
    _add_cases(suite, cell)
    _count(suite)
    return suite


def _add_cases(suite: Element, cell: CellResult) -> None:
    classname = ".".join(
        xml_text(name) for name in ("matrix", cell.cell.model, cell.cell.backend, cell.cell.pool)
    )
    for name, check in cell.checks.items():
        case = SubElement(suite, "testcase", classname=classname, name=name, time="0")
        message = xml_text(check.detail)
        if check.outcome is Outcome.SKIP:
            SubElement(case, "skipped", message=message)
        elif check.outcome is Outcome.FAIL:
            kind = "error" if name == "load" else "failure"
            SubElement(case, kind, message=message, type=name).text = message
    if cell.status is Status.ERROR and cell.checks["load"].outcome is not Outcome.FAIL:
        case = SubElement(suite, "testcase", classname=classname, name="worker", time="0")
        message = xml_text(cell.reason)
        SubElement(case, "error", message=message, type="lost").text = message


def _count(suite: Element) -> None:
    suite.set("tests", str(len(suite.findall("testcase"))))
    for name, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(name, str(len(suite.findall(f"testcase/{tag}"))))


def xml_text(text: str) -> str:
    """Any text as XML may hold it: what XML cannot say at all is shown as an escape."""
    return _NOT_XML.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
