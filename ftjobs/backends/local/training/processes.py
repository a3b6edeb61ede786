"""The processes that train one adapter together; alone, there is nothing to do.

Every process holds the whole model and takes the same steps.  Of a step, each computes some
micro-batches; gradients and sums are added over all, in float32 and in the order of the ranks, so
that all of them take the same step, which is that of one process but for rounding.

Rank 0 decides.  What only it can know, whether to go on and what to train, it tells the others
before each step; and what goes wrong in one process goes wrong in all of them.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Protocol, TypeVar

import torch
import torch.distributed as dist

from ftjobs.backends.local.group import GroupLost
from ftjobs.backends.local.training import guards
from ftjobs.errors import ConfigError, TrainingError

FAIR = 1.2
"""A process may have so many times its share of a step's tokens before more is cut."""
_WAIT = timedelta(days=30)
"""For what rank 0 says next: it may be downloading a model.  A process that dies is noticed."""


class _Sized(Protocol):
    @property
    def size(self) -> int: ...


T = TypeVar("T", bound=_Sized)
V = TypeVar("V")


class Alone:
    """One process."""

    rank = 0
    size = 1

    def __str__(self) -> str:
        """For the line that announces a job: " in 2 processes", or nothing for one."""
        return f" in {self.size} processes" if self.size > 1 else ""

    def turn(self) -> bool:
        """Before each step: whether to take it."""
        return True

    def share(self, parts: Sequence[Sequence[T]]) -> list[tuple[int, Sequence[T]]]:
        """This process's micro-batches of a step, each with its number in the step."""
        return list(enumerate(parts))

    @contextlib.contextmanager
    def computing(self) -> Iterator[None]:
        """What fails in here in one process fails in all of them."""
        yield

    def add_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Replace each gradient by its sum over all processes."""

    def add(self, numbers: Mapping[str, float]) -> dict[str, float]:
        """Sums over all processes, by name."""
        return dict(numbers)

    def settle(self, value: V) -> V:
        """Rank 0's value, where the processes might find different ones: a time, a text."""
        return value

    def start(self, order: object) -> None:
        """Tell the others what to train with this process."""

    def leave(self) -> None:
        """Tell the others that no step follows."""

    def dismiss(self) -> None:
        """Tell the others to end."""


class Together(Alone):
    """The group that torchrun started, seen from one of its processes.

    Every method raises GroupLost where another process has died.

    Raises:
        ConfigError: this machine has fewer GPUs than processes of the group.
    """

    def __init__(self) -> None:
        cuda = torch.cuda.is_available()
        if cuda:
            _take_gpu(int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"]))
        with _noticing():
            dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo")
            self._told = dist.new_group(backend="gloo", timeout=_WAIT)
        self.rank, self.size = dist.get_rank(), dist.get_world_size()

    # --- what rank 0 says --------------------------------------------------------------------

    def turn(self) -> bool:
        """Before each step: rank 0 takes it, the others if they hear so."""
        return self._send(True) if self.rank == 0 else self.receive() is True

    def start(self, order: object) -> None:
        """Tell the others what to train; they `receive` it."""
        self._send(order)

    def leave(self) -> None:
        """Tell the others that no step follows; those that are gone need not hear it."""
        with contextlib.suppress(GroupLost):
            self._send(False)

    def dismiss(self) -> None:
        """Tell the others to end, and forget the group."""
        with contextlib.suppress(GroupLost):
            self._send(None)
            dist.destroy_process_group()

    def receive(self) -> Any:
        """What rank 0 says next: an order, False (no step follows), True (one does) or None."""
        return self._first(None)

    def settle(self, value: V) -> V:
        """See `Alone`."""
        found: V = self._first(value)
        return found

    def _send(self, value: V) -> V:
        if self.rank == 0:
            self._first(value)
        return value

    def _first(self, value: Any) -> Any:
        box = [value]
        with _noticing():
            dist.broadcast_object_list(box, src=0, group=self._told)
        return box[0]

    # --- a step ------------------------------------------------------------------------------

    def share(self, parts: Sequence[Sequence[T]]) -> list[tuple[int, Sequence[T]]]:
        """This process's micro-batches, cut further where one process would have too much."""
        return deal(parts, self.size)[self.rank]

    @contextlib.contextmanager
    def computing(self) -> Iterator[None]:
        """What fails in here in one process fails in all of them, in the same way.

        Memory that runs out is torch.OutOfMemoryError everywhere.  Of other errors, rank 0 raises
        its own as it is, and the first of the others as a TrainingError.
        """
        own = None
        try:
            yield
        except GroupLost:
            raise
        except Exception as error:  # noqa: BLE001 — whatever it is, the others wait for us
            own = error
        told = [problem for problem in self._everyones(_problem(own)) if problem]
        if not told:
            return
        grave = [problem for problem in told if problem != _NO_MEMORY]
        if not grave:
            raise own or torch.OutOfMemoryError("allocate memory: another process could not")
        if own is not None and self.rank == 0 and _problem(own) != _NO_MEMORY:
            raise own
        code, text = grave[0]
        raise TrainingError(f"in one of {self.size} processes: {text}", code=code) from own

    def add_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """See `Alone`.  A parameter for which no process has a gradient gets none."""
        held = list(parameters)
        counts = torch.tensor([float(p.grad is not None) for p in held], device=held[0].device)
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in held]
        flat = torch.cat([counts, *(gradient.float().flatten() for gradient in gradients)])
        with _noticing():
            dist.all_reduce(flat)
        counts, *sums = torch.split(flat, [len(held), *(p.numel() for p in held)])
        for parameter, count, total in zip(held, counts.tolist(), sums, strict=True):
            parameter.grad = total.view_as(parameter).to(parameter.dtype) if count else None

    def add(self, numbers: Mapping[str, float]) -> dict[str, float]:
        """See `Alone`.  A name that only some processes know counts 0 in the others."""
        sums = Counter[str]()
        for found in self._everyones(dict(numbers)):
            for name, number in found.items():
                sums[name] += number  # type: ignore[assignment]  # numbers, as in the loop
        return dict(sums)

    def _everyones(self, value: V) -> list[V]:
        found: list[Any] = [None] * self.size
        with _noticing():
            dist.all_gather_object(found, value, group=self._told)
        return found


def deal(parts: Sequence[Sequence[T]], size: int) -> list[list[tuple[int, Sequence[T]]]]:
    """Micro-batches for `size` processes, the largest first to whoever has least.

    Parts are halved until no process has more than `FAIR` times its share, or a single example is
    what it has too much.  A half never needs more memory than the whole did.
    """
    cut = [list(part) for part in parts]
    while True:
        hands = _hands(cut, size)
        heavy = max(hands, key=lambda hand: sum(_cost(cut[number]) for number in hand))
        fair = FAIR * sum(map(_cost, cut)) / size
        number = max((n for n in heavy if len(cut[n]) > 1), key=lambda n: _cost(cut[n]), default=-1)
        if number < 0 or sum(_cost(cut[n]) for n in heavy) <= fair:
            return [[(number, cut[number]) for number in sorted(hand)] for hand in hands]
        cut[number : number + 1] = [cut[number][::2], cut[number][1::2]]


def _hands(parts: Sequence[Sequence[_Sized]], size: int) -> list[list[int]]:
    hands: list[list[int]] = [[] for _ in range(size)]
    loads = [0] * size
    for number in sorted(range(len(parts)), key=lambda n: (-_cost(parts[n]), n)):
        least = loads.index(min(loads))
        hands[least].append(number)
        loads[least] += _cost(parts[number])
    return hands


def _cost(part: Sequence[_Sized]) -> int:
    return sum(item.size for item in part)


_NO_MEMORY = ("out_of_memory", "")


def _problem(error: Exception | None) -> tuple[str, str] | None:
    """What to tell the others of an error: a code and a line."""
    if error is None:
        return None
    if guards.is_no_memory(error):
        return _NO_MEMORY
    text = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
    return getattr(error, "code", None) or "internal_error", text


@contextlib.contextmanager
def _noticing() -> Iterator[None]:
    """Turn torch's word for a process that is gone into ours."""
    try:
        yield
    except (RuntimeError, ValueError) as error:  # gloo raises the first, the agent's store either
        raise GroupLost(str(error).splitlines()[0][:300]) from None


def _take_gpu(rank: int, processes: int) -> None:
    here = torch.cuda.device_count()
    if processes > here:
        raise ConfigError(
            f"{processes} processes want a GPU each, and this machine has {here}",
            hint="Set FTJOBS_PROCESSES to auto.",
        )
    torch.cuda.set_device(rank)
