"""Integrations as a user writes them: on the wire, in a job file, on the command line."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ftjobs.backends.base import check_supported
from ftjobs.backends.profiles import PROFILES
from ftjobs.backends.wire.body import create_body, read_job
from ftjobs.cli.fields import integrations as parse
from ftjobs.errors import ConfigError, UnsupportedError
from ftjobs.integrations import SETTINGS, checked, located
from ftjobs.jobs.identity import identity_of
from ftjobs.jobs.jobfile import read_job as read_job_file
from ftjobs.jobs.portable import job_toml
from ftjobs.schema import Job, JobSpec
from tests.backends.quirks import REFUSALS

WANDB = {"type": "wandb", "wandb": {"project": "otters", "name": "n", "entity": "e", "tags": ["a"]}}


def spec(*integrations: Any) -> JobSpec:
    return JobSpec(model="m", training_file="file-1", integrations=integrations)


# --- what is taken ------------------------------------------------------------------------------


def test_what_is_given_is_kept_and_no_more() -> None:
    assert spec(WANDB).integrations == (WANDB,)
    assert spec({"type": "tensorboard"}).integrations == (
        {"type": "tensorboard", "tensorboard": {}},
    )
    nulls = {"type": "wandb", "wandb": {"project": "p", "name": None, "entity": None, "tags": []}}
    assert spec(nulls).integrations == ({"type": "wandb", "wandb": {"project": "p"}},)
    again = JobSpec.model_validate_json(spec(WANDB).model_dump_json())
    assert again == spec(WANDB)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("wandb", "must be a list of tables"),
        (["wandb"], "must be a list of tables"),
        (
            [{"wandb": {"project": "p"}}],
            "the type must be one of wandb, tensorboard, mlflow, trackio",
        ),
        ([{"type": "neptune"}], "the type must be one of"),
        ([{"type": ["wandb"]}], "the type must be one of"),
        ([{"type": "wandb"}], "wandb: project is missing"),
        ([{"type": "wandb", "wandb": {"project": ""}}], "wandb: project: "),
        ([{"type": "wandb", "wandb": "p"}], "wandb: must be a table"),
        ([{"type": "wandb", "project": "p"}], "wandb: unknown key 'project' beside the type"),
        (
            [{"type": "wandb", "wandb": {"project": "p", "api_key": "S3CRET"}}],
            "wandb: no setting 'api_key'; there are project, name, entity, tags",
        ),
        ([{"type": "wandb", "wandb": {"project": "p", "tags": "a"}}], "wandb: tags: "),
        ([{"type": "tensorboard", "tensorboard": {"log_dir": "a\0b"}}], "UTF-8"),
        (
            [{"type": "mlflow", "mlflow": {"project": "p", "tracking_uri": "http://u:S3CRET@h"}}],
            "mlflow: tracking_uri: must hold no user or password: set MLFLOW_TRACKING_URI instead",
        ),
        (
            [{"type": "mlflow", "mlflow": {"project": "p", "tracking_uri": "http://[S3CRET"}}],
            "path",
        ),
        ([WANDB, WANDB], "the same one twice"),
        ([{"type": "wandb", "wandb": {"project": str(n)}} for n in range(6)], "at most 5"),
    ],
)
def test_what_is_none_is_refused_without_its_values(value: Any, why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)) as caught:
        checked(value)
    assert "S3CRET" not in str(caught.value)
    with pytest.raises(ValidationError):
        JobSpec(model="m", training_file="f", integrations=value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
TABLES = st.fixed_dictionaries(
    {"type": st.sampled_from([*SETTINGS, "x"])},
    optional={
        kind: JSON | st.fixed_dictionaries({"project": JSON}, optional={"tags": JSON, "name": JSON})
        for kind in SETTINGS
    },
)


@given(st.lists(TABLES | JSON, max_size=4) | JSON)
def test_anything_is_taken_in_its_plainest_form_or_refused(value: Any) -> None:
    try:
        found = checked(value)
    except ValueError:
        return
    assert checked(json.loads(json.dumps(found))) == found
    assert located(located(found, Path("/a")), Path("/b")) == located(found, Path("/a"))


def test_paths_are_taken_from_a_folder() -> None:
    def uri(text: str) -> Any:
        one = {"type": "mlflow", "mlflow": {"project": "p", "tracking_uri": text}}
        return located([one], Path("/jobs"))[0]["mlflow"]["tracking_uri"]

    assert uri("runs") == "/jobs/runs"
    assert uri("sqlite:///m.db") == "sqlite:////jobs/m.db"
    assert uri("sqlite:////abs/m.db") == "sqlite:////abs/m.db"
    for same in ("http://h:5000", "databricks", "file:/abs", "/abs"):
        assert uri(same) == same
    board = {"type": "tensorboard", "tensorboard": {"log_dir": "runs"}}
    assert located([board], Path("/jobs"))[0]["tensorboard"] == {"log_dir": "/jobs/runs"}


# --- where it goes ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["openai", "portkey"])
def test_the_wire_gets_and_gives_back_wandb(name: str) -> None:
    profile = PROFILES[name]
    check_supported(spec(WANDB), profile.capabilities, name)
    body = json.loads(json.dumps(create_body(spec(WANDB), profile, name)))
    assert body["integrations"] == [WANDB]
    assert REFUSALS[name](body) == ""
    job = read_job({"id": "j", "created_at": 1, "status": "queued", **body}, profile, name)
    assert job.integrations == (WANDB,)
    assert "integrations" not in create_body(spec(), profile, name)


@pytest.mark.parametrize(
    ("name", "kind", "hint"),
    [
        ("openai", "tensorboard", "It has: wandb."),
        ("together", "wandb", "It has none: leave it out."),
    ],
)
def test_a_service_without_it_refuses_it_by_name(name: str, kind: str, hint: str) -> None:
    wanted = WANDB if kind == "wandb" else {"type": kind}
    with pytest.raises(UnsupportedError, match=f"{name} has no integration {kind}") as caught:
        check_supported(spec(wanted), PROFILES[name].capabilities, name)
    assert caught.value.hint == hint


@pytest.mark.parametrize("odd", [None, [], ["wandb"], "wandb", {"type": "wandb"}])
def test_what_a_service_makes_of_it_never_hides_a_job(odd: Any) -> None:
    raw = {"id": "j", "created_at": 1, "status": "queued", "model": "m", "integrations": odd}
    assert read_job(raw, PROFILES["openai"], "openai").integrations == ()


def test_it_is_no_part_of_a_jobs_identity() -> None:
    assert identity_of(spec(), "0" * 64) == identity_of(spec(WANDB), "0" * 64)


# --- job file, migration, command line ----------------------------------------------------------


def test_a_job_file_says_it_with_paths_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").touch()
    path = tmp_path / "job.toml"
    start = 'model = "m"\n[data]\ntrain = "train.jsonl"\n[[integrations]]\n'
    path.write_text(start + 'type = "tensorboard"\ntensorboard = { log_dir = "runs" }\n')
    (board,) = read_job_file(path).integrations
    assert board["tensorboard"]["log_dir"] == str(tmp_path.resolve() / "runs")
    path.write_text(start + 'type = "wandb"\nwandb = { projekt = "x" }\n')
    with pytest.raises(ConfigError, match=r"job.toml: integrations: wandb: project is missing"):
        read_job_file(path)


def test_a_job_that_moves_takes_it_along() -> None:
    nulls = {"type": "wandb", "wandb": {"project": "otters", "name": None}}
    job = Job(
        id="j",
        created_at=1,
        status="succeeded",
        model="m",
        training_file="f",
        integrations=(nulls,),
    )
    text = job_toml(job, {}, service="openai")
    assert tomllib.loads(text)["integrations"] == [
        {"type": "wandb", "wandb": {"project": "otters"}}
    ]


@pytest.mark.parametrize(
    ("text", "table"),
    [
        ("tensorboard", {"type": "tensorboard", "tensorboard": {}}),
        ("wandb:project=p", {"type": "wandb", "wandb": {"project": "p"}}),
        (
            "mlflow:project=a=b,tags=x,tags=y=z,tracking_uri=http://h:5000",
            {
                "type": "mlflow",
                "mlflow": {"project": "a=b", "tracking_uri": "http://h:5000", "tags": ["x", "y=z"]},
            },
        ),
    ],
)
def test_the_command_line_says_the_same(text: str, table: Any) -> None:
    context, param = click.Context(click.Command("submit")), click.Option(["--integration"])
    assert parse(context, param, (text,)) == [table]
    assert checked([table])
    assert parse(context, param, ()) is None
    with pytest.raises(click.BadParameter, match="KEY=VALUE"):
        parse(context, param, ("wandb:otters",))
