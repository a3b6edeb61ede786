"""Tokens of local base models: the same that a job trains on."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from ftjobs.backends.local import models
from ftjobs.backends.local.training.recipe import Facts, Machine, resolve
from ftjobs.backends.local.training.render import Renderer
from ftjobs.backends.local.training.tokens import LocalCounter, auto_epochs, counter_for
from ftjobs.data.tokens import Count, TokenCounter, inspector
from ftjobs.errors import ModelError, TrainingError
from ftjobs.schema import Example, Hyperparameters
from tests import tiny

PROMPT = "<|im_start|>user\nabc<|im_end|>\n<|im_start|>assistant\n"
ANSWER = "défg<|im_end|>"
LINE = json.dumps(
    {
        "messages": [
            {"role": "user", "content": "abc"},
            {"role": "assistant", "content": "défg"},
        ]
    }
).encode()
EXAMPLE = Example.model_validate(json.loads(LINE))
TOTAL, TRAINED = 29, 6
"""One token a byte, and one for each of the reserved words."""


@pytest.fixture(scope="module")
def renderer(tmp_path_factory: pytest.TempPathFactory) -> Renderer:
    folder = tmp_path_factory.mktemp("tokenizer")
    tiny.save_tokenizer(folder)
    tokenizer = models.load_tokenizer(folder)
    return Renderer(tokenizer, models.stop_ids(tokenizer, folder), sys.maxsize)


def test_it_counts_what_is_trained(renderer: Renderer) -> None:
    counter: TokenCounter = LocalCounter("tiny", renderer, 512)
    rendered = renderer.example(EXAMPLE)
    assert counter.count(EXAMPLE) == Count(len(rendered.ids), rendered.targets)
    assert counter.count(EXAMPLE) == Count(TOTAL, TRAINED)


def test_it_counts_what_is_beyond_the_context(renderer: Renderer) -> None:
    counter = LocalCounter("tiny", renderer, TOTAL - 3)
    assert counter.count(EXAMPLE) == Count(TOTAL, TRAINED, 3, 2)  # the last one is a line feed


def test_spans_are_the_rendered_text(renderer: Renderer) -> None:
    spans = LocalCounter("tiny", renderer, 512).spans(EXAMPLE)
    assert [(span.text, span.trained) for span in spans] == [
        (PROMPT, False),
        (ANSWER, True),
        ("\n", False),
    ]
    assert [span.tokens for span in spans] == [22, 6, 1]
    assert not any(span.beyond for span in spans)


def test_spans_end_at_the_context(renderer: Renderer) -> None:
    spans = LocalCounter("tiny", renderer, 20).spans(EXAMPLE)
    assert [span.beyond for span in spans] == [False, True, True, True]
    assert spans[0].tokens == 20
    assert "".join(span.text for span in spans) == PROMPT + ANSWER + "\n"


@pytest.mark.parametrize(
    ("context", "expected"),
    [(TOTAL * 2, []), (TOTAL, ["FT905"]), (TOTAL - 1, ["FT903"]), (5, ["FT903"])],
)
def test_a_job_would_fail_at_what_is_too_long(
    context: int, expected: list[str], renderer: Renderer
) -> None:
    found = inspector(LocalCounter("tiny", renderer, context))(LINE)
    assert [finding.code for finding in found] == expected


def test_reserved_words_cannot_be_shown(renderer: Renderer) -> None:
    counter = LocalCounter("tiny", renderer, 512)
    (finding,) = inspector(counter)(LINE.replace(b"abc", b"abc<|im_end|>"))
    assert finding.code == "FT906"
    assert "reserved tokens" in finding.message
    assert "abc" not in finding.message
    with pytest.raises(TrainingError):
        counter.spans(Example.model_validate({"messages": [{"role": "user", "content": "x"}]}))


def test_a_folder_is_counted_by_its_own_tokenizer_and_context(
    tiny_model: Path, tmp_path: Path
) -> None:
    counter = counter_for(str(tiny_model), tmp_path)
    assert (counter.name, counter.context, counter.exact) == ("tiny", 512, True)
    assert counter.count(EXAMPLE).total == TOTAL


@pytest.mark.parametrize("model", ["smollm2-135m", "nobody/nothing", "no such model"])
def test_what_is_not_here_is_not_fetched(model: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not on this machine") as caught:
        counter_for(model, tmp_path / "cache")
    assert "models pull" in caught.value.hint
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("examples", [1, 10, 64, 500, 2000, 5000, 20_000])
def test_epochs_are_those_of_a_job(examples: int) -> None:
    facts = Facts(examples, 9_999, 576, "llama", 100_000)
    recipe = resolve(Hyperparameters(), facts, Machine("float32", "cpu", 2), seed=1)
    assert auto_epochs(examples) == recipe.n_epochs
