"""Batches without end, and a place in the data to come back to."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import torchslim as slim
from torchslim.learning.feed import Feed

NUMBERS = TensorDataset(torch.arange(10))


def taken(feed: Feed, count: int) -> list[Any]:
    return [[field.tolist() for field in next(feed)] for _ in range(count)]


def test_one_pass_after_the_other() -> None:
    feed = Feed(DataLoader(NUMBERS, batch_size=4))
    assert taken(feed, 4) == [[[0, 1, 2, 3]], [[4, 5, 6, 7]], [[8, 9]], [[0, 1, 2, 3]]]
    assert (feed.epoch, feed.position) == (1, 1)


@pytest.mark.parametrize(
    ("batch", "expected"), [((1, 2), (1, 2)), ([1, 2], (1, 2)), ({"x": 1}, ({"x": 1},)), (3, (3,))]
)
def test_a_batch_becomes_the_arguments_of_the_loss(batch: Any, expected: tuple[Any, ...]) -> None:
    assert next(Feed([batch])) == expected


def test_nothing_to_give() -> None:
    with pytest.raises(ValueError, match=r"Got none in pass 1\. The data set may be empty"):
        next(Feed([]))
    once = Feed(iter([1]))
    next(once)
    with pytest.raises(ValueError, match=r"Got none in pass 2\. A generator can be read only once"):
        next(once)


@pytest.mark.parametrize("done", range(8))
def test_a_shuffled_loader_goes_on_in_its_order(done: int) -> None:
    torch.manual_seed(5)
    straight = Feed(DataLoader(NUMBERS, batch_size=4, shuffle=True))
    taken(straight, done)
    state, rng = straight.state_dict(), torch.get_rng_state()
    expected = taken(straight, 6)
    torch.manual_seed(77)
    resumed = Feed(DataLoader(NUMBERS, batch_size=4, shuffle=True))
    resumed.load_state_dict(state)
    torch.set_rng_state(rng)
    assert (resumed.epoch, resumed.position) == (state["epoch"], state["position"])
    assert taken(resumed, 6) == expected


@pytest.mark.parametrize("done", range(8))
def test_loaders_that_know_their_place_are_not_read_again(done: int) -> None:
    read: list[int] = []

    class Reads(list[int]):
        def __getitem__(self, index: Any) -> Any:
            read.append(index)
            return index

    def feed() -> Feed:
        with slim.Graph() as graph:
            (symbol,) = slim.data.batch(Reads(range(10)), 4, shuffle=True, seed=3)
        return Feed(graph.batches([symbol]))

    straight = feed()
    taken(straight, done)
    state = straight.state_dict()
    expected = taken(straight, 6)
    resumed = feed()
    read.clear()
    resumed.load_state_dict(state)
    assert read == []
    assert taken(resumed, 6) == expected


def test_data_that_has_become_shorter() -> None:
    feed = Feed([1, 2, 3])
    taken_three = [next(feed) for _ in range(3)]
    assert len(taken_three) == 3
    with pytest.raises(ValueError, match="after 3 batches of a pass, but a pass gives only 2 now"):
        Feed([1, 2]).load_state_dict(feed.state_dict())
