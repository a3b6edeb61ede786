"""One batch for all who ask one engine now, from any number of threads.

Requests come in while others are written, and each of them takes its own pieces.  A thread writes
as long as there is something to write; it is no daemon, which would be killed within a step, but
ends with the program: after the main thread's end it writes only for threads that live on.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from queue import SimpleQueue

from ftjobs.backends.local.answers.asked import Asked
from ftjobs.backends.local.answers.batch import MAX_ROWS, Batch
from ftjobs.backends.local.answers.engine import Engine, Question
from ftjobs.errors import ServiceError
from ftjobs.schema import Delta


class Order(Asked):
    """A request whose pieces are taken while they are written."""

    def __init__(self, question: Question, *, whole: bool) -> None:
        super().__init__(0, question, whole=whole)
        self.new_rows = self.rows()
        self.taker = threading.current_thread()
        self._pieces: SimpleQueue[Delta | Exception | None] = SimpleQueue()

    def say(self, deltas: Iterable[Delta]) -> None:
        """Hand on the next pieces; the very last one carries the usage."""
        for delta in deltas:
            is_last = delta.finish_reason is not None and self.finished
            usage = self.question.usage(self.writers) if is_last else None
            self._pieces.put(delta.model_copy(update={"usage": usage}) if usage else delta)

    def end(self, error: Exception | None = None) -> None:
        """Nothing more comes, because of an error or because all is written."""
        self._pieces.put(error)

    def take(self) -> Delta | None:
        """Wait for the next piece; None at the end.  Raises what `end` was told."""
        self.taker = threading.current_thread()
        piece = self._pieces.get()
        if isinstance(piece, Exception):
            raise piece
        return piece

    @property
    def is_awaited(self) -> bool:
        """Whether somebody may still take its pieces, after the main thread's end."""
        return self.taker.is_alive() and not self.taker.daemon


class SharedBatch:
    """Takes requests to one engine.  See `Batch` for the limits.

    Only what `Engine.joins` allows may be asked here.  `rest` is called after each step, with the
    seconds that it took.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        max_rows: int = MAX_ROWS,
        budget: int | None = None,
        rest: Callable[[float], None] = lambda _worked: None,
    ) -> None:
        self.engine, self.max_rows, self.budget, self._rest = engine, max_rows, budget, rest
        self._lock = threading.Lock()
        self._open: set[Order] = set()
        self._new: list[Order] = []
        self._gone: list[Order] = []
        self._thread: threading.Thread | None = None

    def say(self, question: Question, *, whole: bool = False) -> Iterator[Delta]:
        """As `Engine.say`.  Closing the iterator takes the request out before the next step.

        Raises:
            ValueError: NaN in the weights, or a form that cannot be written.
            ModelError: the adapter is damaged or gone.
            ServiceError: the model stopped.
        """
        order = Order(question, whole=whole)
        self._put(order)
        try:
            while (piece := order.take()) is not None:
                yield piece
        finally:
            self._withdraw(order)

    def close(self) -> None:
        """End all that is being written, and wait for the thread."""
        with self._lock:
            self._end(list(self._open), ServiceError("the backend was closed"))
            thread = self._thread
        if thread:
            thread.join()

    # --- those who ask -----------------------------------------------------------------------

    def _put(self, order: Order) -> None:
        with self._lock:
            self._open.add(order)
            self._new.append(order)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, daemon=False)
                try:
                    self._thread.start()
                except RuntimeError as error:  # no more threads, or the program is ending
                    self._open, self._new, self._thread = set(), [], None
                    raise ServiceError(str(error)) from None

    def _withdraw(self, order: Order) -> None:
        with self._lock:
            if order in self._open:
                self._open.remove(order)
                self._gone.append(order)

    def _end(self, orders: Iterable[Order], error: ServiceError) -> None:
        """Tell those who ask that there will be no answer.  The lock is held."""
        for order in orders:
            self._open.discard(order)
            self._gone.append(order)
            # Each its own: one that is raised in several threads would mix their tracebacks.
            own = ServiceError(error.message)
            own.__cause__ = error.__cause__
            order.end(own)

    # --- the thread --------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            # Nobody waits for a share of the rows to be free: there may be no other who asks.
            batch = Batch(
                self.engine, max_rows=self.max_rows, budget=self.budget, share=self.max_rows
            )
            with contextlib.closing(batch):
                while self._goes_on(batch):
                    began = time.monotonic()
                    for asked, error in batch.turn():
                        self._finish(asked, error)
                    self._rest(time.monotonic() - began)
        except BaseException as error:  # noqa: BLE001 - whoever waits must know
            self._break(error)

    def _goes_on(self, batch: Batch) -> bool:
        """Take in who has come and out who has gone; False, and no thread, if none is left."""
        with self._lock:
            if not threading.main_thread().is_alive():
                left = [order for order in self._open if not order.is_awaited]
                self._end(left, ServiceError("the program is ending"))
            gone, self._gone = self._gone, []
            new, self._new = self._new, []
            for order in new:
                batch.add(order.new_rows if order in self._open else ())
            for order in gone:
                batch.drop(order)
            if not self._open:
                self._thread = None
            return bool(self._open)

    def _finish(self, asked: Asked, error: Exception | None) -> None:
        assert isinstance(asked, Order)  # noqa: S101 - nothing else was added
        with self._lock:
            self._open.discard(asked)
        asked.end(error)

    def _break(self, error: BaseException) -> None:
        first = str(error).strip().partition("\n")[0] or type(error).__name__
        stopped = ServiceError(f"the model stopped: {first}")
        stopped.__cause__ = error
        with self._lock:
            self._end(list(self._open), stopped)
            self._new, self._gone, self._thread = [], [], None
