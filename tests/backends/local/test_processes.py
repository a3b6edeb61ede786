"""Two processes train what one trains: the same losses, and nothing that one of them breaks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from ftjobs.backends.local import group
from ftjobs.backends.local.backend import LocalBackend
from ftjobs.backends.local.runner import JobRun
from ftjobs.backends.local.training.processes import Alone, deal
from ftjobs.backends.local.training.recipe import Recipe
from ftjobs.config import Settings
from ftjobs.errors import ConfigError, StoreLockedError
from ftjobs.schema import Job
from tests import tiny
from tests.backends.local import ranks
from tests.backends.local.conftest import stop_worker, until, worker_pid, write_dataset
from tests.backends.local.test_jobs import finish, step, submit

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Sized:
    size: int


@given(
    st.lists(st.lists(st.integers(1, 900), min_size=1, max_size=9), max_size=9),
    st.integers(1, 5),
)
def test_every_example_is_dealt_once_and_fairly(parts: list[list[int]], size: int) -> None:
    made = [[Sized(tokens) for tokens in part] for part in parts]
    hands = deal(made, size)
    items = Counter(id(item) for hand in hands for _, part in hand for item in part)
    assert items == Counter(id(item) for part in made for item in part)
    numbers = [number for hand in hands for number, _ in hand]
    assert sorted(numbers) == list(range(len(numbers)))  # each its own dropout
    loads = [sum(item.size for _, part in hand for item in part) for hand in hands]
    heavy = hands[loads.index(max(loads))]
    unfair = max(loads) > 1.2 * sum(loads) / size
    assert not unfair or all(len(part) == 1 for _, part in heavy)
    assert deal(made, 1) == [Alone().share(made)]


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What two processes found; the script is `ranks`."""
    folder = tmp_path_factory.mktemp("ranks")
    tiny.save_model(folder / "model")
    words = group.command(2, "tests.backends.local.ranks", [str(folder)])
    environ = group.environment(2, os.environ) | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads((folder / "found.json").read_text("utf-8"))
    found["folder"] = folder
    return found


@pytest.mark.parametrize(("recipe", "name"), [(ranks.ONE_BY_ONE, "steps"), (ranks.TOGETHER, "cut")])
def test_two_processes_are_one_but_for_rounding(
    together: dict[str, Any], recipe: Recipe, name: str
) -> None:
    """Losses, hits and validation, with dropout where both cut alike."""
    steps, _ = ranks.train(together["folder"] / "model", Alone(), recipe)
    same_but_for_rounding(together[name], steps)


def test_both_processes_agree_to_the_bit_and_with_one_on_the_weights(
    together: dict[str, Any],
) -> None:
    _, run = ranks.train(together["folder"] / "model", Alone(), ranks.ONE_BY_ONE)
    for name, parameter in run.parameters.items():
        other = torch.tensor(together["weights"][name])
        torch.testing.assert_close(parameter.detach().flatten(), other, rtol=1e-3, atol=1e-5)
    assert all(together["same"])


def same_but_for_rounding(found: list[Any], wanted: list[Any]) -> None:
    assert len(found) == len(wanted) == 6
    for two, one in zip(found, wanted, strict=True):
        assert [n is None for n in two] == [n is None for n in one]
        assert [n for n in two if n] == pytest.approx([n for n in one if n], rel=1e-5)


def test_memory_that_ends_in_one_process_halves_the_micro_batch_of_all(
    together: dict[str, Any],
) -> None:
    whole, half = together["tokens"]
    assert half < whole
    same_but_for_rounding(together["halved"], together["cut"])


def test_an_error_of_one_process_is_everyones(together: dict[str, Any]) -> None:
    of_first, of_second = together["told"]
    assert of_first == "odd: too odd"  # rank 0's own, as it is
    assert of_second == "odd: in one of 2 processes: too odd"
    assert together["others"] == ["odd: in one of 2 processes: too odd"] * 2


def test_sums_know_every_name_and_gradients_only_what_there_is(together: dict[str, Any]) -> None:
    assert together["sums"] == {"both": 3.0, "of 0": 2.0, "of 1": 2.0}
    assert together["unused"] == [[1.0, 1.0], None]
    assert together["settled"] == 0


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[LocalBackend]:
    """A backend whose jobs two processes train."""
    local = LocalBackend(Settings(home=tmp_path / "home", cache=tmp_path, processes=2))
    yield local
    stop_worker(local)
    until(lambda: not processes_of(local))


def processes_of(backend: LocalBackend) -> list[int]:
    """Our worker's processes, the launcher among them: those whose words hold our store."""
    home = str(backend.store.home).encode()
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
        except OSError:
            continue
        if home in words:
            found.append(int(entry.name))
    return found


def kill_second(backend: LocalBackend) -> None:
    first = worker_pid(backend)
    for pid in processes_of(backend):
        environ = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        if pid != first and b"RANK=1" in environ:
            os.kill(pid, signal.SIGKILL)
            return
    raise AssertionError("there is no second process")


def losses(backend: LocalBackend, job: Job) -> list[float | None]:
    return [e.metrics.train_loss for e in backend.events(job.id) if e.metrics]


def adapter(backend: LocalBackend, job: Job) -> dict[str, torch.Tensor]:
    folder, _ = backend.store.adapter(job.fine_tuned_model or "")
    return load_file(folder / "adapter_model.safetensors")


def test_a_job_of_two_processes_survives_one_of_them_and_hears_a_cancel(
    tmp_path: Path, tiny_model: Path, pair: LocalBackend
) -> None:
    """Compared with the same job in this process; then another one is cancelled."""
    dataset = write_dataset(tmp_path / "train.jsonl", 24)
    hyperparameters = {"n_epochs": 6, "batch_size": 4, "dtype": "float32"}
    job = submit(pair, tiny_model, dataset, hyperparameters=hyperparameters)
    long = submit(pair, tiny_model, dataset, hyperparameters={"n_epochs": 50, "batch_size": 1})
    until(lambda: step(pair, job) >= 7, seconds=180)  # three processes import torch
    kill_second(pair)
    until(lambda: worker_pid(pair) is None)  # one that is left alone ends
    job = finish(pair, job)
    assert job.status == "succeeded", job.error
    messages = [event.message for event in pair.events(job.id)]
    assert any(message.startswith("The worker stopped") for message in messages)
    assert any(message.startswith("Going on after step") for message in messages)
    assert any(" on cpu in 2 processes, seed 11" in message for message in messages)

    until(lambda: step(pair, long) >= 2, seconds=180)
    pair.cancel(long.id)
    log = pair.store.home / "worker.log"
    until(lambda: f"{long.id}: stopped, it is cancelled" in log.read_text("utf-8"))

    calm = LocalBackend(Settings(home=tmp_path / "calm", cache=tmp_path))
    alone = in_this_process(calm, tiny_model, dataset, hyperparameters)
    assert losses(pair, job) == pytest.approx(losses(calm, alone), rel=1e-5, abs=1.1e-6)
    wanted = adapter(calm, alone)
    for name, found in adapter(pair, job).items():
        torch.testing.assert_close(found, wanted[name], rtol=1e-3, atol=1e-4)


def in_this_process(
    backend: LocalBackend, model: Path, dataset: Path, hyperparameters: dict[str, Any]
) -> Job:
    """The same job without a worker process."""
    import threading

    from ftjobs.schema import JobSpec

    spec = JobSpec(
        model=str(model),
        training_file=backend.upload(dataset).id,
        hyperparameters=hyperparameters,
        seed=11,
    )
    job = backend.store.create_job(spec, news=[], error=None)
    assert backend.store.claim("us") == job.id
    JobRun(backend.store, backend.settings.cache, "us", job.id).run(threading.Event())
    return backend.store.job(job.id)


def test_a_launcher_holds_its_lock_for_what_it_becomes(tmp_path: Path) -> None:
    """So that nobody starts a second group while the first is still importing torch."""
    path = tmp_path / "group.lock"
    code = (
        "import os, sys; from pathlib import Path; from ftjobs.backends.local import group;"
        "group.hold(Path(sys.argv[1])); os.execv('/bin/sleep', ['sleep', '30'])"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(path)])
    try:
        words = Path(f"/proc/{process.pid}/cmdline")
        until(lambda: words.read_bytes() == b"sleep\x0030\0")
        with pytest.raises(StoreLockedError, match="several processes"):
            group.hold(path)
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("said", ["0", "two", "-1", "1.5", ""])
def test_a_number_of_processes_is_one(said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="processes"):
        group.count(said)
    if said:  # an empty variable is not set
        with pytest.raises(ConfigError, match="processes"):
            Settings.load(environ={"FTJOBS_PROCESSES": said}, cwd=tmp_path)


def test_the_setting_is_a_number_or_auto(tmp_path: Path) -> None:
    found = [
        Settings.load(environ={"FTJOBS_PROCESSES": said}, cwd=tmp_path).processes
        for said in ("2", "auto", "")
    ]
    assert found == [2, "auto", 1]
    assert group.count("auto") == max(1, torch.cuda.device_count())
    assert group.environment(2, {"OMP_NUM_THREADS": "7"})["OMP_NUM_THREADS"] == "7"
    assert not group.inside({})
    assert group.inside({"WORLD_SIZE": "2"})
