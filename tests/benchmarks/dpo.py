"""DPO: the numbers of TRL's trainer, and a trait that a small model learns to prefer.

python -m tests.benchmarks.dpo    # prints both; minutes, and TRL is installed once (1.5 GB)

The data is `datasets/courtesy`: of two answers, the one that thanks for the question is preferred.
What is asked afterwards is in no pair.
"""

from __future__ import annotations

import json
import os
import signal
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ftjobs import data
from ftjobs.backends.base import Request
from ftjobs.backends.local import models
from ftjobs.backends.local.backend import LocalBackend
from ftjobs.backends.local.training import dpo
from ftjobs.backends.local.training.adapter import add_adapter
from ftjobs.backends.local.training.objectives import objective_for
from ftjobs.backends.local.training.recipe import Recipe
from ftjobs.backends.local.training.render import Renderer, Tokens
from ftjobs.config import Settings
from ftjobs.schema import ChatMessage, Job, JobSpec, Sampling
from tests.benchmarks import peers

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "datasets" / "courtesy"
THANKS = "thank you for asking"
PAIRS = 8
LIMIT = 1e-4
GREEDY = Sampling(temperature=0, max_tokens=24)
RECIPE = Recipe(
    n_epochs=1, batch_size=PAIRS, learning_rate=1e-4, warmup_steps=0, lora_r=8, lora_alpha=32,
    lora_dropout=0.0, seed=1, dtype="float32", device="cpu", threads=torch.get_num_threads(),
    method="dpo", beta=0.1,
)  # fmt: skip


def preferring() -> None:
    """Print how far apart TRL and we are (limit: 1e-4), and the trait's rate (0.3 to 0.9)."""
    equal_to_trl()
    trait()


# --- the same numbers -------------------------------------------------------------------------


def equal_to_trl() -> None:
    """Loss, rewards and gradient norms of eight pairs, with an adapter that is not zero."""
    base = models.prepare(models.DEFAULT_MODEL, _cache())
    tokenizer = models.load_tokenizer(base.folder)
    renderer = Renderer(tokenizer, models.stop_ids(tokenizer, base.folder), 8192)
    rows = list(data.read(FOLDER / "prefs.jsonl").preferences())[:PAIRS]
    pairs = [dpo.render(renderer, row) for row in rows]
    model = moved(base.folder)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        theirs = trl(base.folder, Path(folder), pairs, tokenizer)
    assert theirs["ids"] == [ids(pair) for pair in pairs], "TRL reads other tokens"
    objective = objective_for(model.train(), RECIPE)
    with torch.no_grad():
        single = [measured(objective, [pair]) for pair in pairs]
    whole = measured(objective, pairs, learn=True)
    gradient = {n: p.grad.norm().item() for n, p in model.named_parameters() if p.requires_grad}
    print(f"TRL and ours, {PAIRS} pairs         TRL         ours  difference")
    for name, value in theirs["batch"].items():
        print(f"    {name:22} {value:12.6f} {whole[name]:12.6f} {abs(value - whole[name]):11.1e}")
    differences = [
        abs(a[n] - b[n]) for a, b in zip(theirs["pairs"], single, strict=True) for n in a
    ]
    differences += [abs(whole[name] - value) for name, value in theirs["batch"].items()]
    largest = max(theirs["gradient"].values())
    slopes = [abs(gradient[name] - value) / largest for name, value in theirs["gradient"].items()]
    print(f"    largest difference of any pair or mean {max(differences):.1e} (limit {LIMIT:.0e})")
    print(f"    largest difference of a gradient norm  {max(slopes):.1e} of the largest norm")
    assert gradient.keys() == theirs["gradient"].keys()
    assert max(differences) < LIMIT
    assert max(slopes) < LIMIT


def moved(folder: Path) -> Any:
    """The model with a seeded adapter that is no longer nothing."""
    model = add_adapter(models.load_model(folder, dtype="float32", device="cpu"), RECIPE)
    generator = torch.Generator().manual_seed(2)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(0, 0.01, generator=generator)
    return model


def trl(base: Path, adapter: Path, pairs: Sequence[dpo.Pair], tokenizer: Any) -> dict[str, Any]:
    """What the peer makes of the same prompts and answers, which it tokenises itself."""
    parts = [ids(pair) for pair in pairs]
    texts = [[tokenizer.decode(part) for part in (p, c[:-1], r[:-1])] for p, c, r in parts]
    rows = [dict(zip(("prompt", "chosen", "rejected"), text, strict=True)) for text in texts]
    request, answer = adapter / "request.json", adapter / "answer.json"
    asked = {"model": str(base), "adapter": str(adapter), "rows": rows, "beta": RECIPE.beta}
    request.write_text(json.dumps(asked | {"threads": RECIPE.threads}), "utf-8")
    peers.run("trl", "trl_dpo.py", request, answer)
    found: dict[str, Any] = json.loads(answer.read_text("utf-8"))
    return found


def ids(pair: dpo.Pair) -> list[list[int]]:
    """The tokens of the prompt, and of both answers up to their stop token."""
    start = pair.chosen.supervised.index(True)
    return [list(pair.chosen.ids[:start]), _answer(pair.chosen), _answer(pair.rejected)]


def _answer(tokens: Tokens) -> list[int]:
    return [token for token, kept in zip(tokens.ids, tokens.supervised, strict=True) if kept]


def measured(objective: Any, pairs: Sequence[dpo.Pair], *, learn: bool = False) -> dict[str, float]:
    """Means over `pairs`, under TRL's names; with `learn`, their gradient stays."""
    measure = objective.measure(pairs)
    loss = measure.loss / len(pairs)
    if learn:
        torch.autograd.backward(loss)
    names = ("rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies")
    sums = {name: measure.others[name.replace("/", "_")] for name in names}
    return {"loss": loss.item(), **{name: value / len(pairs) for name, value in sums.items()}}


# --- the trait --------------------------------------------------------------------------------


def trait() -> None:
    """A whole job by its worker; held-out prompts are answered greedily before and after."""
    with tempfile.TemporaryDirectory() as home:
        backend = LocalBackend(Settings(home=Path(home), cache=_cache()))
        before, _ = rates(backend, models.DEFAULT_MODEL)
        began = time.perf_counter()
        job = trained(backend)
        seconds = time.perf_counter() - began
        after, once = rates(backend, str(job.fine_tuned_model))
    settings = ", ".join(f"{name} {value:.3g}" for name, value in job.hyperparameters.items())
    print(f"answers that thank: {before:.2f} before (limit 0.3), {after:.2f} after (limit 0.9)")
    print(f"    {once:.2f} thank once; {seconds:.0f} s; {settings}")
    assert before <= 0.3
    assert after >= 0.9


def trained(backend: LocalBackend) -> Job:
    """The job, once it has succeeded, with the automatic settings."""
    file = backend.upload(FOLDER / "prefs.jsonl")
    spec = JobSpec(model=models.DEFAULT_MODEL, training_file=file.id, method="dpo", seed=7)
    job = backend.create(spec)
    while not (job := backend.retrieve(job.id)).ended:
        time.sleep(1)
    assert job.status == "succeeded", job.error
    if worker := backend.store.worker():
        os.kill(worker.pid, signal.SIGTERM)
    return job


def rates(backend: LocalBackend, model: str) -> tuple[float, float]:
    """The shares of held-out prompts that `model` answers with the trait, and with no repetition.

    A model that has seen the pairs too often writes its thanks again and again.
    """
    lines = (FOLDER / "prompts.jsonl").read_text("utf-8").splitlines()
    prompts = [
        [ChatMessage.model_validate(m) for m in json.loads(line)["messages"]] for line in lines
    ]
    requests = [Request(model, tuple(prompt), GREEDY) for prompt in prompts]
    answers = [answer for _, answer in backend.complete_many(requests)]
    texts = [getattr(answer, "text", "").lstrip().casefold() for answer in answers]
    courteous = [text for text in texts if text.startswith(THANKS)]
    once = sum(text.count(THANKS) == 1 for text in courteous)
    return len(courteous) / len(texts), once / len(texts)


def _cache() -> Path:
    return Path(os.environ.get("FTJOBS_CACHE", tempfile.gettempdir()))


if __name__ == "__main__":
    preferring()
