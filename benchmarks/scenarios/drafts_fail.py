"""Text in which drafts find nothing, or are wrong: they must cost next to nothing."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial

from benchmarks.load import Round, timed
from benchmarks.prompts import make_text
from benchmarks.samples import alternate, compared, median_of
from benchmarks.servers.server import Ask, Server
from benchmarks.session import Session
from benchmarks.table import Table

CONTEXT, SLOTS = 16384, 16
PROMPT, OUTPUT = 130, 96
_FEW = "abcdefgh"
_FIRST_LETTER = 3 + 256 - 32  # the token of chr(0) in the random models, were it printable
_BIAS = 60.0  # above every logit: nothing else is chosen

MakeAsk = Callable[[int, int, int], Ask]


def run(session: Session) -> None:
    for model in session.models:
        measure(session, model)


def measure(session: Session, model: str) -> None:
    columns = ("text", "clients", "drafts tok/s", "no drafts tok/s", "ratio")
    table = Table(f"Text in which drafts fail, {model}", columns)
    with (
        session.worker(model, CONTEXT, SLOTS) as drafting,
        session.worker(model, CONTEXT, SLOTS, "--no-draft") as plain,
    ):
        for text, make in (
            ("never repeats", any_word),
            ("matches, goes on otherwise", few_letters),
        ):
            for clients in (1,) if session.quick else (1, 4):
                session.say(f"drafts that fail on {model}: {text}, {clients} clients")
                found = alternate(
                    session.turns,
                    {
                        "drafting": partial(offer, drafting, make, clients),
                        "plain": partial(offer, plain, make, clients),
                    },
                )
                rates = [[one.tokens_per_s for one in found[side]] for side in found]
                table.add(text, str(clients), *map(median_of, rates), compared(*rates))
    table.notes.append(
        f"Prompts of {PROMPT} tokens, {OUTPUT} tokens out, sampled at temperature 1 with a seed: "
        f"of all tokens, or of {len(_FEW)} letters, where pairs come again but go on by chance. "
        f"llorch beside llorch --no-draft, medians of {session.turns} turns."
    )
    session.report(table)


def offer(server: Server, make: MakeAsk, clients: int, turn: int) -> Round:
    requests = max(2, 4 // clients)
    scripts = [[make(turn, client, n) for n in range(requests)] for client in range(clients)]
    return timed(server, scripts, clients * requests * OUTPUT)


def any_word(turn: int, client: int, number: int) -> Ask:
    seed = 1000 * turn + 100 * client + number
    return Ask(make_text(PROMPT, seed), OUTPUT, temperature=1.0, seed=seed)


def few_letters(turn: int, client: int, number: int) -> Ask:
    """The answer is made of the letters of the prompt, in an order that cannot be foreseen."""
    seed = 1000 * turn + 100 * client + number
    prompt = "".join(random.Random(seed).choices(_FEW, k=PROMPT))
    bias = {_FIRST_LETTER + ord(letter): _BIAS for letter in _FEW}
    return Ask(prompt, OUTPUT, temperature=1.0, seed=seed, logit_bias=bias)
