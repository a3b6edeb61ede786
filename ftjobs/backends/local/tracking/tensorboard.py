"""TensorBoard: event files, written by its own library and read again after a break."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ftjobs.backends.local.tracking.sink import Numbers, Tracked


class TensorBoardSink:
    """Event files in `log_dir`/JOB-ID: one for every worker, which TensorBoard shows as one run."""

    def __init__(self, settings: Mapping[str, Any], job: Tracked) -> None:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        log_dir = settings.get("log_dir")
        folder = Path(log_dir) / job.job_id if log_dir else job.folder / "tensorboard"
        folder.mkdir(parents=True, exist_ok=True)
        self._last = _last_step(folder)
        self._writer = EventFileWriter(str(folder), flush_secs=2)
        if self._last < 0:
            self._write(0, _text("job", job.config))

    def last_step(self) -> int:
        """See `Sink`."""
        return self._last

    def log(self, step: int, numbers: Numbers) -> None:
        """See `Sink`.  A step is one record, so that a kill leaves all of it or nothing."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=name, simple_value=value) for name, value in numbers.items()]
        self._write(step, Summary(value=values))
        self._last = step

    def finish(self, status: str, model: str | None) -> None:
        """See `Sink`."""
        if model:
            told = {"fine_tuned_model": model, "status": status}
            self._write(max(self._last, 0), _text("model", told))
        self._writer.close()

    def _write(self, step: int, summary: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self._writer.add_event(Event(wall_time=time.time(), step=step, summary=summary))


def _text(tag: str, values: Mapping[str, Any]) -> Any:
    """A table for TensorBoard's page of texts, as its text plugin writes them with TensorFlow."""
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.types_pb2 import DT_STRING
    from tensorboard.plugins.text.metadata import create_summary_metadata

    rows = [f"| {name} | {json.dumps(value)} |" for name, value in values.items()]
    text = "\n".join(["| | |", "|-|-|", *rows]).encode()
    tensor = TensorProto(dtype=DT_STRING, string_val=[text])
    metadata = create_summary_metadata(display_name="", description="")
    return Summary(value=[Summary.Value(tag=tag, metadata=metadata, tensor=tensor)])


def _last_step(folder: Path) -> int:
    """The last step whose numbers are in the folder's event files; -1 if there is none.

    A record that a kill cut short is no record: its step is written again.
    """
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    events = (
        event
        for path in sorted(folder.glob("events.out.tfevents.*"))
        for event in EventFileLoader(str(path)).Load()
    )
    return max((event.step for event in events if _has_numbers(event)), default=-1)


def _has_numbers(event: Any) -> bool:
    names = {value.metadata.plugin_data.plugin_name for value in event.summary.value}
    return "scalars" in names  # as the loader calls simple values, too
