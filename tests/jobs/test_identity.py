from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.errors import ConfigError
from ftjobs.jobs.identity import adoptable, carries, identity_of, mark
from ftjobs.schema import IDENTITY, Capabilities, Hyperparameters, Job, JobSpec

HASH = "ab" * 32
SUFFIX = Capabilities(metadata=False, identity="suffix")


def spec(**fields: object) -> JobSpec:
    return JobSpec.model_validate({"model": "m", "training_file": "f"} | fields)


def job(identifier: str = "j", *, at: int = 0, status: str = "running", **fields: object) -> Job:
    raw = {"id": identifier, "created_at": at, "status": status, "model": "m", "training_file": "f"}
    return Job.model_validate(raw | fields)


def test_identity_is_that_of_the_content() -> None:
    same = identity_of(spec(training_file="file-1", metadata={"commit": "abc"}), HASH)
    assert same == identity_of(spec(training_file="elsewhere/train.jsonl"), HASH)
    assert len(same) == 32
    auto = Hyperparameters(n_epochs="auto", batch_size=None)
    assert same == identity_of(spec(hyperparameters=auto), HASH)  # "auto" is what nobody chose


@pytest.mark.parametrize(
    "other",
    [
        {"model": "n"},
        {"method": "dpo"},
        {"seed": 0},
        {"suffix": "s"},
        {"hyperparameters": Hyperparameters(n_epochs=3)},
    ],
)
def test_all_that_decides_what_is_trained_makes_another(other: dict[str, object]) -> None:
    assert identity_of(spec(), HASH) != identity_of(spec(**other), HASH)


def test_files_and_salt_make_another() -> None:
    seen = {
        identity_of(spec(), HASH),
        identity_of(spec(), HASH[::-1]),
        identity_of(spec(), HASH, HASH),
        identity_of(spec(), HASH, salt="1"),
    }
    assert len(seen) == 4


def test_another_process_finds_the_same() -> None:
    code = (
        "from ftjobs.jobs.identity import identity_of; from ftjobs.schema import JobSpec;"
        "print(identity_of(JobSpec(model='m', training_file='f',"
        " hyperparameters={'learning_rate_multiplier': 0.1, 'n_epochs': 2}), 'ab' * 32))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    settings = Hyperparameters(n_epochs=2, learning_rate_multiplier=0.1)
    assert done.stdout.strip() == identity_of(spec(hyperparameters=settings), HASH)


def test_the_value_is_frozen() -> None:
    # A change would make every job that runs today be started once more.
    settings = Hyperparameters(n_epochs=3, learning_rate_multiplier=2)
    found = identity_of(spec(suffix="s", seed=1, hyperparameters=settings), HASH)
    assert found == "687708ae70bdeabc0ce37aadcbbcc357"


@given(st.text(min_size=1, max_size=51), st.sampled_from([Capabilities(), SUFFIX]))
def test_a_marked_job_carries_its_identity(suffix: str, capabilities: Capabilities) -> None:
    identity = identity_of(spec(suffix=suffix), HASH)
    marked = mark(spec(suffix=suffix), identity, capabilities)
    answered = job(metadata=marked.metadata, suffix=marked.suffix)
    assert carries(answered, identity)
    assert not carries(answered, identity_of(spec(suffix=suffix), HASH, salt="x"))
    assert len(marked.suffix or "") <= 64


def test_a_suffix_is_found_in_the_name_of_the_model_too() -> None:
    identity = identity_of(spec(), HASH)
    marked = mark(spec(), identity, SUFFIX)
    assert carries(job(fine_tuned_model=f"ft:m:org:{marked.suffix}:abc123"), identity)
    assert carries(job(fine_tuned_model=f"me/m-{marked.suffix}"), identity)
    assert carries(job(suffix=(marked.suffix or "").upper()), identity)
    assert not carries(job(fine_tuned_model="ft:m:org::abc123"), identity)
    assert not carries(job(), identity)


def test_there_must_be_room_for_it() -> None:
    with pytest.raises(ConfigError, match="51"):
        mark(spec(suffix="s" * 52), "0" * 32, SUFFIX)
    full = {str(n): "x" for n in range(16)}
    with pytest.raises(ConfigError, match="15 pairs"):
        mark(spec(metadata=full), "0" * 32, Capabilities())
    again = mark(spec(metadata={IDENTITY: "old"}), "0" * 32, Capabilities())
    assert json.dumps(dict(again.metadata)) == json.dumps({IDENTITY: "0" * 32})


def test_the_oldest_that_did_not_end_in_vain_is_taken() -> None:
    vain = [job(word, status=word) for word in ("failed", "cancelled", "cancelling")]
    assert adoptable(vain) is None
    good = job("c", at=5, status="succeeded")
    assert adoptable([*vain, good, job("d", at=6)]) == good
    assert adoptable([*vain, job("e", at=9, status="polishing")]) is not None
