import os
import string
import tomllib
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftjobs.errors import ConfigError
from ftjobs.jobs.evaluation import ArmTable, GateTable, JudgeTable
from ftjobs.jobs.jobfile import Budget, Data, Evaluation, JobFile, dumps, parse_job, read_job
from ftjobs.jobs.tables import keys
from ftjobs.schema import Hyperparameters, JobSpec

LEAST = 'model = "m"\n[data]\ntrain = "t"\n'
EVERYTHING = """
backend = "openai"
model = "gpt-4o-mini"
method = "dpo"
suffix = "support-v1"
seed = 42
[data]
train = "train.jsonl"
validation = "../valid.jsonl"
[hyperparameters]
n_epochs = 3
batch_size = "auto"
learning_rate = 1
[metadata]
"a b" = "c"
[budget]
max_cost = 5
[evaluation]
prompts = "eval.jsonl"
graders = ["exact", "chrf"]
"""


def test_everything_that_a_job_file_says() -> None:
    assert parse_job(EVERYTHING) == JobFile(
        backend="openai",
        model="gpt-4o-mini",
        method="dpo",
        suffix="support-v1",
        seed=42,
        data=Data(train=Path("train.jsonl"), validation=Path("../valid.jsonl")),
        hyperparameters=Hyperparameters(n_epochs=3, batch_size="auto", learning_rate=1.0),
        metadata={"a b": "c"},
        budget=Budget(max_cost=5.0),
        evaluation=Evaluation(prompts=Path("eval.jsonl"), graders=("exact", "chrf")),
    )


def test_the_least_that_a_job_file_says() -> None:
    job = parse_job(LEAST)
    assert (job.method, job.backend, job.budget.max_cost) == ("supervised", None, None)
    assert dumps(job) == 'model = "m"\nmethod = "supervised"\n\n[data]\ntrain = "t"\n'


@pytest.mark.parametrize(
    ("text", "words", "hint"),
    [
        ("", "model is missing", "The least"),
        ('model = "m"', "data is missing", "The least"),
        ('model = "m"\n[data]\n', "data.train is missing", "The least"),
        ('model = "m"\ndata = 3', "data must be a table", "[data]"),
        (f"sede = 3\n{LEAST}", "unknown key 'sede'", "Did you mean seed?"),
        (f"n_epoch = 3\n{LEAST}", "unknown key 'n_epoch'", "hyperparameters.n_epochs"),
        (f"{LEAST}seed = 3\n", "unknown key 'data.seed'", "Did you mean seed?"),
        (f"{LEAST}[hyperparameter]\n", "unknown key 'hyperparameter'", "mean hyperparameters?"),
        (f"{LEAST}[budget]\nzzz = 3\n", "unknown key 'budget.zzz'", "Known in [budget]: max_cost."),
        (f"zzz = 3\n{LEAST}", "unknown key 'zzz'", "Known there: backend, model"),
        (f"{LEAST}[hyperparameters]\nn_epochs = true\n", "hyperparameters.n_epochs: ", ""),
        (f'{LEAST}[hyperparameters]\nn_epochs = "3"\n', "hyperparameters.n_epochs: ", ""),
        (f"{LEAST}[hyperparameters]\nn_epochs = 99\n", "less than or equal to 50, or", ""),
        ('model = "m"\n[data]\ntrain = 3\n', "data.train: must be the path of a file", ""),
        ('model = "m"\n[data]\ntrain = ""\n', "data.train: must be the path of a file", ""),
        ('model = "m"\n[data]\ntrain = "\\u0000"\n', "data.train: must be the path", ""),
        (f"{LEAST}[metadata]\nteam = 3\n", "metadata.team: ", ""),
        (f'{LEAST}[metadata]\na = "{"v" * 513}"\n', "metadata: metadata 'a': keys have", ""),
        (f"{LEAST}[budget]\nmax_cost = true\n", "budget.max_cost: ", ""),
        (f"{LEAST}[budget]\nmax_cost = -1\n", "budget.max_cost: ", ""),
        (f"{LEAST}[budget]\nmax_cost = nan\n", "budget.max_cost: ", ""),
        (f"{LEAST}[budget]\nmax_cost = {'9' * 400}\n", "budget.max_cost: ", ""),
        (f'{LEAST}[evaluation]\ngraders = "exact"\n', "evaluation.graders: must be a list", ""),
        (f"{LEAST}[evaluation]\ngraders = [3]\n", "evaluation.graders: ", ""),
        (f'method = "magic"\n{LEAST}', "method: Input should be 'supervised', 'dpo' or", ""),
        (f'suffix = "{"x" * 65}"\n{LEAST}', "suffix: String should have at most 64", ""),
        (f"seed = -1\n{LEAST}", "seed: ", ""),
        (f"seed = true\n{LEAST}", "seed: ", ""),
        (f"seed = 1979-05-27\n{LEAST}", "seed: ", ""),
        (f'backend = ""\n{LEAST}', "backend: ", ""),
        ('model = ""\n[data]\ntrain = "t"\n', "model: String should have at least 1", ""),
        ("model = ", "Invalid value", "TOML"),
        (f"a = {'[' * 100_000}", "recursion", "TOML"),
        (f"seed = {'9' * 5000}", "4300 digits", "TOML"),
    ],
)
def test_errors_name_file_and_key(text: str, words: str, hint: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_job(text, "my.toml")
    assert error.value.message.startswith("my.toml: ")
    assert words in error.value.message
    assert hint in error.value.hint


def test_every_field_of_a_job_is_a_key() -> None:
    """A field that JobSpec grows is one that can be written down."""
    fields = set(JobSpec.model_fields) - {"training_file", "validation_file"}
    known = {".".join(key) for key in keys(JobFile)}
    assert fields <= known
    assert {f"hyperparameters.{name}" for name in Hyperparameters.model_fields} <= known


# --- files --------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("train.jsonl", "eval.jsonl", "valid.jsonl"):
        (tmp_path / name).touch()
    (tmp_path / "jobs").mkdir()
    return tmp_path


def written(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


def test_paths_are_relative_to_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = EVERYTHING.replace('"train', '"../train').replace('"eval', '"../eval')
    path = written(folder / "jobs/job.toml", text)
    monkeypatch.chdir(folder)
    for place in (path, Path("jobs/job.toml"), "jobs/job.toml"):
        job = read_job(place)
        assert job.data.train.samefile(folder / "train.jsonl")
        assert job.data.validation is not None
        assert job.data.validation.samefile(folder / "valid.jsonl")
        assert job.evaluation.prompts is not None
        assert job.evaluation.prompts.samefile(folder / "eval.jsonl")
    assert read_job(path).hyperparameters == parse_job(text).hyperparameters


def test_a_path_in_the_users_own_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    job = read_job(written(folder / "jobs/job.toml", LEAST.replace('"t"', '"~/train.jsonl"')))
    assert job.data.train == folder / "train.jsonl"


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("data.train", "nowhere.jsonl"),
        ("data.train", "jobs"),
        ("data.train", "~nobody-of-this-name/train.jsonl"),
        ("data.train", "x" * 5000),
        ("data.validation", "nowhere.jsonl"),
        ("evaluation.prompts", "nowhere.jsonl"),
        ("evaluation.prompts", "jobs"),
    ],
)
def test_paths_have_to_lead_somewhere(folder: Path, key: str, path: str) -> None:
    table, name = key.split(".")
    values = {"data": {"train": "train.jsonl"}, "evaluation": {}}
    values[table][name] = path
    text = dumps(JobFile.model_validate({"model": "m", **values}))
    with pytest.raises(ConfigError, match=rf"job\.toml: {key}: no file"):
        read_job(written(folder / "job.toml", text))


def test_files_that_are_no_job_files(folder: Path) -> None:
    large = folder / "large.toml"
    large.write_bytes(b"#" * (2**20 + 1))
    latin = folder / "latin.toml"
    latin.write_bytes(b'model = "caf\xe9"')
    for path, words in (
        (folder / "nowhere.toml", "No such file"),
        (folder, "directory"),
        (large, "too large"),
        (latin, "not UTF-8"),
        ("a\0b", "cannot be a path"),
    ):
        with pytest.raises(ConfigError, match=words):
            read_job(path)


def test_a_byte_order_mark_is_no_part_of_the_file(folder: Path) -> None:
    path = folder / "job.toml"
    path.write_bytes(b"\xef\xbb\xbf" + LEAST.replace('"t"', '"train.jsonl"').encode())
    assert read_job(path).model == "m"


# --- writing ------------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
paths = texts.filter(lambda text: "\0" not in text).map(Path)
numbers = st.floats(min_value=1e-300, max_value=1, exclude_min=True)
prices = st.none() | st.tuples(st.floats(0, 1e6), st.floats(0, 1e6))
drawn = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.floats(0, 2),
        "max_tokens": st.integers(1, 9),
        "stop": st.lists(texts, max_size=4).map(tuple),
        "seed": st.integers(0, 2**63 - 1),
    },
)


@st.composite
def arms(draw: st.DrawFn) -> ArmTable:
    """An arm that is asked, or one whose answers are stored."""
    asked = st.fixed_dictionaries(
        {},
        optional={
            "backend": texts,
            "price": prices,
            "system": texts,
            "examples": paths,
            "documents": paths,
        },
    )
    own = draw(asked | st.fixed_dictionaries({"answers": paths}))
    return ArmTable.model_validate({**draw(drawn), **own})


judges = st.builds(
    lambda model, rubric, price, drawn: JudgeTable.model_validate(
        {"model": model, "rubric": rubric, "price": price, **drawn}
    ),
    texts,
    st.none() | texts.map(lambda text: Path(text.replace("\0", "") + ".md")),
    prices,
    drawn,
)
names = st.text(string.ascii_letters + " .-テスト", min_size=1, max_size=9).filter(
    lambda name: name not in ("base", "tuned")
)
evaluations = st.builds(
    Evaluation,
    prompts=st.none() | paths,
    graders=st.lists(texts, max_size=3).map(tuple),
    base=st.none() | texts,
    sets=st.dictionaries(names, paths, max_size=2),
    arms=st.dictionaries(names, arms(), max_size=3),
    judge=st.none() | judges,
    gate=st.builds(GateTable, rule=st.sampled_from(["better", "non-inferior"]), margin=numbers),
    samples=st.none() | st.integers(1, 128),
    cluster_by=st.none() | texts,
    max_cost=st.none() | st.floats(0, 1e12),
)
jobs = st.builds(
    JobFile,
    backend=st.none() | texts,
    model=texts,
    method=st.sampled_from(["supervised", "dpo", "reinforcement"]),
    suffix=st.none() | texts,
    seed=st.none() | st.integers(0, 2**31 - 1),
    data=st.builds(Data, train=paths, validation=st.none() | paths),
    hyperparameters=st.builds(
        Hyperparameters,
        n_epochs=st.none() | st.just("auto") | st.integers(1, 50),
        learning_rate_multiplier=st.none() | numbers | st.floats(1, 1e300),
        learning_rate=st.none() | numbers,
        lora_alpha=st.none() | st.integers(1, 4096),
    ),
    metadata=st.dictionaries(texts, texts, max_size=16),
    budget=st.builds(Budget, max_cost=st.none() | st.floats(0, 1e12)),
    evaluation=evaluations,
)


@given(jobs)
@settings(max_examples=150, deadline=None)
def test_what_is_written_is_read_back(job: JobFile) -> None:
    text = dumps(job)
    assert parse_job(text) == job
    assert dumps(parse_job(text)) == text
    assert tomllib.loads(text.encode().decode())["model"] == job.model


@given(st.text(string.printable, max_size=80))
@settings(max_examples=150, deadline=None)
def test_any_text_is_a_job_or_a_clear_error(text: str) -> None:
    with suppress(ConfigError):
        assert parse_job(LEAST + text).model == "m"


def test_what_utf8_cannot_hold_is_not_written() -> None:
    path = Path(os.fsdecode(b"caf\xe9.jsonl"))
    with pytest.raises(ConfigError, match="UTF-8"):
        dumps(JobFile(model="m", data=Data(train=path)))


def test_the_example_of_the_documentation_is_a_job() -> None:
    page = Path(__file__).parents[2] / "docs/how-to/plan-and-apply.md"
    _, _, rest = page.read_text("utf-8").partition("```toml\n")
    job = parse_job(rest.partition("```")[0])
    assert set(job.model_dump(exclude_defaults=True)) == set(JobFile.model_fields) - {"method"}
