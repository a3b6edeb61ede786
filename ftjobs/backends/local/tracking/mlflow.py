"""MLflow: a run with the job's id as a tag, by which every worker finds it again."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from ftjobs.backends.local.tracking.sink import Numbers, Tracked

_JOB = "ftjobs.job_id"
_EVERY = "epoch"
"""A number that every step has: its history tells which steps there are."""
_ENDS = {"succeeded": "FINISHED", "failed": "FAILED", "cancelled": "KILLED"}
_LONGEST = 500
"""Characters of a parameter: what the oldest servers take."""


class MLflowSink:
    """A run in the experiment `project`; its parameters are the job's recipe."""

    def __init__(self, settings: Mapping[str, Any], job: Tracked) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Param

        self._client = MlflowClient(settings.get("tracking_uri"))
        self._run_id = self._find(settings["project"], job.job_id) or self._create(settings, job)
        self._client.update_run(self._run_id, status="RUNNING")
        params = [Param(name, json.dumps(value)[:_LONGEST]) for name, value in job.config.items()]
        self._client.log_batch(self._run_id, params=params)  # the same values again are no error

    def last_step(self) -> int:
        """See `Sink`."""
        history = self._client.get_metric_history(self._run_id, _EVERY)
        return max((metric.step for metric in history), default=-1)

    def log(self, step: int, numbers: Numbers) -> None:
        """See `Sink`."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(name, value, now, step) for name, value in numbers.items()]
        self._client.log_batch(self._run_id, metrics=metrics)

    def finish(self, status: str, model: str | None) -> None:
        """See `Sink`.  A run that will be gone on with is called scheduled."""
        if model:
            self._client.set_tag(self._run_id, "ftjobs.fine_tuned_model", model)
        if status in _ENDS:
            self._client.set_terminated(self._run_id, _ENDS[status])
        else:
            self._client.update_run(self._run_id, status="SCHEDULED")

    def _find(self, project: str, job_id: str) -> str | None:
        """The run that an earlier worker made."""
        if (experiment := self._client.get_experiment_by_name(project)) is None:
            return None
        wanted = f"tags.`{_JOB}` = '{job_id}'"
        found = self._client.search_runs([experiment.experiment_id], wanted, max_results=1)
        return str(found[0].info.run_id) if found else None

    def _create(self, settings: Mapping[str, Any], job: Tracked) -> str:
        project = settings["project"]
        experiment = self._client.get_experiment_by_name(project)
        number = experiment.experiment_id if experiment else self._client.create_experiment(project)
        pairs = (tag.partition("=") for tag in settings.get("tags", ()))
        tags = {**{key: value for key, _, value in pairs}, _JOB: job.job_id}
        name = settings.get("name") or job.job_id
        return str(self._client.create_run(number, tags=tags, run_name=name).info.run_id)
