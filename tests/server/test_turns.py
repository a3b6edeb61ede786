"""Turns: how many answers are written at once, and whose is next."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftjobs.server.refusals import Refusal
from ftjobs.server.turns import Turns


def run(story: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with asyncio.timeout(20):
            await story()

    asyncio.run(whole())


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_no_more_than_so_many_at_once() -> None:
    async def story() -> None:
        turns = Turns(2, 10)
        waiting = [asyncio.create_task(turns.take("p")) for _ in range(5)]
        for done in (2, 3, 4, 5):
            await settle()
            assert [task.done() for task in waiting].count(True) == done
            assert (turns.taken, turns.waiting) == (2, 5 - done)
            turns.release()
        turns.release()
        assert turns.taken == 0

    run(story)


def test_projects_take_turns() -> None:
    async def story() -> None:
        turns, order = Turns(1, 100), []
        await turns.take("busy")

        async def ask(project: str) -> None:
            await turns.take(project)
            order.append(project)
            turns.release()

        tasks = [asyncio.create_task(ask("busy")) for _ in range(20)]
        await settle()
        tasks += [asyncio.create_task(ask(project)) for project in ("new", "other", "new")]
        await settle()
        turns.release()
        await asyncio.gather(*tasks)
        assert order[:6] == ["busy", "new", "other", "busy", "new", "busy"]
        assert Counter(order) == {"busy": 20, "new": 2, "other": 1}

    run(story)


def test_too_many_are_told_when_to_come_again() -> None:
    async def story() -> None:
        turns = Turns(1, 2)
        await turns.take("p")
        waiting = [asyncio.create_task(turns.take("p")) for _ in range(2)]
        await settle()
        with pytest.raises(Refusal, match="too many") as refused:
            await turns.take("p")
        assert (refused.value.status, refused.value.retry_after) == (429, 5.0)
        for task in waiting:
            task.cancel()
        await settle()
        assert turns.waiting == 0

    run(story)


def test_a_project_that_fills_all_places_leaves_them_to_others() -> None:
    async def story() -> None:
        turns = Turns(1, 3)
        await turns.take("busy")
        busy = [asyncio.create_task(turns.take("busy")) for _ in range(3)]
        await settle()
        new = asyncio.create_task(turns.take("new"))
        await settle()
        with pytest.raises(Refusal):
            await busy[2]  # the latest of the longest line
        assert [task.done() for task in (*busy[:2], new)] == [False] * 3
        late = asyncio.create_task(turns.take("new"))
        await settle()
        with pytest.raises(Refusal):  # the lines are as long as each other's, but for one
            await late
        for task in (*busy[:2], new):
            task.cancel()
        await settle()

    run(story)


def test_a_turn_that_comes_in_the_moment_of_leaving_is_the_next_ones() -> None:
    async def story() -> None:
        turns = Turns(1, 5)
        await turns.take("p")
        leaving, staying = (asyncio.create_task(turns.take("p")) for _ in range(2))
        await settle()
        turns.release()
        leaving.cancel()
        await settle()
        assert leaving.cancelled()
        assert staying.done()
        assert not staying.cancelled()
        turns.release()
        assert (turns.taken, turns.waiting) == (0, 0)

    run(story)


Step = st.tuples(st.sampled_from(["ask", "release", "leave"]), st.sampled_from("abc"))


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 3), st.integers(0, 4), st.lists(Step, max_size=40))
def test_turns_are_never_lost_or_given_twice(at_once: int, places: int, steps: list[Any]) -> None:
    async def story() -> None:
        turns = Turns(at_once, places)
        tasks: list[asyncio.Task[None]] = []
        has_turn = 0
        for step, project in steps:
            if step == "ask":
                tasks.append(asyncio.create_task(turns.take(project)))
            elif step == "leave" and (waiting := [t for t in tasks if not t.done()]):
                waiting[0].cancel()
            elif step == "release" and has_turn:
                turns.release()
                has_turn -= 1
            await settle()
            ended = [task for task in tasks if task.done()]
            has_turn += sum(not task.cancelled() and task.exception() is None for task in ended)
            tasks = [task for task in tasks if not task.done()]
            assert has_turn == turns.taken <= at_once
            assert len(tasks) == turns.waiting <= places
            assert not tasks or turns.taken == at_once
        for task in tasks:
            task.cancel()
        await settle()

    run(story)
