import json
import os
from pathlib import Path

import pytest

from ftjobs.errors import ConfigError
from ftjobs.evals.graders.registry import named
from ftjobs.evals.judges import Imported, Pairwise, Pointwise, load
from tests.evals.judges.scripted import judge

CHECK = {
    "type": "string_check",
    "name": "city",
    "input": "{{ sample.output_text }}",
    "reference": "Paris",
    "operation": "eq",
}


def test_judges_have_names_among_the_graders(tmp_path: Path) -> None:
    rubric, grader = tmp_path / "polite.txt", tmp_path / "grader.json"
    rubric.write_text("Is it polite?")
    grader.write_text(json.dumps(CHECK))
    who = judge("")
    one, two, three = (
        named(text, judge=who) for text in ("judge", f"pairwise:{rubric}", f"openai:{grader}")
    )
    assert isinstance(one, Pointwise)
    assert isinstance(two, Pairwise)
    assert isinstance(three, Imported)
    assert [each.name for each in (one, two, three)] == ["judge", "pairwise:polite", "city"]
    assert two.rubric == "Is it polite?"
    assert load("pairwise", "", who, seed=3) == Pairwise(who, seed=3)


@pytest.mark.parametrize("name", ["judge", "pairwise"])
def test_a_judge_without_a_model_to_ask_is_an_error(name: str) -> None:
    with pytest.raises(ConfigError, match=f"the grader {name} asks a model, and there is no judge"):
        named(name)


@pytest.mark.parametrize("name", ["judge", "pairwise", "openai"])
def test_a_pipe_and_a_device_are_not_read(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    for place in (tmp_path / "pipe.txt", Path("/dev/zero")):
        with pytest.raises(ConfigError, match="is no regular file"):
            load(name, str(place), judge(""))


def test_there_are_no_other_judges() -> None:
    with pytest.raises(ConfigError, match="there is no judge 'jury'"):
        load("jury", "", judge(""))
