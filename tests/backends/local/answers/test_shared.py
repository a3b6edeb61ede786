"""One batch for all who ask now: each answer is the one given alone, and nobody waits in vain."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from ftjobs.backends.local.answers.engine import MAX_ADAPTERS, Engine
from ftjobs.backends.local.answers.shared import SharedBatch
from ftjobs.backends.local.backend import LocalBackend
from ftjobs.errors import InvalidRequestError, ServiceError
from ftjobs.schema import ChatMessage, Delta, Sampling
from tests.backends.local.adapters import save_adapter
from tests.backends.local.answers.asking import GREEDY, Ask, alone, gathered, mixture

LONG = Sampling(temperature=0, max_tokens=150, min_tokens=150)
SECONDS = 60  # that a test waits for what must come


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> list[Path]:
    folder = tmp_path_factory.mktemp("adapters")
    return [save_adapter(folder / str(seed), tiny_model, seed=seed) for seed in range(3)]


@pytest.fixture
def engine(tiny_model: Path) -> Engine:
    return Engine(tiny_model, dtype="float32", device="cpu")


@pytest.fixture
def shared(engine: Engine) -> Iterator[SharedBatch]:
    shared = SharedBatch(engine)
    yield shared
    shared.close()
    assert shared._thread is None
    assert not any(engine._users.values())


class Watch:
    """What an engine computes: the rows of each step.  It can be held before one."""

    def __init__(self, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rows: list[int] = []
        self.columns: list[int] = []
        self.before: Callable[[int], None] = lambda _columns: None
        self._go = threading.Event()
        self._go.set()
        forward = engine.forward

        def watched(ids: torch.Tensor, *rest: Any, **settings: Any) -> torch.Tensor:
            assert self._go.wait(SECONDS)
            self.before(ids.shape[1])
            self.rows.append(len(ids))
            self.columns.append(ids.shape[1])
            return forward(ids, *rest, **settings)

        monkeypatch.setattr(engine, "forward", watched)

    def hold(self) -> None:
        self._go.clear()

    def go_on(self) -> None:
        self._go.set()


@pytest.fixture
def watch(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Watch:
    return Watch(engine, monkeypatch)


def ask(shared: SharedBatch, each: Ask, **settings: Any) -> Any:
    return gathered(each, shared.say(each.question(shared.engine), **settings))


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.001)


def ended(shared: SharedBatch) -> None:
    """Wait until the shared's thread is gone."""
    until(lambda: shared._thread is None)


def test_threads_get_the_answers_given_alone(engine: Engine, adapters: list[Path]) -> None:
    asks = mixture(adapters, 14, seed=1)
    wanted = [alone(engine, each) for each in asks]
    for max_rows, budget in [(64, None), (3, None), (12, 400)]:
        shared = SharedBatch(engine, max_rows=max_rows, budget=budget)
        with ThreadPoolExecutor(14) as pool:
            found = list(pool.map(partial(ask, shared), asks))
        assert found == wanted
        ended(shared)
        assert not any(engine._users.values())


def test_those_who_ask_at_once_share_their_steps(
    engine: Engine, watch: Watch, shared: SharedBatch
) -> None:
    watch.hold()
    with ThreadPoolExecutor(6) as pool:
        found = [pool.submit(ask, shared, Ask(f"{n}")) for n in range(6)]
        until(lambda: len(shared._open) == 6)
        watch.go_on()
    assert all(each.result().reasons == ("length",) for each in found)
    assert max(watch.rows) >= 5  # the first was under way before the others came
    assert len(watch.rows) < 3 * 20


def test_a_lone_request_waits_for_nobody(engine: Engine, watch: Watch, shared: SharedBatch) -> None:
    deltas = list(shared.say(Ask("hello").question(engine)))
    assert watch.rows == [1] * 20
    assert deltas[-1].usage is not None
    assert [delta.usage for delta in deltas[:-1]] == [None] * (len(deltas) - 1)
    ended(shared)
    before = threading.active_count()
    assert ask(shared, Ask("hello")) == alone(engine, Ask("hello"))
    ended(shared)
    until(lambda: threading.active_count() <= before)


def test_one_who_comes_later_is_let_in_at_the_next_step(
    engine: Engine, watch: Watch, shared: SharedBatch
) -> None:
    first = shared.say(Ask("first", LONG).question(engine))
    next(first)
    assert ask(shared, Ask("second")) == alone(engine, Ask("second"))
    assert 2 in watch.rows
    assert next(first).finish_reason is None
    first.close()  # type: ignore[attr-defined]


def test_closing_takes_the_rows_out_at_once(
    engine: Engine, watch: Watch, shared: SharedBatch
) -> None:
    leaving = shared.say(Ask("x", Sampling(temperature=1, n=3, max_tokens=400)).question(engine))
    next(leaving)
    staying = shared.say(Ask("y", LONG).question(engine))
    next(staying)
    watch.hold()
    leaving.close()  # type: ignore[attr-defined]
    del watch.rows[:-1]
    watch.go_on()
    rest = list(staying)
    assert rest[-1].finish_reason == "length"
    assert set(watch.rows[2:]) == {1}  # but for the step that was under way


def test_what_is_left_while_it_waits_is_never_read(engine: Engine, watch: Watch) -> None:
    shared = SharedBatch(engine, max_rows=1)
    two = Sampling(temperature=1, n=2, max_tokens=200, min_tokens=200)
    deltas = shared.say(Ask("y" * 30, two).question(engine))
    next(deltas)
    deltas.close()  # type: ignore[attr-defined]
    ended(shared)
    assert [columns > 1 for columns in watch.columns] == [True] + [False] * (len(watch.rows) - 1)


def test_closing_the_desk_ends_all(engine: Engine) -> None:
    shared = SharedBatch(engine)
    streams = [shared.say(Ask(f"{n}", LONG).question(engine)) for n in range(3)]
    for deltas in streams:
        next(deltas)
    shared.close()
    assert shared._thread is None
    for deltas in streams:
        with pytest.raises(ServiceError, match="closed"):
            list(deltas)


def test_a_failing_request_fails_alone(
    engine: Engine, shared: SharedBatch, adapters: list[Path], tmp_path: Path, tiny_model: Path
) -> None:
    broken = save_adapter(tmp_path / "broken", tiny_model, std=float("nan"))
    gone = save_adapter(tmp_path / "gone", tiny_model)
    questions = [
        Ask(f"{n}", Sampling(temperature=0, n=n % 3 + 1, max_tokens=30), model)
        for n, model in enumerate([None, broken, adapters[0], gone, adapters[1]])
    ]
    asked = [each.question(engine) for each in questions]
    (gone / "adapter_model.safetensors").write_bytes(b"")

    def answer(number: int) -> Any:
        try:
            return gathered(questions[number], shared.say(asked[number]))
        except ValueError as error:
            return str(error)

    with ThreadPoolExecutor(5) as pool:
        found = list(pool.map(answer, range(5)))
    assert found[1] == "its weights give no numbers"
    assert "damaged" in found[3]
    assert [found[n] for n in (0, 2, 4)] == [alone(engine, questions[n]) for n in (0, 2, 4)]


def test_an_error_of_the_engine_reaches_all_who_wait(
    engine: Engine, watch: Watch, shared: SharedBatch
) -> None:
    def fail_later(_columns: int) -> None:
        if len(watch.rows) > 30:
            raise RuntimeError("no memory\nat all")

    watch.before = fail_later
    errors = []
    with ThreadPoolExecutor(8) as pool:
        for found in [pool.submit(ask, shared, Ask(f"{n}", LONG)) for n in range(8)]:
            with pytest.raises(ServiceError, match=r"the model stopped: no memory$") as caught:
                found.result(SECONDS)
            errors.append(caught.value)
    assert len(set(map(id, errors))) == 8
    watch.before = lambda _columns: None
    assert ask(shared, Ask("again")) == alone(engine, Ask("again"))


def test_what_cannot_be_read_fails_without_the_others(
    engine: Engine, watch: Watch, shared: SharedBatch
) -> None:
    def refuse_long(columns: int) -> None:
        if columns > 200:
            raise RuntimeError("not enough memory")

    watch.before = refuse_long
    first = shared.say(Ask("first", LONG).question(engine))
    begun = [next(first)]
    with pytest.raises(RuntimeError, match="not enough memory"):
        ask(shared, Ask("z" * 300, Sampling(n=2)))
    found = gathered(Ask("first", LONG), [*begun, *first])
    assert found == alone(engine, Ask("first", LONG))


def test_who_came_first_comes_in_first(engine: Engine, watch: Watch) -> None:
    """A long prompt that does not fit yet is passed by no shorter one."""
    shared = SharedBatch(engine, budget=420)
    begun: list[str] = []

    def take(name: str, each: Ask) -> None:
        deltas = shared.say(each.question(engine))
        begun.append(name) if next(deltas, None) else None
        list(deltas)

    watch.hold()
    threads = []
    for name, text in [("a", "a"), ("b", "b"), ("long", "x" * 330), ("c", "c"), ("d", "d")]:
        threads.append(threading.Thread(target=take, args=(name, Ask(text))))
        threads[-1].start()
        until(lambda: len(shared._open) == len(threads))
    watch.go_on()
    for thread in threads:
        thread.join(SECONDS)
    assert begun.index("long") < min(begun.index("c"), begun.index("d"))
    assert set(begun[:2]) == {"a", "b"}


def test_more_adapters_than_fit_side_by_side(tmp_path: Path, tiny_model: Path) -> None:
    engine = Engine(tiny_model, dtype="float32", device="cpu")
    folders = [save_adapter(tmp_path / str(n), tiny_model, seed=n) for n in range(MAX_ADAPTERS + 2)]
    asks = [Ask("the same", adapter=folder) for folder in folders]
    shared = SharedBatch(engine)
    with ThreadPoolExecutor(len(asks)) as pool:
        found = list(pool.map(lambda each: ask(shared, each), asks))
    assert len({each.texts for each in found}) == len(folders)
    assert found[0] == alone(engine, asks[0])


def test_pieces_of_several_answers_say_when_each_ends(engine: Engine, shared: SharedBatch) -> None:
    sampling = Sampling(temperature=1, seed=3, n=3, max_tokens=12, stop=("e",))
    deltas: list[Delta] = list(shared.say(Ask("x", sampling).question(engine)))
    for index in range(3):
        own = [delta for delta in deltas if delta.index == index]
        assert [bool(delta.finish_reason) for delta in own] == [False] * (len(own) - 1) + [True]
    assert gathered(Ask("x", sampling), deltas) == alone(engine, Ask("x", sampling))
    assert deltas[-1].usage is not None
    assert sum(delta.usage is not None for delta in deltas) == 1


# --- through the backend, and at the end of a program -------------------------------------------


def test_the_backend_shares_one_batch(backend: LocalBackend, tiny_model: Path) -> None:
    def answer(number: int) -> str:
        messages = (ChatMessage(role="user", content=f"question {number}"),)
        if number % 2:
            return backend.complete(str(tiny_model), messages, sampling=GREEDY).text
        deltas = backend.stream(str(tiny_model), messages, sampling=GREEDY)
        return "".join(delta.content for delta in deltas)

    one_by_one = [answer(number) for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(answer, range(8))) == one_by_one
    assert len(backend._answering._batches) == 1
    backend.close()
    assert answer(0) == one_by_one[0]


def test_a_form_that_cannot_be_written_is_refused(backend: LocalBackend, tiny_model: Path) -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"not": {}}}}
    messages = (ChatMessage(role="user", content="?"),)
    with pytest.raises(InvalidRequestError, match=r'Unimplemented keys: \["not"\]'):
        backend.complete(str(tiny_model), messages, sampling=Sampling(response_format=schema))


PROGRAM = """
    import sys, threading
    from pathlib import Path
    from ftjobs.backends.local.answers.shared import SharedBatch
    from ftjobs.backends.local.answers.engine import Engine
    from ftjobs.schema import Sampling

    engine = Engine(Path(sys.argv[1]), dtype="float32", device="cpu")
    shared = SharedBatch(engine)
    prompt = [{"role": "user", "content": "hello"}]

    def say(tokens):
        sampling = Sampling(temperature=0, max_tokens=tokens)
        return shared.say(engine.question(prompt, sampling))
"""


def run(folder: Path, program: str) -> str:
    text = textwrap.dedent(PROGRAM) + textwrap.dedent(program)
    words = [sys.executable, "-c", text, str(folder)]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=SECONDS, check=True)
    assert not ended.stderr.strip().endswith("Error"), ended.stderr
    return ended.stdout


def test_a_program_ends_though_its_answer_is_not_read_to_the_end(tiny_model: Path) -> None:
    program = """
        # As slow as a large model: to the end it would be minutes.
        forward = engine.forward
        slow = threading.Event()
        engine.forward = lambda *a, **k: (slow.wait(0.5), forward(*a, **k))[1]
        kept = say(450)
        print(next(kept).index, flush=True)
    """
    began = time.monotonic()
    assert run(tiny_model, program) == "0\n"
    assert time.monotonic() - began < SECONDS


def test_threads_that_live_on_get_their_answers(tiny_model: Path) -> None:
    program = """
        main = threading.main_thread()
        def late():
            main.join()
            print(sum(1 for _ in say(20)) > 1, flush=True)
        threading.Thread(target=late).start()
    """
    if sys.version_info >= (3, 12):  # no thread can be started any more
        program = program.replace("main.join()", "deltas = say(20); next(deltas); main.join()")
        program = program.replace("for _ in say(20)", "for _ in deltas")
    assert run(tiny_model, program) == "True\n"
