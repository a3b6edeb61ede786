"""Near-duplicate search over 100,000 rows, against brute force on a sample.

python -m tests.benchmarks.near        # prints; `near_duplicates()` is for the whole run
"""

from __future__ import annotations

import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ftjobs.data.near import Clusters

ROWS = 100_000
WORDS = 230  # of about 5.5 characters: 1.5 kB a row
PLANTED = 0.1
COMPARED = 30_000  # rows that brute force looks at
SAMPLE = 300  # planted ones among them, each compared with all
THRESHOLD = 0.8
SYSTEM = "You are a patient assistant. Answer in one paragraph, and say so if you do not know. " * 4


class Recall(NamedTuple):
    """Shares of what brute force finds: of pairs those in one cluster, of rows those named."""

    pairs: float
    pairs_true: int
    rows: float
    rows_true: int


def near_duplicates() -> None:
    """Print time, memory and recall.  Limits: 60 s on two cores, 1 GB, recall 0.95."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        said, planted = generate(path, random.Random(1))
        size = path.stat().st_size / 1e6
        code = f"from tests.benchmarks.near import measure; measure({str(path)!r})"
        done = subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True
        )
        result = json.loads(done.stdout)
        early = [row for row in planted if row < COMPARED]
        sample = random.Random(2).sample(early, SAMPLE)
        share = recall(said[:COMPARED], sample, [tuple(pair) for pair in result["pairs"]])
    print(
        f"near duplicates in {ROWS:,} rows, {size:.0f} MB: {result['wall']:.1f} s wall, "
        f"{result['cpu']:.1f} s CPU, {result['peak']:.0f} MB at most\n"
        f"    {len(result['pairs']):,} pairs; recall {share.pairs:.3f} of {share.pairs_true:,} "
        f"pairs and {share.rows:.3f} of {share.rows_true:,} rows by brute force",
        flush=True,
    )


def measure(path: str) -> None:
    """Search in a process of its own, so that its memory can be measured."""
    from ftjobs.data.near import near_duplicates as search

    began = time.perf_counter()
    pairs = search([path], threshold=THRESHOLD)
    wall = time.perf_counter() - began
    usage = resource.getrusage(resource.RUSAGE_SELF)
    result = {
        "wall": wall,
        "cpu": usage.ru_utime + usage.ru_stime,
        "peak": usage.ru_maxrss / 1000,  # the system counts in KiB
        "pairs": [(pair.first.line - 1, pair.second.line - 1) for pair in pairs],
    }
    print(json.dumps(result))


def generate(path: Path, rng: random.Random) -> tuple[list[str], list[int]]:
    """Write the rows; their words, and which are an earlier row with up to 30 words changed."""
    letters = "etaoinshrdlucmfwypvbgkjqxz"
    weights = [1 / (1 + place) for place in range(len(letters))]
    words = ["".join(rng.choices(letters, weights, k=rng.randint(2, 9))) for _ in range(20_000)]
    common = np.cumsum([1 / (1 + rank) for rank in range(len(words))]).tolist()  # Zipf's law
    texts: list[list[str]] = []
    planted = []
    with path.open("w", encoding="utf-8") as file:
        for _ in range(ROWS):
            if texts and rng.random() < PLANTED:
                planted.append(len(texts))
                text = list(rng.choice(texts))
                for _ in range(rng.randint(0, 30)):
                    text[rng.randrange(len(text))] = rng.choice(words)
            else:
                text = rng.choices(words, cum_weights=common, k=rng.randint(WORDS - 80, WORDS + 80))
            texts.append(text)
            half = len(text) // 2
            turns = [("system", SYSTEM), ("user", text[:half]), ("assistant", text[half:])]
            messages = [
                {"role": role, "content": said if isinstance(said, str) else " ".join(said)}
                for role, said in turns
            ]
            file.write(json.dumps({"messages": messages}) + "\n")
    return [" ".join(text) for text in texts], planted


def recall(said: list[str], sample: list[int], pairs: list[tuple[int, int]]) -> Recall:
    """What brute force finds between sampled rows and all others, and how much of it was found.

    The brute force shares nothing with the search: sets of strings, counted one by one.
    """
    sets = [shingles(said[row]) for row in sample]
    sizes = np.array([len(one) for one in sets])
    numbers = {word: number for number, word in enumerate(set().union(*sets))}
    member = np.zeros((len(numbers), len(sample)), np.uint8)
    for column, one in enumerate(sets):
        member[[numbers[word] for word in one], column] = 1
    true = set[tuple[int, int]]()
    for row, text in enumerate(said):
        one = shingles(text)
        shared = member[[numbers[word] for word in one if word in numbers]].sum(
            axis=0, dtype=np.int32
        )
        alike = np.flatnonzero(shared >= THRESHOLD * (len(one) + sizes - shared)).tolist()
        others = (sample[column] for column in alike if sample[column] != row)
        true.update((min(row, other), max(row, other)) for other in others)
    clusters = Clusters()
    for first, second in pairs:
        clusters.join(first, second)
    joined = sum(clusters.of(one) == clusters.of(other) for one, other in true)
    rows = {max(pair) for pair in true}
    named = len(rows & {second for _, second in pairs})
    return Recall(joined / len(true), len(true), named / len(rows), len(rows))


def shingles(text: str) -> set[str]:
    return {text[at : at + 5] for at in range(len(text) - 4)}


if __name__ == "__main__":
    near_duplicates()
