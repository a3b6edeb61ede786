"""What tests ask of an engine, and the answers that it gives to one request alone."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftjobs.backends.local.answers.engine import Engine, Question
from ftjobs.backends.local.answers.gathered import Answered, Gathered
from ftjobs.schema import Delta, Sampling

GREEDY = Sampling(temperature=0, max_tokens=20)


@dataclass(frozen=True)
class Ask:
    """A request to an engine."""

    text: str
    sampling: Sampling = GREEDY
    adapter: Path | None = None

    @property
    def messages(self) -> list[dict[str, Any]]:
        return [{"role": "user", "content": self.text}]

    def question(self, engine: Engine) -> Question:
        return engine.question(self.messages, self.sampling, adapter=self.adapter)


def gathered(ask: Ask, deltas: Iterable[Delta]) -> Answered:
    found = Gathered(ask.sampling)
    found.take(deltas)
    return found.answered()


def alone(engine: Engine, ask: Ask) -> Answered:
    return gathered(ask, engine.stream(ask.messages, ask.sampling, adapter=ask.adapter))


def mixture(adapters: Sequence[Path], count: int, seed: int) -> list[Ask]:
    """Requests of every kind and length, to the base and to its adapters."""
    draw = random.Random(seed)
    return [
        Ask(
            f"{'word ' * draw.randint(0, 25)}{number}",
            Sampling(
                temperature=draw.choice([0, 0, 0.7, 1.5]),
                seed=number,
                n=draw.choice([1, 1, 3]),
                max_tokens=draw.randint(1, 30),
                top_p=draw.choice([None, 0.9]),
                frequency_penalty=draw.choice([None, None, 0.5]),
                stop=draw.choice([(), (), ("e",)]),
            ),
            draw.choice([None, *adapters]),
        )
        for number in range(count)
    ]
