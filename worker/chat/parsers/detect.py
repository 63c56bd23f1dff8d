"""Which marks a model sets, read off what its chat template makes of known conversations."""

from __future__ import annotations

import re
from dataclasses import dataclass

from worker.chat.parsers.answer import ReasoningMarks
from worker.chat.parsers.answer_format import AnswerFormat, Calls
from worker.chat.parsers.harmony import HarmonyCalls
from worker.chat.parsers.json_calls import JsonCalls
from worker.chat.parsers.named_calls import NamedCalls
from worker.chat.parsers.samples import KEY, QUESTION, THOUGHT, TOOL, VALUE, Samples
from worker.chat.parsers.tagged_calls import TaggedCalls
from worker.engine.runner import Vocab

_MARK = re.compile(r"<[^<>\s](?:[^<>]*[^<>\s])?>|\[/?[A-Z_]{2,}\]|```")
_JSON_HEAD = re.compile(
    r'(?P<array>\[\s*)?\{\s*(?:"\w+":\s*"[^"]*",\s*)?(?:"(?P<key>\w+)":\s*)?"$', re.DOTALL
)
_MAX_OPENER = 60
_PYTHON_TAG = "<|python_tag|>"
_KNOWN = (
    JsonCalls(("<tool_call>",), "</tool_call>", inner_space="\n"),
    JsonCalls(("[TOOL_CALLS]",), is_array=True),
    JsonCalls(("<|tool_call|>",), "<|/tool_call|>", is_array=True),
)
_THOUGHTS = (
    ("<think>", "</think>"),
    ("[THINK]", "[/THINK]"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<seed:think>", "</seed:think>"),
)


def find_answer_format(samples: Samples, vocab: Vocab) -> AnswerFormat:
    """The format that the renders show; where they show none, what the template's source speaks
    of, and JSON at last."""
    if "<|channel|>" in samples.source and "<|message|>" in samples.source:
        return AnswerFormat(HarmonyCalls(), ReasoningMarks(_ANALYSIS, "<|end|>"), vocab)
    return AnswerFormat(find_calls(samples), find_reasoning(samples), vocab)


_ANALYSIS = "<|channel|>analysis<|message|>"


def find_calls(samples: Samples) -> Calls:
    call = _dissect(samples)
    if call is not None:
        found = _json_calls(call, samples) or _named_calls(call) or _tagged_calls(call)
        if found is not None:
            return found
    for known in _KNOWN:
        if known.openers[0] in samples.source:
            return known
    return JsonCalls(_tags(samples), arguments_key="parameters", is_bare=True)


def find_reasoning(samples: Samples) -> ReasoningMarks | None:
    render = samples.with_reasoning
    if render is not None and THOUGHT in render:
        before, _, after = render.rpartition(THOUGHT)
        closer = _MARK.match(after.lstrip()) or re.match(r"\[[A-Z ]{2,}\]", after.lstrip())
        turn = _turn(samples.plain)
        if closer is not None and (closer.group() not in turn or _is_thought(closer.group())):
            opener = _last_mark(before, turn)
            if opener is None or len(before) - opener.start() > _MAX_OPENER:
                return ReasoningMarks(_last_words(samples.prompt_end), closer.group())
            return ReasoningMarks(before[opener.start() :].strip(), closer.group())
    for opener_text, closer_text in _THOUGHTS:
        if closer_text in samples.source:
            return ReasoningMarks(opener_text, closer_text)
    return None


@dataclass(frozen=True, slots=True)
class _Dissected:
    """The render of a call, cut at the words that were put in: what is before the tool's name,
    between it and the argument's name, before the value, and behind. `gap` is between the values
    of two calls and the second's name, "" when unknown. `plain` has what belongs to any turn."""

    head: str
    middle: str
    before_value: str
    tail: str
    gap: str
    plain: str

    def opener(self) -> str:
        """What begins each call: what is before the name of both of two."""
        size = 0
        while size < min(len(self.gap), len(self.head)) and (
            self.gap[-1 - size] == self.head[-1 - size]
        ):
            size += 1
        common = self.head[len(self.head) - size :] if size else ""
        common = common.rpartition(TOOL)[2]
        begin = next((at for at, char in enumerate(common) if char in "<["), None)
        if begin is not None:
            return common[begin:]
        mark = _last_mark(self.head, self.plain)
        return "" if mark is None else self.head[mark.start() :]

    def section(self, opener: str) -> str:
        """The mark that stands once before all calls, with the space behind it."""
        before = self.head[: len(self.head) - len(opener)]
        mark = _last_mark(before, self.plain)
        if mark is None or before[mark.end() :].strip() or _is_thought(mark.group()):
            return ""
        return before[mark.start() :]

    def own_marks(self, text: str) -> list[re.Match[str]]:
        """The marks at the beginning of a text that do not belong to any turn."""
        marks: list[re.Match[str]] = []
        end = 0
        for mark in _MARK.finditer(text):
            if text[end : mark.start()].strip(' \n"}]') or mark.group() in self.plain:
                break
            marks.append(mark)
            end = mark.end()
        return marks


def _dissect(samples: Samples) -> _Dissected | None:
    render = samples.with_call
    if render is None or VALUE not in render:
        return None
    before, _, tail = render.rpartition(VALUE)
    before, _, before_value = before.rpartition(KEY)
    head, _, middle = before.rpartition(TOOL)
    gap = ""
    if samples.with_two_calls is not None and samples.with_two_calls.count(VALUE) == 2:
        between = samples.with_two_calls.split(VALUE)[1]
        gap = between.rpartition(KEY)[0].rpartition(TOOL)[0]
    return _Dissected(head, middle, before_value, tail, gap, _turn(samples.plain))


def _turn(plain: str) -> str:
    """What belongs to any turn; a system prompt before the first may speak of calls."""
    return plain[plain.rfind(QUESTION) + 1 :]


def _json_calls(call: _Dissected, samples: Samples) -> JsonCalls | None:
    match = _JSON_HEAD.search(call.head)
    if match is None or not call.middle.startswith('"'):
        return None
    mark = _last_mark(call.head[: match.start()], call.plain)
    space = "" if mark is None else call.head[mark.end() : match.start()]
    arguments = re.search(r'"(\w+)":\s*\{\s*"$', call.middle)
    name_key, arguments_key = match["key"] or "", arguments[1] if arguments else "arguments"
    is_array = bool(match["array"])
    if mark is None or space.strip() or _is_thought(mark.group()):
        return JsonCalls(_tags(samples), "", name_key, arguments_key, is_array, is_bare=True)
    end = _MARK.search(call.tail)
    closer = end.group() if end is not None and end.group() not in call.plain else ""
    inner_space = "\n" if "\n" in space else ""
    return JsonCalls((mark.group(),), closer, name_key, arguments_key, is_array, inner_space)


def _named_calls(call: _Dissected) -> NamedCalls | None:
    if not re.search(r'\{\s*"$', call.middle) or not call.before_value.startswith('"'):
        return None
    opener = call.opener()
    if not opener:
        return None
    separator = re.sub(r'\{\s*"$', "", call.middle)
    counted = re.match(r":\d+", separator)
    separator = re.sub(r"^:\d+", "", separator)
    separator = re.sub(r"\[CALL_ID\]\w*", "", separator)
    marks = call.own_marks(call.tail)
    end = next((at for at, mark in enumerate(marks) if mark.group() != "```"), len(marks))
    closers = marks[end:]
    start = re.match(r'"\s*\}', call.tail)
    closer = call.tail[start.end() : closers[0].end()] if start and closers else ""
    section = call.section(opener)
    return NamedCalls(
        opener,
        separator,
        closer,
        section,
        closers[1].group() if section and len(closers) > 1 else "",
        ":0" if counted else "",
    )


def _tagged_calls(call: _Dissected) -> TaggedCalls | None:
    opener = call.opener()
    cut = call.middle.rfind("<")
    marks = call.own_marks(call.tail)
    if not opener or cut < 0 or ">" not in call.before_value or len(marks) < 2:
        return None
    section = call.section(opener)
    tags = len([line for line in opener.split("\n") if line.strip()])
    end = min(tags, len(marks) - 1)
    last = marks[end]
    outer = marks[end + 1] if section and end + 1 < len(marks) else last
    return TaggedCalls(
        opener,
        call.middle[:cut],
        call.middle[cut:],
        call.before_value,
        call.tail[: marks[1].start()],
        call.tail[marks[1].start() : last.end()],
        section,
        call.tail[last.end() : outer.end()],
    )


def _tags(samples: Samples) -> tuple[str, ...]:
    return (_PYTHON_TAG,) if _PYTHON_TAG in samples.source else ()


def _last_words(prompt_end: str) -> str:
    """Words that the generation prompt puts into the model's mouth."""
    line = prompt_end.strip().rpartition("\n")[2]
    return "" if _MARK.search(line) else line


def _last_mark(text: str, plain: str) -> re.Match[str] | None:
    """The last mark in a text, if it does not belong to any turn."""
    marks = list(_MARK.finditer(text, max(0, len(text) - 400)))
    if not marks or (marks[-1].group() in plain and not _is_thought(marks[-1].group())):
        return None
    return marks[-1]


def _is_thought(mark: str) -> bool:
    return "think" in mark.lower()
