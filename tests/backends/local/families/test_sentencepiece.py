"""Japanese sentencepiece models without a chat template: the job's own template makes them chat."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from ftjobs.backends.local import models
from ftjobs.backends.local.backend import LocalBackend
from ftjobs.backends.local.training.render import Renderer
from ftjobs.errors import ModelError, TrainingError
from ftjobs.schema import Example
from tests.backends.local.families import build
from tests.backends.local.families.conftest import ask, losses, train
from tests.backends.local.families.test_templates import supervised

PAGE = Path(__file__).parents[4] / "docs/how-to/model-families.md"
# The prompt ends with a space, as rinna's does.
SPACED = (
    "{% for m in messages %}{{ {'user': 'ユーザー: ', 'assistant': 'システム: '}[m['role']] "
    "+ m['content'] + (eos_token if m['role'] == 'assistant' else '\n') }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'システム: ' }}{% endif %}"
)
UNSPACED = SPACED.replace("システム: ", "システム:")
ROWS = [
    ("今日は いい 天気 です か ？", "いい 天気 です 。"),
    ("明日 も 晴れ る ？", "晴れ る でしょう 。"),
]


@pytest.fixture(scope="module")
def japanese(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama with a sentencepiece BPE tokenizer of its own, and no chat template."""
    return build.save_japanese(tmp_path_factory.mktemp("japanese") / "model")


def renderer(folder: Path, template: str) -> Renderer:
    tokenizer = models.load_tokenizer(folder, template)
    return Renderer(tokenizer, models.stop_ids(tokenizer, folder), 999)


def chat(*turns: str) -> Example:
    roles = ("user", "assistant")
    messages = [{"role": roles[i % 2], "content": text} for i, text in enumerate(turns)]
    return Example.model_validate({"messages": messages, "line": 2})


def test_without_a_template_it_says_how_to_give_one(japanese: Path) -> None:
    with pytest.raises(ModelError, match="no chat template") as caught:
        models.load_tokenizer(japanese)
    assert "give a chat_template with the job" in str(caught.value)


@pytest.mark.parametrize("template", [SPACED, UNSPACED])
def test_answer_and_stop_token_are_supervised(template: str, japanese: Path) -> None:
    made = renderer(japanese, template)
    tokens = made.example(chat(*ROWS[0]))
    (answer,) = supervised(made, tokens)
    assert answer.strip() == ROWS[0][1] + "</s>"
    prompt = made.prompt([{"role": "user", "content": ROWS[0][0]}])
    assert list(tokens.ids[: len(prompt)]) == prompt
    assert tokens.supervised.index(True) == len(prompt)
    assert str(made.tokenizer.decode(tokens.ids)).count("いい 天気 です") == 2


def test_several_turns_are_supervised_where_no_token_spans_a_border(japanese: Path) -> None:
    made = renderer(japanese, UNSPACED)
    found = supervised(made, made.example(chat(*ROWS[0], *ROWS[1])))
    assert [answer.strip() for answer in found] == [f"{answer}</s>" for _, answer in ROWS]


def test_several_turns_that_would_be_asked_otherwise_are_refused(japanese: Path) -> None:
    """A space at the prompt's end joins an earlier answer when the next question is asked."""
    with pytest.raises(TrainingError, match=r"line 2 .* does not end with a space may help"):
        renderer(japanese, SPACED).example(chat(*ROWS[0], *ROWS[1]))


def test_the_documented_template_is_right(japanese: Path) -> None:
    """What docs/how-to/model-families.md shows, with several turns and a system message."""
    (text,) = re.findall(r"```toml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    made = renderer(japanese, tomllib.loads(text)["hyperparameters"]["chat_template"])
    found = supervised(made, made.example(chat(*ROWS[0], *ROWS[1])))
    assert [answer.strip() for answer in found] == [f"{answer}</s>" for _, answer in ROWS]
    asked = [{"role": "system", "content": "日本語"}, {"role": "user", "content": "今日は"}]
    assert made.tokenizer.decode(made.prompt(asked)) == "日本語\nユーザー: 今日は\nシステム:"


def test_the_template_of_the_job_travels_with_the_checkpoint(
    japanese: Path, backend: LocalBackend
) -> None:
    job = train(backend, japanese, ROWS * 5, chat_template=UNSPACED)
    told = losses(backend.store, job)
    assert told[-1] < 0.95 * told[0]
    folder, _ = backend.store.adapter(job.fine_tuned_model or "")
    assert models.load_tokenizer(folder).chat_template == UNSPACED
    assert ask(backend, job.fine_tuned_model or "", ROWS[0][0])


def test_the_setting_is_taken_on_submit(japanese: Path, backend: LocalBackend) -> None:
    assert "chat_template" in backend.capabilities.hyperparameters
