"""What can go wrong in a step, told from what is merely small."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from ftjobs.errors import TrainingError


def is_no_memory(error: BaseException) -> bool:
    """Whether torch says that there is no memory: on a GPU by a type, on a CPU in words."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        "allocate memory" in str(error)
    )


def out_of_memory(tokens: int) -> TrainingError:
    """The error for a single example of so many tokens for which there is no memory."""
    return TrainingError(
        f"there is no memory for an example of {tokens:,} tokens",
        code="out_of_memory",
        hint="Shorten the longest examples, or choose a smaller base model.",
    )


def require_gradients(parameters: Mapping[str, torch.nn.Parameter], number: int) -> None:
    """See that the loss reaches every adapted layer, in the first two steps of a run.

    LoRA's B starts at zero, so at step 1 the gradient of A is exactly zero, and only B's can be
    looked at; at step 2, only A's is new.  An adapter that gets none would stay what it is, and
    nobody would notice: gradient checkpointing and layers that the model does not use do that.

    Raises:
        TrainingError: `gradient_missing`, with how many layers lack it.
    """
    kind = {1: "lora_B", 2: "lora_A"}.get(number)
    if kind is None:
        return
    wanted = [parameter for name, parameter in parameters.items() if kind in name]
    missing = sum(p.grad is None or not bool(p.grad.any()) for p in wanted)
    if missing:
        raise TrainingError(
            f"{missing} of {len(wanted)} adapted layers get no gradient at step {number}",
            code="gradient_missing",
            hint="Adapt only layers that the model uses for this data: lora_target_modules.",
        )
