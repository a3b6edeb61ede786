"""One job, from its row in the store to its fine-tuned model: the glue around `train.Run`."""

from __future__ import annotations

import re
import secrets
import shutil
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch

from ftjobs import data
from ftjobs.backends.local import checkpoints, follower, models
from ftjobs.backends.local.export import about, card
from ftjobs.backends.local.families import refusal
from ftjobs.backends.local.openmp import Pace
from ftjobs.backends.local.progress import conclusions, in_words, metrics_of, result_csv
from ftjobs.backends.local.store import News, Store
from ftjobs.backends.local.tracking.following import Following
from ftjobs.backends.local.training import batches, dpo, precision
from ftjobs.backends.local.training.adapter import (
    adapted_layers,
    parameters_per_rank,
)
from ftjobs.backends.local.training.bleu import Exam, questions, spread
from ftjobs.backends.local.training.hiding import blank_of
from ftjobs.backends.local.training.loop import Run, Step
from ftjobs.backends.local.training.pairs import closed_set, renderer_for
from ftjobs.backends.local.training.processes import Alone
from ftjobs.backends.local.training.recipe import (
    Facts,
    Machine,
    Recipe,
    explain,
    resolve,
)
from ftjobs.backends.local.training.render import Renderer, Tokens
from ftjobs.backends.local.training.writing import Letters
from ftjobs.errors import TrainingError
from ftjobs.schema import Checkpoint, Hyperparameters

Rendered = Tokens | dpo.Pair
KEEP = 3
"""Checkpoints kept per job: the last three epochs, as on the wire."""
SAVE_SECONDS = 30.0
"""At most this much training is done again after a crash."""


class JobRun:
    """A claimed job in the hands of one worker.

    Raises:
        TrainingError, ModelError: it cannot be done; the caller fails the job.
        LeaseLost: it was cancelled or taken over; nothing more may be written.
        StoreError: the disk is full or the store broken.
    """

    def __init__(
        self,
        store: Store,
        cache: Path,
        owner: str,
        job_id: str,
        processes: Alone | None = None,
    ) -> None:
        self.store, self.owner, self.job_id = store, owner, job_id
        self.processes = processes or Alone()
        self.folder = store.job_folder(job_id)
        self.spec = store.spec(job_id)
        self.base = models.prepare(self.spec.model, cache, self._say)
        self.family = models.family(self.base.folder)
        template = self.spec.hyperparameters.chat_template
        self.tokenizer = models.load_tokenizer(self.base.folder, template)
        self.labels: tuple[str, ...] = ()
        self.saved_at = time.monotonic()
        self.recent: list[float] = []

    def run(self, stop: threading.Event) -> bool:
        """Train from wherever the job stands until it succeeds, is paused, or `stop` is set.

        True if the job was handed back because this process is too slow for a crowded machine.
        """
        run = self._prepare()
        with Following(self.store, self.owner, self.job_id, self.base):
            return self._train(run, stop)

    def _train(self, run: Run, stop: threading.Event) -> bool:
        pace = Pace()
        for step in run:
            status = self._record(step)
            if kept := _is_kept(run, step):
                self._checkpoint(run, step)
            # The processes of a group are each other's crowd, and none can start over alone.
            alone = step.number > 0 and self.processes.size == 1
            crowded = alone and pace.collapsed(step.tokens / step.seconds)
            if crowded or stop.is_set() or status == "pausing":
                self._save_state(run)
                if self._leave(crowded or stop.is_set()):
                    return crowded
            elif kept or not step.number or time.monotonic() - self.saved_at > SAVE_SECONDS:
                self._save_state(run)
        self._succeed(run)
        return False

    # --- before the first step ---------------------------------------------------------------

    def _prepare(self) -> Run:
        device = models.pick_device()
        stored = self.store.recipe(self.job_id)
        asked = self.spec.hyperparameters
        dtype = stored["recipe"]["dtype"] if stored else asked.dtype
        dtype = precision.choose(dtype, device)
        seed = stored["recipe"]["seed"] if stored else self._seed()
        train, valid = self._examples(seed)
        model = models.load_model(
            self.base.folder, dtype=dtype, device=device, labels=self.labels, seed=seed
        )
        asked = self.spec.hyperparameters
        facts = data_facts(model, self.tokenizer, train, asked.lora_target_modules or ())
        if stored:
            self._require_same_base(stored)
            recipe = Recipe.from_json(stored["recipe"])
            if recipe.device != device:
                raise TrainingError(
                    f"the job began on {recipe.device}, which is not here", code="device_missing"
                )
        else:
            machine = Machine(dtype, device, torch.get_num_threads())
            recipe = resolve(asked, facts, machine, seed=seed, method=self.spec.method)
            self._fix(recipe, train, valid)
        self._announce(recipe, train, valid)
        if reasons := explain(asked, facts, recipe):
            self._say(f"Chosen automatically: {'; '.join(reasons)}", key="automatic")
        found = checkpoints.newest_state(self.folder)
        state = found[0] if found else None
        order = follower.Order(
            self.spec.model,
            self.base.fingerprint,
            recipe,
            train,
            valid,
            state,
            self.labels,
            self._exam(recipe, len(train), len(valid)),
        )
        run = follower.start(order, model, self.processes)
        if found:
            self._say(f"Going on after step {run.done}", key=f"resumed:{run.done}:{self.owner}")
        return run

    def _seed(self) -> int:
        return self.spec.seed if self.spec.seed is not None else secrets.randbelow(2**31)

    def _examples(self, seed: int) -> tuple[list[Rendered], list[Rendered]]:
        self._look_at_family()
        limit = models.context_length(self.base.folder)
        asked = self.spec.hyperparameters.context_length
        if asked and asked > limit:
            raise TrainingError(
                f"context_length {asked} is more than the {limit} of {self.base.name}",
                code="invalid_hyperparameter",
                param="context_length",
            )
        stops = models.stop_ids(self.tokenizer, self.base.folder)
        self.renderer = renderer_for(
            self.family,
            self.tokenizer,
            stops,
            limit,
            asked=asked,
            labels=self.labels,
            vocabulary=models.vocabulary(self.base.folder),
            **_mask_settings(self.spec.hyperparameters),
        )
        train = self._render(self.renderer, self.spec.training_file)
        if self.spec.validation_file:
            return train, self._render(self.renderer, self.spec.validation_file)
        if fraction := self.spec.hyperparameters.validation_split:
            kept, held = batches.split(len(train), fraction=fraction, seed=seed)
            return [train[i] for i in kept], [train[i] for i in held]
        return train, []

    def _look_at_family(self) -> None:
        """Refuse what the base's family cannot do; find a classifier's answers; warn of losses."""
        if reason := refusal(self.family, self.spec.method, self.base.name):
            raise TrainingError(reason, code="invalid_model", param="model")
        if self.family == "classifier":
            self.labels = closed_set(data.read(self.store.file_path(self.spec.training_file)))
        if lost := models.lost_in_tokens(self.tokenizer):
            line = f"The tokenizer of {self.base.name} does not keep {', '.join(lost)} as written"
            self.store.record(self.job_id, self.owner, [News("tokenizer", line, level="warn")])

    def _render(self, renderer: Renderer, file_id: str) -> list[Rendered]:
        dataset = data.read(self.store.file_path(file_id))
        if self.spec.method == "dpo":
            return [dpo.render(renderer, pair) for pair in dataset.preferences()]
        return [renderer.example(example) for example in dataset]

    def _exam(self, recipe: Recipe, train: int, valid: int) -> Exam | None:
        """What BLEU is computed of, if the recipe goes by it, of so many examples."""
        if recipe.evaluation_metric != "bleu":
            return None
        file, places = self.spec.validation_file, list(range(valid))
        if not file:
            fraction = self.spec.hyperparameters.validation_split or 0.0
            places = batches.split(train + valid, fraction=fraction, seed=recipe.seed)[1]
        chosen = set(spread(places))
        examples = data.read(self.store.file_path(file or self.spec.training_file))
        asked = questions(self.renderer, (e for n, e in enumerate(examples) if n in chosen))
        if len(asked) < valid:
            self._say(f"BLEU is of {len(asked):,} of the {valid:,} validation examples")
        letters = Letters(self.tokenizer, self.renderer.stops, self.labels)
        return Exam(tuple(asked), letters)

    def _require_same_base(self, stored: dict[str, Any]) -> None:
        if stored["base"] != self.base.fingerprint:
            raise TrainingError(
                f"the files of {self.base.name} have changed since this job began",
                code="base_model_changed",
                param="model",
                hint="Put the old files back and resume the job, or submit a new one.",
            )

    def _fix(self, recipe: Recipe, train: Sequence[Rendered], valid: Sequence[Rendered]) -> None:
        self.store.set_recipe(
            self.job_id,
            self.owner,
            {
                "recipe": recipe.to_json(),
                "hyperparameters": recipe.reported(self.spec.hyperparameters),
                "seed": recipe.seed,
                "base": self.base.fingerprint,
                "examples": {"train": len(train), "validation": len(valid)},
            },
        )

    def _announce(
        self, recipe: Recipe, train: Sequence[Rendered], valid: Sequence[Rendered]
    ) -> None:
        tokens, targets = sum(item.size for item in train), sum(item.targets for item in train)
        epochs = f"{recipe.n_epochs} epoch{'' if recipe.n_epochs == 1 else 's'}"
        held = f", {len(valid):,} for validation" if valid else ""
        preferred = recipe.method == "dpo"
        what, beta = ("pairs", f", beta {recipe.beta:g}") if preferred else ("examples", "")
        self._say(
            f"Training on {len(train):,} {what} ({tokens:,} tokens, {targets:,} supervised)"
            f"{held}: {epochs}, batch size {recipe.batch_size}, "
            f"learning rate {recipe.learning_rate:.3g}{beta}, LoRA r={recipe.lora_r} "
            f"alpha={recipe.lora_alpha:g}, {recipe.dtype} on {recipe.device}"
            f"{self.processes}, seed {recipe.seed}"
            + "".join(f", {setting}" for setting in recipe.unusual(self.spec.hyperparameters)),
            key="recipe",
        )

    # --- between steps -----------------------------------------------------------------------

    def _record(self, step: Step) -> str:
        numbers = {**metrics_of(step).model_dump(exclude_none=True), "epoch": step.epoch}
        if step.number:
            numbers["tokens_per_second"] = round(step.tokens / max(step.seconds, 1e-9), 1)
        return self.store.record(
            self.job_id,
            self.owner,
            [News(f"metrics:{step.number}", in_words(step), type="metrics", data=numbers)],
            step=step.number,
            estimated_finish=self._estimate(step),
        )

    def _estimate(self, step: Step) -> int | None:
        """When the job may end; the first steps, which warm up, tell nothing."""
        self.recent = [*self.recent[-19:], *([step.seconds] if step.number else [])]
        if len(self.recent) < 4:
            return None
        return int(time.time() + (step.total - step.number) * median(self.recent))

    def _checkpoint(self, run: Run, step: Step) -> None:
        run.require_finite()
        name = f"ckpt-step-{step.number}"
        facts = {**self._facts(run), "fine_tuned_model_checkpoint": f"{self._name()}:{name}"}
        training = about.of_step(self.store, self.job_id, step.number, f"{self._name()}:{name}")
        readme = card.text(about.of_base(self.base, training), "checkpoint")
        checkpoints.save_adapter(self.folder / name, run.model, self.tokenizer, facts, card=readme)
        checkpoint = Checkpoint(
            id=f"ftckpt_{self.job_id.removeprefix('ftjob-')}{step.number}",
            created_at=int(time.time()),
            fine_tuned_model_checkpoint=f"{self._name()}:{name}",
            fine_tuning_job_id=self.job_id,
            step_number=step.number,
            metrics=metrics_of(step),
        )
        best = run.history.best() if run.recipe.save_best_checkpoint else None
        old = self.store.add_checkpoint(self.owner, checkpoint, name, keep=KEEP, best=best)
        for folder in old:
            shutil.rmtree(self.folder / folder, ignore_errors=True)

    def _save_state(self, run: Run) -> None:
        folder = self.folder / f"state-step-{run.done}"
        checkpoints.save_state(folder, run.state(), self._facts(run))
        checkpoints.prune_states(self.folder, keep=2)
        self.saved_at = time.monotonic()

    def _leave(self, must: bool) -> bool:
        """Leave the job, paused or to the next worker; False if a pause was taken back."""
        if self.store.pause_now(self.job_id, self.owner):
            return True
        if must:
            self.store.release(self.job_id, self.owner)
        return must

    # --- after the last step -----------------------------------------------------------------

    def _succeed(self, run: Run) -> None:
        name = self._name()
        result = self._result_file()
        # What was measured again after a kill may differ on a GPU: only what is there is named.
        kept = [checkpoint.step_number for checkpoint in self.store.checkpoints(self.job_id)]
        best = run.history.best(among=kept) if run.recipe.save_best_checkpoint else None
        self.store.finish(
            self.job_id,
            self.owner,
            "succeeded",
            news=[*conclusions(run, best), News("model", f"New fine-tuned model created: {name}")],
            fine_tuned_model=name,
            result_file=result,
            trained_tokens=run.trained_tokens,
            best_step=best,
        )

    def _result_file(self) -> str:
        """The wire's metrics CSV, stored as a file of its own."""
        rows = [numbers for event in self.store.events(self.job_id) if (numbers := event.metrics)]
        # Always in one place: whoever does it again after a kill removes what was left there.
        path = self.store.job_folder(self.job_id) / f"{self.job_id}-step_metrics.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            path.write_text(result_csv(rows), "utf-8")
            return self.store.add_file(path, purpose="fine-tune-results").id
        finally:
            path.unlink(missing_ok=True)

    # --- names and notes ---------------------------------------------------------------------

    def _name(self) -> str:
        suffix = re.sub(r"[^\w.-]+", "-", self.spec.suffix or "")
        return f"ft:{self.base.short}:local:{suffix}:{self.job_id[-8:]}"

    def _facts(self, run: Run) -> dict[str, Any]:
        return {
            "base_model": self.base.name,
            "base_fingerprint": self.base.fingerprint,
            "step": run.done,
            **({"labels": list(self.labels)} if self.labels else {}),
            "training_file_sha256": self.store.file(self.spec.training_file).sha256,
        }

    def _say(self, line: str, *, key: str | None = None) -> None:
        self.store.record(self.job_id, self.owner, [News(key or line, line)])


def _mask_settings(asked: Hyperparameters) -> dict[str, Any]:
    """What was asked for that decides which tokens are supervised, and how many there may be."""
    given = asked.given()
    names = ("train_on_inputs", "max_prompt_length", "max_completion_length")
    return {name: given[name] for name in names if name in given}


def data_facts(
    model: Any, tokenizer: Any, train: Sequence[Rendered], targets: Sequence[str] = ()
) -> Facts:
    """What the automatic settings look at."""
    return Facts(
        examples=len(train),
        targets=sum(item.targets for item in train),
        hidden_size=int(model.config.hidden_size),
        family=str(model.config.model_type),
        adapter_parameters_per_rank=parameters_per_rank(adapted_layers(model, targets).values()),
        mask_token=blank_of(tokenizer),
    )


def _is_kept(run: Run, step: Step) -> bool:
    """Whether a checkpoint is made after the step: where an epoch ends, or what may be the best."""
    candidate = run.recipe.save_best_checkpoint and step.full_valid is not None
    return step.number > 0 and (step.ends_epoch or step.is_last or candidate)
