import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.backends.base import Backend
from ftjobs.backends.fake import FakeBackend
from ftjobs.errors import AuthError, ConfigError
from ftjobs.evals.arms import GREEDY, Arm, Price
from ftjobs.evals.graders.base import Grader, PairGrader
from ftjobs.evals.result import Gate
from ftjobs.evals.spec import (
    arm_of_words,
    arms_of,
    backends_in,
    gate_of,
    graders_of,
    judge_of,
    once,
    prompts_of,
    with_arms,
)
from ftjobs.jobs.evaluation import ArmTable, Evaluation
from ftjobs.jobs.jobfile import parse_evaluation, read_evaluation
from ftjobs.schema import Sampling


class Opener:
    """Opens fake backends, and remembers which."""

    def __init__(self) -> None:
        self.opened: list[str | None] = []

    def __call__(self, name: str | None) -> Backend:
        self.opened.append(name)
        return FakeBackend(name=name or "default")


def arms(text: str, sampling: Sampling = GREEDY) -> dict[str, Arm]:
    found = arms_of(parse_evaluation(text), open=Opener(), sampling=sampling)
    return {arm.name: arm for arm in found}


def where(arm: Arm) -> str | None:
    return None if arm.backend is None else arm.backend.name


BASE = '[evaluation]\nbase = "small"\n'


# --- arms ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ('[evaluation]\ntuned = "t"\nbase = "b"\n', "base=b tuned=t"),
        (f"{BASE}[evaluation.arms.rag]\n[evaluation.arms.tuned]\nmodel='t'\n", "base tuned=t rag"),
        ('[evaluation]\ntuned = "t"\n[evaluation.arms.old]\nmodel = "o"\n', "old=o tuned=t"),
        (f"{BASE}[evaluation.arms.b]\n[evaluation.arms.a]\nmodel='x'\n", "base b a=x"),
        ("[evaluation.arms.b]\nmodel='y'\n[evaluation.arms.a]\n", "b=y a=y"),
        ("[evaluation.arms.a]\n[evaluation.arms.base]\nmodel = 'small'\n", "base a"),
    ],
)
def test_who_is_compared_in_which_order(text: str, order: str) -> None:
    expected = [word if "=" in word else f"{word}=small" for word in order.split()]
    assert [f"{arm.name}={arm.model}" for arm in arms(text).values()] == expected


def test_an_arm_may_be_searched_with_beams() -> None:
    text = (
        f"{BASE}[evaluation.arms.base]\n"
        '[evaluation.arms.beams]\nmodel = "m"\nnum_beams = 4\ntop_k = 30\n'
        "repetition_penalty = 1.2\nmin_tokens = 2\n"
    )
    searched = arms(text)["beams"].sampling
    assert (searched.beams, searched.top_k, searched.min_tokens) == (4, 30, 2)
    assert searched.temperature == 0
    with pytest.raises(ConfigError, match="temperature must be 0"):
        arms(text, sampling=Sampling(temperature=0.7))
    with pytest.raises(ConfigError, match="temperature must be 0"):
        arms(text.replace("num_beams", "temperature = 1\nnum_beams"))


def test_an_arm_says_how_it_is_asked() -> None:
    found = arms(
        f'{BASE}[evaluation.arms.base]\nprice = [0.5, 2]\nbackend = "there"\n'
        '[evaluation.arms.hot]\nmodel = "m"\ntemperature = 1\nstop = "x"\nsystem = "s"\n'
        '[evaluation.arms.like]\n[evaluation.arms.here]\nbackend = "here"\n',
        sampling=Sampling(temperature=0, max_tokens=9),
    )
    assert found["hot"].sampling == Sampling(temperature=1, max_tokens=9, stop=("x",))
    assert found["hot"].system == "s"
    assert found["base"].sampling == Sampling(temperature=0, max_tokens=9)
    assert (found["hot"].price, found["base"].price) == (None, Price(0.5, 2))
    assert (found["like"].price, found["here"].price) == (Price(0.5, 2), None)
    places = {name: where(arm) for name, arm in found.items()}
    assert places == {"base": "there", "hot": "default", "like": "there", "here": "here"}


def test_arms_of_one_backend_share_it_with_the_judge() -> None:
    opener = Opener()
    table = parse_evaluation(
        'backend = "a"\n[evaluation]\nbase = "b"\ntuned = "t"\n[evaluation.judge]\nmodel = "j"\n'
        '[evaluation.arms.x]\nbackend = "a"\n[evaluation.arms.y]\nbackend = "z"\n'
    )
    opened = once(opener)
    found = arms_of(table, open=opened)
    judge = judge_of(table, open=opened)
    assert judge is not None
    assert opener.opened == ["a", "z"]
    assert found[0].backend is found[1].backend is found[2].backend is judge.backend
    assert backends_in(table) == {"a", "z"}
    assert backends_in(Evaluation()) == set()


def test_what_opening_raises_comes_through() -> None:
    def refuse(name: str | None) -> Backend:
        raise AuthError(f"no key for {name}")

    with pytest.raises(AuthError, match="no key for x"):
        arms_of(parse_evaluation(f'{BASE}backend = "x"\ntuned = "t"\n'), open=refuse)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[evaluation]\n", "two arms"),
        (BASE, "two arms"),
        ("[evaluation.arms.a]\n[evaluation.arms.b]\nmodel = 'm'\n", "arm 'a' has no model"),
    ],
)
def test_arms_that_are_too_few_or_nobody(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        arms(text)


def test_files_of_arms(tmp_path: Path) -> None:
    (tmp_path / "shots.jsonl").write_text('{"prompt": "1", "expected": "2"}\n', "utf-8")
    (tmp_path / "old.csv").write_text("prompt,answer\nq,a\n", "utf-8")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/a.md").write_text("Shops open at nine.", "utf-8")
    row = json.dumps({"prompt": "When do shops open?", "expected": "At nine."})
    (tmp_path / "docs/eval.jsonl").write_text(row, "utf-8")
    path = tmp_path / "compare.toml"
    path.write_text(
        f'{BASE}prompts = "docs/eval.jsonl"\n'
        '[evaluation.arms.few]\nexamples = "shots.jsonl"\n'
        '[evaluation.arms.rag]\ndocuments = "docs"\npassages = 2\n'
        '[evaluation.arms.old]\nanswers = "old.csv"\n',
        "utf-8",
    )
    table = read_evaluation(path)
    found = {arm.name: arm for arm in arms_of(table, open=Opener())}
    (prompt,), _, _ = prompts_of(table)
    assert [m.content for m in found["few"].messages(prompt)] == ["1", "2", "When do shops open?"]
    assert found["rag"].traits() == ("BM25 over 1 document, 2 passages",)
    assert "At nine." not in str(found["rag"].messages(prompt))
    assert (found["old"].backend, found["old"].model) == (None, "old.csv")


def test_a_file_that_does_not_say_how_to_ask_changes_nothing(tmp_path: Path) -> None:
    """Or an arm of a file would be asked as its service likes, beside one that is greedy."""
    path = tmp_path / "compare.toml"
    tables = "[evaluation.arms.base]\nprice = [1, 4]\n[evaluation.arms.tuned]\nmax_tokens = 9\n"
    path.write_text(f'{BASE}tuned = "t"\n{tables}[evaluation.judge]\nmodel = "wise"\n', "utf-8")
    table = read_evaluation(path)
    base, tuned = arms_of(table, open=Opener())
    judge = judge_of(table, open=Opener())
    assert base.sampling == GREEDY
    assert tuned.sampling == Sampling(temperature=0, max_tokens=9)
    assert judge is not None
    assert judge.sampling is None


# --- words --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name", "model", "backend"),
    [
        ("a=m", "a", "m", None),
        ("a=m@openai", "a", "m", "openai"),
        ("a=ft:m:o::x@https://host/v1", "a", "ft:m:o::x", "https://host/v1"),
        ("a=org/m@v2@", "a", "org/m@v2", None),
        ("a=m=n", "a", "m=n", None),
        ("two words=m", "two words", "m", None),
    ],
)
def test_arms_in_words(text: str, name: str, model: str, backend: str | None) -> None:
    assert arm_of_words(text) == (
        name,
        ArmTable.model_validate({"model": model, "backend": backend}),
    )


def test_stored_answers_in_words(tmp_path: Path) -> None:
    path = tmp_path / "a=b.jsonl"
    path.touch()
    assert arm_of_words(f"old={path}") == ("old", ArmTable.model_validate({"answers": path}))


@pytest.mark.parametrize("text", ["", "a", "a=", "=m", "a\nb=m", f"{'x' * 65}=m", "a=no.jsonl"])
def test_words_that_are_no_arm(text: str) -> None:
    with pytest.raises(ConfigError):
        arm_of_words(text)


@given(st.text(max_size=20))
def test_any_words_are_an_arm_or_a_clear_error(text: str) -> None:
    try:
        _, table = arm_of_words(text)
    except ConfigError:
        return
    assert table.model


def test_a_name_is_taken_once() -> None:
    table = with_arms(Evaluation(), [arm_of_words("a=m"), arm_of_words("b=n")])
    assert list(table.arms) == ["a", "b"]
    with pytest.raises(ConfigError, match="two arms are called 'a'"):
        with_arms(table, [arm_of_words("a=x")])


# --- judge, graders, gate -----------------------------------------------------------------------

JUDGE = '[evaluation.judge]\nmodel = "wise"\nprice = [1, 4]\n'


def judging(folder: Path, text: str) -> Evaluation:
    path = folder / "compare.toml"
    path.write_text(text, "utf-8")
    return read_evaluation(path)


def test_graders_and_judge(tmp_path: Path) -> None:
    (tmp_path / "rubric.md").write_text("Is it polite?\n", "utf-8")
    table = judging(
        tmp_path,
        '[evaluation]\ngraders = ["exact", "judge", "pairwise", "exact"]\nseed = 5\n'
        f'{JUDGE}max_tokens = 9\nrubric = "rubric.md"\n',
    )
    judge = judge_of(table, open=Opener())
    assert judge is not None
    assert (judge.model, judge.price) == ("wise", Price(1, 4))
    assert judge.sampling == Sampling(temperature=0, max_tokens=9)
    found = graders_of(table, judge=judge)
    assert found is not None
    assert [grader.name for grader in found] == ["exact", "judge", "pairwise"]
    assert [isinstance(each, PairGrader) for each in found] == [False, False, True]
    assert isinstance(found[0], Grader)
    assert all("Is it polite?" in each.about for each in found[1:])


def test_a_seed_is_that_of_every_judge(tmp_path: Path) -> None:
    (tmp_path / "polite.md").write_text("Is it polite?\n", "utf-8")
    names = ["judge", "pairwise", "judge:polite.md", "pairwise:polite.md"]
    table = judging(tmp_path, f"[evaluation]\ngraders = {names}\nseed = 5\n{JUDGE}")
    found = graders_of(table, judge=judge_of(table, open=Opener()))
    assert found is not None
    assert [getattr(grader, "seed", None) for grader in found] == [5, 5, 5, 5]


def test_without_words_there_are_defaults() -> None:
    table = parse_evaluation(f"[evaluation]\n{JUDGE}")
    judge = judge_of(table, open=Opener())
    assert judge is not None
    assert judge.sampling is None
    assert graders_of(table, judge=judge) is None
    assert judge_of(Evaluation(), open=Opener()) is None
    assert gate_of(table) == Gate()


def test_a_gate() -> None:
    text = '[evaluation.gate]\nrule = "non-inferior"\nmargin = 0.1\ngrader = "exact"\n'
    assert gate_of(parse_evaluation(text)) == Gate(rule="non-inferior", margin=0.1, grader="exact")


@pytest.mark.parametrize("name", ["judge", "pairwise"])
def test_a_judge_has_to_be_named(name: str) -> None:
    with pytest.raises(ConfigError, match="no judge is named"):
        graders_of(Evaluation(graders=(name,)))


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("rubric.md", b" \n", "is empty"),
        ("rubric.md", b"\xff", "in UTF-8"),
        ("rubric.txt", b"x" * (2**20 + 1), "too large"),
    ],
)
def test_files_that_are_no_rubric(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(data)
    text = f'[evaluation]\ngraders = ["judge"]\n{JUDGE}rubric = "{name}"\n'
    table = judging(tmp_path, text)
    with pytest.raises(ConfigError, match=words):
        graders_of(table, judge=judge_of(table, open=Opener()))


# --- prompts ------------------------------------------------------------------------------------


def test_prompts_and_sets_with_where_they_came_from(tmp_path: Path) -> None:
    (tmp_path / "eval.jsonl").write_text('{"prompt": "q", "document": 1}\n', "utf-8")
    (tmp_path / "train.csv").write_text("prompt,document\na,2\nb,\n", "utf-8")
    (tmp_path / "general.csv").write_text("prompt\nc\n", "utf-8")
    table = judging(
        tmp_path,
        '[evaluation]\nprompts = "eval.jsonl"\ncluster_by = "document"\n'
        '[evaluation.sets]\ntrain = "train.csv"\ngeneral = "general.csv"\n',
    )
    prompts, sets, sources = prompts_of(table)
    assert [p.cluster for p in prompts] == ["1"]
    clusters = {name: [p.cluster for p in each] for name, each in sets.items()}
    assert clusters == {"train": ["2", None], "general": [None]}
    assert [(s.set, s.prompts) for s in sources] == [("", 1), ("train", 2), ("general", 1)]
    assert all(len(source.sha256) == 64 for source in sources)
    with pytest.raises(ConfigError, match="no prompts"):
        prompts_of(Evaluation())
