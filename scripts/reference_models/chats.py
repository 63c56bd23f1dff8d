"""The chat formats of the four models: the Jinja template, and the same rendering as token ids."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .tokenizer import END, EOS, IM_END, Kind, Tokenizer, special_names

Turn = tuple[str, str]  # question, answer

_BY_ROLE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>\\n' + message['content'] + 'STOP\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)
_CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
_INST = (
    "{{ bos_token }}{% set ns = namespace(system='') %}{% for message in messages %}"
    "{% if message['role'] == 'system' %}"
    "{% set ns.system = ns.system + message['content'] + '\\n\\n' %}"
    "{% elif message['role'] == 'assistant' %}{{ message['content'] + '</s>' }}"
    "{% else %}{{ '[INST] ' + ns.system + message['content'] + ' [/INST]' }}"
    "{% set ns.system = '' %}{% endif %}{% endfor %}"
)
HARMONY = (
    "{% for message in messages %}{% if message['role'] == 'assistant' %}"
    "{{ '<|start|>assistant<|channel|>final<|message|>' + message['content'] + '<|end|>' }}"
    "{% else %}"
    "{{ '<|start|>' + message['role'] + '<|message|>' + message['content'] + '<|end|>' }}"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start|>assistant' }}{% endif %}"
)


@dataclass(frozen=True, slots=True)
class ChatFormat:
    """How one model writes a conversation."""

    name: str
    template: str
    kind: Kind
    stop: int
    has_bos: bool
    space_prefix: bool = False

    @property
    def stop_text(self) -> str:
        return {EOS: "</s>", IM_END: "<|im_end|>", END: "<|end|>"}[self.stop]

    def prompt(self, system: str | None, turns: list[Turn], question: str) -> str:
        """What the template renders, BOS left out, ready for the answer."""
        if self.name == "mistral":
            return self._inst_prompt(system, turns, question)
        messages = [("system", system)] if system is not None else []
        for asked, answered in turns:
            messages += [("user", asked), ("assistant", answered)]
        messages.append(("user", question))
        start, end = ("<|im_start|>", "\n") if self.name == "qwen2" else ("<|", "|>\n")
        rendered = [f"{start}{role}{end}{content}{self.stop_text}\n" for role, content in messages]
        return "".join(rendered) + f"{start}assistant{end}"

    @staticmethod
    def _inst_prompt(system: str | None, turns: list[Turn], question: str) -> str:
        text = ""
        opening = f"{system}\n\n" if system is not None else ""
        for asked, answered in turns:
            text += f"[INST] {opening}{asked} [/INST]{answered}</s>"
            opening = ""
        return text + f"[INST] {opening}{question} [/INST]"

    def encode(self, tokenizer: Tokenizer, text: str) -> list[int]:
        """Ids of a rendered prompt, specials parsed, as llama.cpp reads it; BOS is the caller's."""
        names = special_names(self.kind)
        ids: list[int] = []
        for part in _splitter(self.kind).split(text):
            if part in names:
                ids.append(names.index(part))
            elif part:
                # SPM with a space prefix adds the space at the start and after every special.
                ids += tokenizer.encode(" " + part if self.space_prefix else part, self.kind)
        return ids


_SPLITTERS: dict[Kind, re.Pattern[str]] = {}


def _splitter(kind: Kind) -> re.Pattern[str]:
    if kind not in _SPLITTERS:
        names = "|".join(map(re.escape, special_names(kind)))
        _SPLITTERS[kind] = re.compile(f"({names})")
    return _SPLITTERS[kind]


FORMATS = {
    chat.name: chat
    for chat in (
        ChatFormat("llama", _BY_ROLE.replace("STOP", "</s>"), Kind.SPM, EOS, True, True),
        ChatFormat("qwen2", _CHATML, Kind.BPE, IM_END, False),
        ChatFormat("phi3", _BY_ROLE.replace("STOP", "<|end|>"), Kind.SPM, END, True),
        ChatFormat("mistral", _INST, Kind.SPM, EOS, True),
    )
}
