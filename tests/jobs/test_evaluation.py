import os
import string
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftjobs.errors import ConfigError
from ftjobs.jobs.evaluation import ArmTable, ComparisonFile, Evaluation, GateTable, JudgeTable
from ftjobs.jobs.jobfile import parse_evaluation, read_evaluation, read_job
from ftjobs.jobs.tables import keys
from ftjobs.schema import FOR_PROGRAMS, Sampling

EVERYTHING = """
backend = "local"

[evaluation]
base = "small"
tuned = "ft:small"
prompts = "eval.jsonl"
graders = ["exact", "judge"]
samples = 3
seed = 7
cluster_by = "document"
max_cost = 2

[evaluation.sets]
train = "train.jsonl"
general = "general.csv"

[evaluation.arms.rag]
documents = "handbook"
passages = 2

[evaluation.arms."hot shots"]
model = "large"
backend = "openai"
temperature = 1
stop = ["END"]
system = "Be brief."
examples = "train.jsonl"
price = [0.15, 0.6]

[evaluation.arms.before]
model = "ft:old"
answers = "answers.jsonl"

[evaluation.judge]
model = "wise"
rubric = "rubric.md"
max_tokens = 99

[evaluation.gate]
rule = "non-inferior"
margin = 0.02
grader = "judge"
"""


def arm(**values: object) -> ArmTable:
    return ArmTable.model_validate(values)


def test_everything_that_a_comparison_says() -> None:
    assert parse_evaluation(EVERYTHING) == Evaluation(
        backend="local",
        base="small",
        tuned="ft:small",
        prompts=Path("eval.jsonl"),
        graders=("exact", "judge"),
        samples=3,
        seed=7,
        cluster_by="document",
        max_cost=2.0,
        sets={"train": Path("train.jsonl"), "general": Path("general.csv")},
        arms={
            "rag": arm(documents=Path("handbook"), passages=2),
            "hot shots": arm(
                model="large",
                backend="openai",
                temperature=1.0,
                stop=("END",),
                system="Be brief.",
                examples=Path("train.jsonl"),
                price=(0.15, 0.6),
            ),
            "before": arm(model="ft:old", answers=Path("answers.jsonl")),
        },
        judge=JudgeTable.model_validate(
            {"model": "wise", "rubric": Path("rubric.md"), "max_tokens": 99}
        ),
        gate=GateTable(rule="non-inferior", margin=0.02, grader="judge"),
    )


def test_arms_stay_in_the_order_in_which_they_are_written() -> None:
    names = [f"arm{n}" for n in (3, 1, 2)]
    text = "[evaluation]\n" + "".join(f"[evaluation.arms.{name}]\n" for name in names)
    assert list(parse_evaluation(text).arms) == names


def test_a_job_file_stands_in_for_what_its_table_does_not_say() -> None:
    job = 'backend = "openai"\nmodel = "m"\n[data]\ntrain = "t"\n[evaluation]\n'
    found = parse_evaluation(job)
    assert (found.backend, found.base) == ("openai", "m")
    found = parse_evaluation(f'{job}backend = "local"\nbase = "other"\n')
    assert (found.backend, found.base) == ("local", "other")
    assert parse_evaluation('[evaluation]\nprompts = "p"\n').backend is None
    for own in ('model = "x"', 'answers = "x"'):
        assert parse_evaluation(f"{job}[evaluation.arms.base]\n{own}\n").base is None
    assert parse_evaluation(f"{job}[evaluation.arms.base]\ntop_p = 1\n").base == "m"


def test_fields_of_sampling_are_keys_of_arms_and_judge() -> None:
    known = {".".join(key) for key in keys(ComparisonFile)}
    for table in ("evaluation.arms.*", "evaluation.judge"):
        ours = {name for name in Sampling.model_fields if f"{table}.{name}" in known}
        assert ours == Sampling.model_fields.keys() - {"n", *FOR_PROGRAMS}


def test_what_is_drawn_is_only_what_was_written() -> None:
    table = arm(model="m", temperature=0, stop="x", top_p=None)
    assert table.drawn() == {"temperature": 0.0, "top_p": None, "stop": ("x",)}


A = "[evaluation.arms.a]\n"


@pytest.mark.parametrize(
    ("text", "words", "hint"),
    [
        ("", "evaluation is missing", "under [evaluation]"),
        ("evaluation = 3", "evaluation must be a table", "[evaluation]"),
        ("[evaluations]\n", "unknown key 'evaluations'", "Did you mean evaluation?"),
        ("[evaluation]\narms = 3\n", "evaluation.arms must be a table", "[evaluation.arms]"),
        ("[evaluation.arms]\na = 3\n", "evaluation.arms.a must be a table", "[evaluation.arms.a]"),
        ("[evaluation]\nprompt = 3\n", "'evaluation.prompt'", "evaluation.prompts?"),
        ("[evaluation]\nsets = ['a']\n", "evaluation.sets must be a table", ""),
        ("[evaluation.sets]\ntrain = 3\n", "evaluation.sets.train: must be the path", ""),
        ("[evaluation]\nsamples = 0\n", "evaluation.samples: ", ""),
        ("[evaluation]\nsamples = 1000\n", "evaluation.samples: ", ""),
        ("[evaluation]\nmax_cost = inf\n", "evaluation.max_cost: ", ""),
        (f"{A}n = 3\n", "'evaluation.arms.a.n'", "Known in [evaluation.arms.a]: temperature"),
        (f"{A}temprature = 3\n", "temprature'", "evaluation.arms.NAME.temperature?"),
        (f"{A}temperature = 3\n", "evaluation.arms.a.temperature: Input should be less than", ""),
        (f"{A}temperature = '1'\n", "evaluation.arms.a.temperature: ", ""),
        (f"{A}stop = 3\n", "evaluation.arms.a.stop: must be a list", ""),
        (f"{A}stop = ['']\n", "evaluation.arms.a: stop: a stop text cannot be empty", ""),
        (f"{A}stop = ['a', 'b', 'c', 'd', 'e']\n", "evaluation.arms.a.stop: ", ""),
        (f"{A}price = 3\n", "evaluation.arms.a.price: must be two prices", ""),
        (f"{A}price = [1]\n", "evaluation.arms.a.price: must be two prices", ""),
        (f"{A}price = [1, -1]\n", "evaluation.arms.a.price: ", ""),
        (f"{A}price = [1, true]\n", "evaluation.arms.a.price: ", ""),
        (f"{A}passages = 3\n", "evaluation.arms.a: passages are those of documents", ""),
        (f"{A}documents = 'd'\npassages = 101\n", "evaluation.arms.a.passages: ", ""),
        (f"{A}answers = 'a'\nsystem = 's'\n", "arms.a: answers are stored: system would", ""),
        (f"{A}model = ''\n", "evaluation.arms.a.model: ", ""),
        ('[evaluation.arms.""]\n', "evaluation.arms.: ", ""),
        (f"[evaluation.arms.{'x' * 65}]\n", "at most 64 characters", ""),
        ('[evaluation.arms."a\\nb"]\n', "should match pattern", ""),
        ("[evaluation.judge]\nmodel='m'\nrubrik = 'r'\n", "judge.rubrik'", "judge.rubric?"),
        (
            "[evaluation.judge]\nmodel='m'\nrubric='id_rsa'\n",
            "judge.rubric: a rubric is a text",
            "",
        ),
        (
            "[evaluation]\ngraders = ['judge:~/.netrc']\n",
            "evaluation.graders: a rubric is a text",
            "",
        ),
        ("[evaluation.gate]\nrule = 'best'\n", "evaluation.gate.rule: ", ""),
        ("[evaluation.gate]\nmargin = -1\n", "evaluation.gate.margin: ", ""),
        ("[evaluation.gate]\nmodel = 'm'\n", "'evaluation.gate.model'", "evaluation.judge.model?"),
        ("seed = 3\n[evaluation]\n", "unknown key 'seed'", "Did you mean evaluation.seed?"),
        ("model = 'm'\n[evaluation]\n", "data is missing", "The least that a job file says"),
        (
            "[evaluation]\ntuned = 'm'\n[evaluation.arms.tuned]\nmodel = 'n'\n",
            "evaluation: tuned is said twice: here, and as arms.tuned.model",
            "",
        ),
        ("x = ", "Invalid value", "TOML"),
    ],
)
def test_errors_name_file_and_key(text: str, words: str, hint: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_evaluation(text, "my.toml")
    assert error.value.message.startswith("my.toml: ")
    assert words in error.value.message
    assert hint in error.value.hint


def test_a_value_that_is_wrong_is_not_repeated() -> None:
    for text in (f"{A}system = ['sk-secret']\n", f"{A}price = 'sk-secret'\n"):
        with pytest.raises(ConfigError) as error:
            parse_evaluation(text)
        assert "sk-secret" not in str(error.value)


# --- files --------------------------------------------------------------------------------------

FILES = ("eval.jsonl", "train.jsonl", "general.csv", "answers.jsonl", "rubric.md")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in FILES:
        (tmp_path / name).touch()
    (tmp_path / "handbook").mkdir()
    return tmp_path


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def test_paths_are_relative_to_the_file(folder: Path) -> None:
    found = read_evaluation(written(folder / "compare.toml", EVERYTHING))
    assert found.prompts == folder / "eval.jsonl"
    assert found.sets == {"train": folder / "train.jsonl", "general": folder / "general.csv"}
    assert found.arms["rag"].documents == folder / "handbook"
    assert found.arms["hot shots"].examples == folder / "train.jsonl"
    assert found.arms["before"].answers == folder / "answers.jsonl"
    assert found.judge is not None
    assert found.judge.rubric == folder / "rubric.md"


def test_documents_may_be_one_file(folder: Path) -> None:
    text = EVERYTHING.replace('"handbook"', '"train.jsonl"')
    found = read_evaluation(written(folder / "compare.toml", text))
    assert found.arms["rag"].documents == folder / "train.jsonl"


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("eval.jsonl", "evaluation.prompts"),
        ("general.csv", "evaluation.sets.general"),
        ("answers.jsonl", "evaluation.arms.before.answers"),
        ("rubric.md", "evaluation.judge.rubric"),
        ("handbook", "evaluation.arms.rag.documents"),
    ],
)
def test_paths_have_to_lead_somewhere(folder: Path, name: str, key: str) -> None:
    text = EVERYTHING.replace(f'"{name}"', '"nowhere.md"')
    with pytest.raises(ConfigError, match=rf"compare\.toml: {key}: no file nowhere"):
        read_evaluation(written(folder / "compare.toml", text))


def test_the_files_of_graders_are_beside_the_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("schema.json", "openai.json"):
        written(folder / "evals" / name, "{}")
    graders = ["exact", "json-schema:schema.json", "openai:openai.json#one", "judge:../rubric.md"]
    text = f'[evaluation]\ngraders = {graders}\ngate.grader = "json-schema:schema.json"\n'
    written(folder / "evals/compare.toml", text)
    monkeypatch.chdir(folder)
    found = read_evaluation("evals/compare.toml")
    assert found.graders == (
        "exact",
        "json-schema:evals/schema.json",
        "openai:evals/openai.json#one",
        "judge:evals/../rubric.md",
    )
    assert found.gate.grader == "json-schema:evals/schema.json"
    written(folder / "evals/compare.toml", text.replace("schema.json", "gone.json"))
    with pytest.raises(ConfigError, match=r"evaluation\.graders: no file gone\.json"):
        read_evaluation("evals/compare.toml")


def test_a_folder_and_a_pipe_are_no_prompts(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    for name in ("handbook", "pipe"):
        text = EVERYTHING.replace('"eval.jsonl"', f'"{name}"')
        with pytest.raises(ConfigError, match=r"evaluation\.prompts: no file"):
            read_evaluation(written(folder / "compare.toml", text))


def test_a_comparison_does_not_need_the_data_of_its_job(folder: Path) -> None:
    job = 'model = "m"\n[data]\ntrain = "gone.jsonl"\n[evaluation]\nprompts = "eval.jsonl"\n'
    path = written(folder / "job.toml", job)
    assert read_evaluation(path).prompts == folder / "eval.jsonl"
    with pytest.raises(ConfigError, match=r"data\.train: no file"):
        read_job(path)


@given(st.text(string.printable, max_size=80))
@settings(max_examples=150, deadline=None)
def test_any_text_is_a_comparison_or_a_clear_error(text: str) -> None:
    with suppress(ConfigError):
        assert parse_evaluation(f"{A}{text}").arms["a"].answers is None
