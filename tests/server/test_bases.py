"""Which models are base models: a service may give tuned ones names that look no different."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ftjobs.backends.fake import FakeBackend
from ftjobs.errors import NotFoundError
from ftjobs.schema import Job
from ftjobs.server.projects.names import Names
from tests.server.test_project import HELLO, SAMPLING, House

TUNED = "org/tuned"


class Plain(FakeBackend):
    """Lists a tuned model under a plain name, and names it in its job a moment later."""

    def __init__(self) -> None:
        super().__init__(steps=2)
        self.names = False

    def finish(self, job_id: str) -> None:
        run = self._runs[job_id]
        while not super().retrieve(job_id).ended:
            pass
        tuned = self._models.pop(str(run.job.fine_tuned_model))
        self._models[TUNED] = tuned.model_copy(update={"id": TUNED})
        run.set(fine_tuned_model=TUNED)

    def retrieve(self, job_id: str) -> Job:
        return self._shown(super().retrieve(job_id))

    def jobs(self, **how: Any) -> Any:
        return map(self._shown, super().jobs(**how))

    def _shown(self, job: Job) -> Job:
        return job if self.names else job.model_copy(update={"fine_tuned_model": None})


@pytest.mark.parametrize("look", ["list", "retrieve"])
def test_a_tuned_model_that_was_taken_for_a_base_model_is_one_no_longer_once_its_job_names_it(
    tmp_path: Path, look: str
) -> None:
    backend = Plain()
    house = House(tmp_path, backend)
    job_id = house.create("one", house.upload("one"))
    backend.finish(job_id)
    one, two = house.project("one"), house.project("two")
    assert two.complete(TUNED, HELLO, sampling=SAMPLING).text  # nobody can know
    backend.names = True
    assert (one.retrieve(job_id) if look == "retrieve" else next(one.jobs())).fine_tuned_model
    with pytest.raises(NotFoundError):
        two.complete(TUNED, HELLO, sampling=SAMPLING)
    assert one.complete(TUNED, HELLO, sampling=SAMPLING).text
    one.delete_model(TUNED)
    with pytest.raises(NotFoundError):
        one.complete(TUNED, HELLO, sampling=SAMPLING)
    house.database.close()


def test_what_a_job_has_made_is_not_learned_to_be_a_base_model_after_all() -> None:
    """A request that looked before the job named it may come to its end after one that sees it."""
    names = Names()
    names.learn(TUNED, "job")
    names.learn_base(TUNED)
    assert not names.is_base(TUNED)
