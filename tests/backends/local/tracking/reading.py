"""What integrations hold: step → numbers, read with the tools' own libraries where they can."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.backends.local.conftest import until

Steps = list[tuple[int, dict[str, float]]]
"""In the order in which they were logged; a step that was logged twice is here twice."""

BLOCK = 32_768
"""Bytes of a block of W&B's files, which are LevelDB logs after seven bytes of their own."""


def tensorboard(folder: Path, job_id: str) -> Steps:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / job_id), size_guidance={"scalars": 0})
    events.Reload()
    steps: dict[int, dict[str, float]] = {}
    found: Steps = []
    for event in events.Scalars("epoch"):
        found.append((event.step, steps.setdefault(event.step, {})))
    for name in events.Tags()["scalars"]:
        for event in events.Scalars(name):
            steps[event.step][name] = event.value
    return found


def wandb(folder: Path, job_id: str) -> Steps:
    until(lambda: _are_whole(folder, job_id))  # W&B's own process writes them
    found: Steps = []
    for record in wandb_records(folder, job_id):
        if record.WhichOneof("record_type") == "history":
            items = {item.nested_key[0]: item.value_json for item in record.history.item}
            numbers = {n: float(text) for n, text in items.items() if not n.startswith("_")}
            found.append((int(items["_step"]), numbers))
    return found


def _are_whole(folder: Path, job_id: str) -> bool:
    kinds = [record.WhichOneof("record_type") for record in wandb_records(folder, job_id)]
    return "run" in kinds and kinds.count("run") == kinds.count("exit")


def wandb_records(folder: Path, job_id: str) -> Iterator[Any]:
    """Every record of the offline runs of a job, whose folders begin with the time."""
    from wandb.proto import wandb_internal_pb2

    for path in sorted(folder.glob(f"wandb/offline-run-*-{job_id}*/*.wandb")):
        for data in _leveldb(path.read_bytes()):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            yield record


def _leveldb(data: bytes) -> Iterator[bytes]:
    place, whole = 7, b""
    while place + 7 <= len(data):
        if BLOCK - place % BLOCK < 7:  # no header begins here
            place += BLOCK - place % BLOCK
            continue
        length, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        whole += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # full, or the last of several
            yield whole
            whole = b""


def mlflow(folder: Path, job_id: str) -> Steps:
    from mlflow import MlflowClient

    client = MlflowClient(str(folder))
    experiment = client.get_experiment_by_name("otters")
    (run,) = client.search_runs([experiment.experiment_id], f"tags.`ftjobs.job_id` = '{job_id}'")
    history = {name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
    found: Steps = [(metric.step, {}) for metric in history["epoch"]]
    for step, numbers in found:
        for name, metrics in history.items():
            numbers.update((name, metric.value) for metric in metrics if metric.step == step)
    return found


def trackio(folder: Path, job_id: str) -> Steps:
    from trackio.sqlite_storage import SQLiteStorage

    return [
        (row["step"], {name: row[name] for name in row if name not in ("step", "timestamp")})
        for row in SQLiteStorage.get_logs("otters", job_id)
    ]


READERS: Mapping[str, Callable[[Path, str], Steps]] = {
    "tensorboard": tensorboard,
    "wandb": wandb,
    "mlflow": mlflow,
    "trackio": trackio,
}
