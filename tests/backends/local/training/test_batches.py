"""Batches are pure functions: complete, without repeats, and the same for ever."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.backends.local.training import batches


@given(st.integers(1, 300), st.integers(0, 2**31), st.integers(1, 50))
def test_order_is_a_permutation(count: int, seed: int, epoch: int) -> None:
    assert sorted(batches.order(count, seed=seed, epoch=epoch)) == list(range(count))


def test_order_never_changes() -> None:
    # Resuming a job after an upgrade of Python or ftjobs depends on these very numbers.
    assert batches.order(8, seed=42, epoch=1) == (4, 7, 0, 3, 2, 6, 1, 5)
    assert batches.order(8, seed=42, epoch=2) != batches.order(8, seed=42, epoch=1)


@given(st.integers(1, 60), st.integers(1, 20), st.integers(0, 99), st.integers(1, 4))
def test_every_epoch_sees_every_example_once(
    count: int, batch_size: int, seed: int, epochs: int
) -> None:
    per_epoch = batches.steps_per_epoch(count, batch_size)
    for epoch in range(1, epochs + 1):
        seen: list[int] = []
        for number in range((epoch - 1) * per_epoch + 1, epoch * per_epoch + 1):
            of, chosen = batches.step(count, batch_size=batch_size, seed=seed, number=number)
            assert of == epoch
            assert 1 <= len(chosen) <= batch_size
            seen += chosen
        assert sorted(seen) == list(range(count))


@given(st.lists(st.integers(1, 2000), min_size=1, max_size=60), st.integers(1, 3000))
def test_micro_batches_hold_everything_once_within_the_budget(
    lengths: list[int], budget: int
) -> None:
    groups = batches.micro_batches(lengths, budget=budget)
    assert sorted(position for group in groups for position in group) == list(range(len(lengths)))
    for group in groups:
        longest = max(lengths[position] for position in group)
        assert len(group) == 1 or longest * len(group) <= budget
    assert max(lengths) == lengths[groups[0][0]]  # the worst comes first


@given(st.integers(2, 200), st.floats(0.01, 0.99), st.integers(0, 9))
def test_split_is_disjoint_and_complete(count: int, fraction: float, seed: int) -> None:
    train, held = batches.split(count, fraction=fraction, seed=seed)
    assert train
    assert held
    assert sorted(train + held) == list(range(count))


def test_split_of_one_example_is_refused() -> None:
    with pytest.raises(ValueError, match="two examples"):
        batches.split(1, fraction=0.5, seed=1)
