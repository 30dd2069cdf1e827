"""Batches made ahead: in worker processes, in threads, and on the device."""

from __future__ import annotations

import logging
import os
import time

import pytest
import torch
from torch.utils.data import Dataset, TensorDataset

import torchslim as slim
from torchslim import queues
from torchslim.data import Loader, StalledError, prefetch_to_device
from torchslim.data.prefetch_queue import prefetch_queue


class Sleeping(Dataset):
    """Item 2 takes its time, or even its process."""

    def __init__(self, dies: bool = False):
        self.dies, self.images = dies, [f"{index}.jpg" for index in range(4)]

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> int:
        if index == 2:
            time.sleep(1.5)
            if self.dies:
                os._exit(3)
        return index


def numbers(size: int = 7) -> TensorDataset:
    return TensorDataset(torch.arange(size), torch.rand(size, 2))


def test_symbols_come_back_and_their_batches_are_made_by_workers():
    labels, points = slim.data.batch(numbers(), 3)
    doubled = labels * 2
    graph = slim.get_default_graph()
    ((loader, _),) = graph.feeds
    expected = [labels.tolist() for labels, _ in loader]
    queue = prefetch_queue([doubled, points], capacity=3, num_threads=2)
    assert queue.dequeue() == [doubled, points]
    assert (loader._loader.num_workers, loader._loader.prefetch_factor) == (2, 2)  # 4 batches ahead: at least 3
    assert [batch[0].tolist() for batch in graph.batches([labels, points])] == expected
    named = prefetch_queue({"labels": labels})
    assert named.dequeue()["labels"] is labels


def test_a_prefetching_loader_goes_on_where_it_stood():
    loader = Loader(numbers(), 2, shuffle=True, seed=4)
    whole = [batch[0].tolist() for batch in loader]
    resumed = Loader(numbers(), 2, shuffle=True, seed=4)
    resumed.prefetch(capacity=8)
    batches = iter(resumed)
    assert [next(batches)[0].tolist(), next(batches)[0].tolist()] == whole[:2]
    state = resumed.state_dict()  # what was given out, not what was made
    later = Loader(numbers(), 2, shuffle=True, seed=9)
    later.load_state_dict(state)
    assert [batch[0].tolist() for batch in later] == whole[2:]


@pytest.mark.parametrize("num_threads", [1, 3])
def test_threads_take_from_any_iterable(num_threads):
    queue = prefetch_queue(iter(range(50)), capacity=4, num_threads=num_threads)
    assert sorted(queue) == list(range(50))


def test_what_cannot_be_prefetched_is_refused():
    with pytest.raises(ValueError, match=r"must come from `slim.data.batch`. Got Symbol\('inputs'"):
        prefetch_queue([slim.placeholder((None, 3))])
    with pytest.raises(ValueError, match=r"must be positive. Got 0 and 1"):
        prefetch_queue([1], capacity=0)
    with pytest.raises(ValueError, match=r"must be positive. Got 8 and 0"):
        prefetch_queue([1], num_threads=0)


def test_workers_that_stall_are_reported():
    loader = Loader(Sleeping(), 1, num_workers=1, timeout=0.5)
    with pytest.raises(StalledError, match=r"no batch of Sleeping .* for 0\.5 s\. Worker 0 at item 2 \(2\.jpg\)\."):
        list(loader)


def test_workers_that_stall_are_waited_for(monkeypatch, caplog):
    monkeypatch.setattr(queues, "_SAY_SO_AFTER", 0.25)
    loader = Loader(Sleeping(), 1, num_workers=2)
    with caplog.at_level(logging.WARNING, "torchslim.queues"):
        for _ in range(2):
            assert [batch[0].item() for batch in loader] == [0, 1, 2, 3]  # nothing is lost, nor twice there
    said = [record.getMessage() for record in caplog.records]
    assert said[0].startswith("data.batch: no batch of Sleeping came from the workers for 0.25 s. Worker ")
    assert said[0].endswith(" at item 2 (2.jpg). Waiting on.")
    assert len(said) <= 6  # in each pass after 0.25, 0.5 and 1 s


def test_a_worker_that_dies_while_it_is_waited_for_is_an_error(monkeypatch):
    monkeypatch.setattr(queues, "_SAY_SO_AFTER", 0.2)
    loader = Loader(Sleeping(dies=True), 1, num_workers=1)
    with pytest.raises(RuntimeError, match=r"worker .*exited unexpectedly"):
        list(loader)


def test_batches_are_padded_behind():
    items = [(torch.full((size, 2), size), size) for size in (1, 3, 2)]
    loader = Loader(items, 2, dynamic_pad=True)
    first, second = (batch[0] for batch in loader)
    assert first[:, :, 0].tolist() == [[1, 0, 0], [3, 3, 3]]
    assert second.shape == (1, 2, 2)
    boxes, sizes = slim.data.batch(items, 3, dynamic_pad=True)
    assert (boxes.shape, sizes.shape) == ((None, None, None), (None,))
    with pytest.raises(slim.data.DataError, match=r"item 1 of list failed. Its field 0 is torch.float32 \[2, 2\]"):
        list(Loader([(torch.zeros(2),), (torch.zeros(2, 2),)], 2, dynamic_pad=True))


def test_on_the_cpu_prefetching_to_the_device_gives_the_same_batches():
    loader = Loader(numbers(), 3)
    batches = prefetch_to_device(loader, "cpu")
    assert len(batches) == 3
    for _ in range(2):
        assert all(torch.equal(a[1], b[1]) for a, b in zip(batches, Loader(loader.dataset, 3), strict=True))
    iterator = iter(batches)
    next(iterator)
    again = prefetch_to_device(Loader(loader.dataset, 3), "cpu")
    again.load_state_dict(batches.state_dict())
    assert [batch[0].tolist() for batch in again] == [[3, 4, 5], [6]]
    assert not hasattr(prefetch_to_device([(torch.zeros(1),)], "cpu"), "load_state_dict")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_the_device_batches_are_ahead_and_the_place_is_that_of_the_step():
    loader = Loader(numbers(), 2, seed=1)
    batches = iter(prefetched := prefetch_to_device(loader, "cuda", depth=2))
    labels, points = next(batches)
    assert labels.is_cuda
    assert points.is_cuda
    assert labels.tolist() == [0, 1]
    rest = Loader(numbers(), 2, seed=1)
    rest.load_state_dict(prefetched.state_dict())
    assert [batch[0].tolist() for batch in rest] == [batch[0].tolist() for batch in batches]


def test_a_depth_of_none_is_refused():
    with pytest.raises(ValueError, match=r"`depth` must be positive. Got 0"):
        prefetch_to_device([], depth=0)
