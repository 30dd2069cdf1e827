"""Batches without end, and a place in the data to come back to."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    DistributedSampler,
    RandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

import torchslim as slim
from torchslim.checkpoints import load_checkpoint, pack, rng_state, save, set_rng_state
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
    assert (resumed.epoch, resumed.position) == (straight.epoch, straight.position)


def test_data_that_has_become_shorter() -> None:
    feed = Feed([1, 2, 3])
    taken_three = [next(feed) for _ in range(3)]
    assert len(taken_three) == 3
    with pytest.raises(ValueError, match="after 3 batches of a pass, but a pass gives only 2 now"):
        Feed([1, 2]).load_state_dict(feed.state_dict())


# Data with random generators of its own.


class Drawing(Dataset[Any]):
    """Its items are drawn from a generator that it has."""

    def __init__(self, generator: Any) -> None:
        self.generator = generator

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> Any:
        draw = getattr(self.generator, "random", None) or self.generator.random_sample
        return index, draw()


class Passes:
    """No loader at all: an iterable with a generator."""

    def __init__(self) -> None:
        self.generator = random.Random(1)

    def __iter__(self) -> Iterator[Any]:
        return iter([torch.tensor(self.generator.random()) for _ in range(3)])


OWN_GENERATORS = {
    "of the loader": lambda: DataLoader(NUMBERS, 4, shuffle=True, generator=torch.Generator().manual_seed(1)),
    "of a sampler": lambda: DataLoader(
        NUMBERS, 4, sampler=WeightedRandomSampler([1.0] * 10, 10, generator=torch.Generator().manual_seed(1))
    ),
    "of a batch sampler": lambda: DataLoader(
        NUMBERS,
        batch_sampler=BatchSampler(RandomSampler(NUMBERS, generator=torch.Generator().manual_seed(1)), 4, False),
    ),
    "of NumPy": lambda: DataLoader(Drawing(np.random.default_rng(1)), 4),
    "of NumPy, the old kind": lambda: DataLoader(Drawing(np.random.RandomState(1)), 4),
    "of NumPy, Philox": lambda: DataLoader(Drawing(np.random.Generator(np.random.Philox(1))), 4),
    "of Python": lambda: DataLoader(Drawing(random.Random(1)), 4, shuffle=True),
    "of an iterable": Passes,
}


@pytest.mark.parametrize("done", [0, 1, 3, 4, 8])
@pytest.mark.parametrize("make", OWN_GENERATORS.values(), ids=OWN_GENERATORS.keys())
def test_data_with_generators_of_its_own_goes_on(make: Callable[[], Any], done: int, tmp_path: Path) -> None:
    straight = Feed(make())
    taken(straight, done)
    save(tmp_path / "a.safetensors", *pack({"feed": straight.state_dict(), "rng": rng_state()}))
    expected = taken(straight, 9)
    torch.manual_seed(77)
    state = load_checkpoint(tmp_path / "a.safetensors")
    resumed = Feed(make())
    resumed.load_state_dict(state["feed"])
    set_rng_state(state["rng"])
    assert taken(resumed, 9) == expected
    assert (resumed.epoch, resumed.position) == (straight.epoch, straight.position)


def test_going_back_leaves_the_random_state_outside_alone() -> None:
    straight = Feed(DataLoader(NUMBERS, batch_size=4, shuffle=True))
    taken(straight, 5)
    resumed = Feed(DataLoader(NUMBERS, batch_size=4, shuffle=True))
    torch.manual_seed(6)
    expected = torch.rand(3)
    torch.manual_seed(6)
    resumed.load_state_dict(straight.state_dict())
    assert torch.rand(3).equal(expected)


def test_another_number_of_generators_is_told(caplog: pytest.LogCaptureFixture) -> None:
    straight = Feed(DataLoader(NUMBERS, batch_size=4, shuffle=True, generator=torch.Generator()))
    taken(straight, 2)
    Feed(DataLoader(NUMBERS, batch_size=4, shuffle=True)).load_state_dict(straight.state_dict())
    assert "other loaders or random generators than when the checkpoint was written" in caplog.text


def test_workers_that_outlive_a_pass_are_told_of(caplog: pytest.LogCaptureFixture) -> None:
    def new() -> Feed:
        return Feed(DataLoader(NUMBERS, batch_size=5, num_workers=1, persistent_workers=True))

    straight = new()
    taken(straight, 1)
    new().load_state_dict(straight.state_dict())
    assert "persistent_workers" not in caplog.text  # in the first pass they begin alike
    taken(straight, 2)
    new().load_state_dict(straight.state_dict())
    assert "persistent_workers" in caplog.text


class Placed:
    """As torchdata's loaders: knows its place, has an empty pass behind the end of one, draws when it begins."""

    def __init__(self) -> None:
        self.place, self.passes, self.resumed = 0, 0, False

    def __iter__(self) -> Iterator[Any]:
        torch.rand(())
        self.place, self.resumed = self.place if self.resumed else 0, False
        return self.rest()

    def rest(self) -> Iterator[Any]:
        while self.place < 3:
            self.place += 1
            yield (torch.tensor([10 * self.passes + self.place]),)
        self.passes += 1

    def state_dict(self) -> dict[str, int]:
        return {"place": self.place, "passes": self.passes}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.place, self.passes, self.resumed = state["place"], state["passes"], True


@pytest.mark.parametrize("done", range(1, 8))
@pytest.mark.parametrize("fed", [True, False])
def test_loaders_of_others_that_know_their_place_are_used_as_they_are(done: int, fed: bool) -> None:
    def new() -> Feed:
        with slim.Graph() as graph:
            symbol = slim.placeholder((None,), torch.int64)
            graph.add_feed(Placed(), [symbol])
        return Feed(graph.batches([symbol]) if fed else Placed())

    straight = new()
    taken(straight, done)
    state, rng = straight.state_dict(), rng_state()
    resumed = new()
    resumed.load_state_dict(state)
    ends = []
    for feed in (straight, resumed):
        set_rng_state(rng)
        ends.append((taken(feed, 6), torch.rand(3).tolist(), feed.epoch, feed.position))
    assert ends[0] == ends[1]


@pytest.mark.parametrize("done", [0, 2, 3, 5, 7])
def test_loaders_of_two_kinds_go_on_together(done: int) -> None:
    def new() -> Feed:
        with slim.Graph() as graph:
            (one,) = slim.data.batch(torch.arange(10), 4, shuffle=True, seed=3)
            other = slim.placeholder((None,), torch.int64)
            graph.add_feed(DataLoader(NUMBERS, 4, shuffle=True, generator=torch.Generator()), [other])
        return Feed(graph.batches([one, other]))

    straight = new()
    taken(straight, done)
    state, rng = straight.state_dict(), rng_state()
    expected = taken(straight, 7)
    torch.manual_seed(8)
    resumed = new()
    resumed.load_state_dict(state)
    set_rng_state(rng)
    assert taken(resumed, 7) == expected


def test_samplers_are_told_the_pass() -> None:
    sampler = DistributedSampler(NUMBERS, num_replicas=1, rank=0, seed=5)
    feed = Feed(DataLoader(NUMBERS, batch_size=10, sampler=sampler))
    found = [next(feed)[0].tolist() for _ in range(3)]
    expected = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        expected.append(list(sampler))
    assert found == expected
    assert found[0] != found[1]


@pytest.mark.parametrize(("first", "second"), [("slim", "torch"), ("torch", "slim")])
def test_data_of_another_kind_begins_a_new_pass_and_says_so(
    first: str, second: str, caplog: pytest.LogCaptureFixture
) -> None:
    def new(kind: str) -> Feed:
        return Feed(slim.data.Loader(NUMBERS, 4) if kind == "slim" else DataLoader(NUMBERS, batch_size=4))

    straight = new(first)
    taken(straight, 5)
    resumed = new(second)
    resumed.load_state_dict(straight.state_dict())
    assert "data of another kind" in caplog.text
    assert (resumed.epoch, taken(resumed, 1)) == (1, [[[0, 1, 2, 3]]])
