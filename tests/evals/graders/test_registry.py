import json
import sys
from pathlib import Path

import pytest

from ftjobs.backends.fake import FakeBackend
from ftjobs.errors import ConfigError
from ftjobs.evals.graders import Function, Grader, PairGrader, known, named
from ftjobs.evals.judges import JudgeModel, Pairwise
from ftjobs.evals.prompts import Prompt
from ftjobs.evals.result import Answer
from tests.evals.graders.marking import score

PLUG_IN = """
from ftjobs.evals.graders import Function

def polite(word="please"):
    return Function("polite", lambda answer, prompt: word in answer.text, "binary")

def broken():
    raise RuntimeError("no such thing")

def nothing():
    return 3

def exact():
    return Function("exact", lambda answer, prompt: 1)
"""


@pytest.fixture
def plug_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an installed package that has graders, and on the path of imports."""
    (tmp_path / "manners_plug_in.py").write_text(PLUG_IN)
    install(
        tmp_path,
        "manners",
        "polite = manners_plug_in:polite",
        "broken = manners_plug_in:broken",
        "missing = manners_plug_in:missing",
        "gone = no_such_module_at_all:grader",
        "nothing = manners_plug_in:nothing",
        "exact = manners_plug_in:exact",
        "judge = manners_plug_in:exact",
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "manners_plug_in", raising=False)
    return tmp_path


def install(folder: Path, name: str, *points: str) -> None:
    home = folder / f"{name}-1.0.dist-info"
    home.mkdir()
    (home / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (home / "entry_points.txt").write_text("\n".join(["[ftjobs.graders]", *points]))


def test_every_name_without_an_argument_is_that_of_its_grader() -> None:
    for name in known():
        plain = name.partition("[")[0]
        if ":" not in plain and plain not in ("judge", "pairwise"):
            grader = named(plain)
            assert isinstance(grader, Grader)
            assert grader.name == plain
            assert grader.about


def test_names_with_an_argument(tmp_path: Path) -> None:
    digits = named(r"regex:^\d+:\d+$")
    assert isinstance(digits, Grader)
    assert digits.name == r"regex:^\d+:\d+$"
    assert (score(digits, "10:30"), score(digits, "10")) == (1, 0)
    (tmp_path / "schema.json").write_text(json.dumps({"type": "array"}))
    arrays = named(f"json-schema:{tmp_path / 'schema.json'}")
    assert isinstance(arrays, Grader)
    assert (score(arrays, "[]"), score(arrays, "{}")) == (1, 0)
    characters = named("bleu:char")
    assert characters.name == "bleu:char"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nonsense", "no grader 'nonsense'\nThere are: exact, "),
        ("", "no grader ''"),
        ("Exact", "no grader 'Exact'"),
        ("exact:x", "'exact' takes nothing behind its name\nWrite exact"),
        ("exact:", "'exact' takes nothing behind its name"),
        ("regex", "'regex' lacks its argument\nWrite regex:PATTERN"),
        ("regex:", "'regex' lacks its argument"),
        ("bleu:", r"'bleu' lacks its argument\nWrite bleu\[:TOKENIZER\]"),
        ("json-schema:no/such/file", "cannot read no/such/file"),
        ("judge", "there is no judge"),
        ("openai:", "names no file"),
    ],
)
def test_names_that_cannot_be_used(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        named(name)


def test_judges_are_found_under_their_names() -> None:
    judge = JudgeModel(FakeBackend(), "fake-base")
    assert isinstance(named("judge", judge=judge), Grader)
    pairs = named("pairwise", judge=judge, seed=3)
    assert isinstance(pairs, PairGrader)
    assert isinstance(pairs, Pairwise)
    assert pairs.seed == 3


def test_a_plug_in_brings_graders(plug_in: Path) -> None:
    polite = named("polite")
    assert isinstance(polite, Function)
    assert (score(polite, "please"), score(polite, "now")) == (1, 0)
    sorry = named("polite:sorry")
    assert isinstance(sorry, Function)
    assert score(sorry, "sorry") == 1
    assert "polite" in known()


def test_a_plug_in_replaces_nothing_that_is_built_in(plug_in: Path) -> None:
    built_in = named("exact")
    assert isinstance(built_in, Grader)
    assert score(built_in, "a", "b") == 0
    assert known().count("exact") == 1
    with pytest.raises(ConfigError, match="there is no judge"):
        named("judge")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("broken", "'broken' of the package manners cannot be loaded: RuntimeError: no such thing"),
        ("missing", "'missing' of the package manners cannot be loaded: AttributeError"),
        ("gone", "'gone' of the package manners cannot be loaded: ModuleNotFoundError"),
        ("nothing", "'nothing' of the package manners is no grader but a int"),
        ("nothing:x", "'nothing' of the package manners cannot be loaded: TypeError"),
    ],
)
def test_a_plug_in_that_fails_says_whose_it_is(plug_in: Path, name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        named(name)


def test_two_plug_ins_of_one_name(plug_in: Path) -> None:
    install(plug_in, "rival", "polite = manners_plug_in:polite")
    with pytest.raises(ConfigError, match="manners and rival both have a grader 'polite'"):
        named("polite")


def test_the_hint_names_what_a_plug_in_must_be(plug_in: Path) -> None:
    with pytest.raises(ConfigError, match="manners_plug_in:nothing must be a function"):
        named("nothing")


def test_a_grader_of_ones_own_needs_no_name() -> None:
    def short(answer: Answer, prompt: Prompt) -> bool:
        return len(answer.text) < 3

    assert score(Function("short", short, "binary"), "ab") == 1
