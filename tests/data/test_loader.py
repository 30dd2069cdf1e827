"""Batches: what comes out, in which order, and what is said when something goes wrong."""

from __future__ import annotations

import functools
import gc
import os
import pickle
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import distributed, multiprocessing
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset

from torchslim.data import DataError, Loader
from torchslim.datasets import PascalVOC, sample_voc
from torchslim.preprocessing import get_preprocessing


class Numbers(Dataset):
    """Items `(index, a random number of each kind)`."""

    def __init__(self, size: int):
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int):
        return index, torch.rand(2), np.random.rand(2), random.random()


class OddError(Exception):
    """Can be pickled, but not unpickled: it wants two arguments."""

    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")


class Failing(Dataset):
    """Item 3 fails in one way or another."""

    def __init__(self, failure):
        self.failure = failure

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int):
        return self.failure() if index == 3 else (torch.zeros(2), index)


def fail(error):
    raise error


def items_of(loader) -> list[int]:
    return [index for batch in loader for index in batch[0].tolist()]


def test_one_pass_gives_every_item_once_with_the_last_batch_smaller():
    loader = Loader(Numbers(10), 4)
    assert [len(batch[0]) for batch in loader] == [4, 4, 2]
    assert items_of(loader) == list(range(10))
    assert len(loader) == 3


def test_drop_last_leaves_the_smaller_batch_out():
    loader = Loader(Numbers(10), 4, drop_last=True)
    assert [len(batch[0]) for batch in loader] == [4, 4]
    assert len(loader) == 2


def test_fields_become_tensors_with_pytorchs_dtypes():
    item = (torch.zeros(3, dtype=torch.uint8), np.float64(1), np.zeros((2, 1)), 1.5, 7, True)
    loader = Loader([item], 1)
    (batch,) = loader
    assert isinstance(batch, tuple)
    dtypes = [torch.uint8, torch.float64, torch.float64, torch.float32, torch.int64, torch.bool]
    assert [field.dtype for field in batch] == dtypes
    assert [(field.shape, field.dtype) for field in loader.fields] == [(tuple(b.shape[1:]), b.dtype) for b in batch]


def test_items_that_are_a_single_tensor():
    assert [len(batch) for batch in Loader(torch.arange(6.0).reshape(3, 2), 3)] == [1]


def test_shuffling_is_a_new_order_in_every_pass_and_the_same_for_the_same_seed():
    first, again, other = (Loader(Numbers(50), 8, shuffle=True, seed=seed) for seed in (1, 1, 2))
    passes = [items_of(first) for _ in range(3)]
    assert passes == [items_of(again) for _ in range(3)]
    assert passes[0] != passes[1] != passes[2]
    assert passes[0] != items_of(other)
    assert all(sorted(order) == list(range(50)) for order in passes)


def test_without_a_seed_torchs_generator_decides():
    orders = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        orders.append(items_of(Loader(Numbers(50), 50, shuffle=True)))
    assert orders[0] == orders[1] != orders[2]


def all_numbers(num_workers: int) -> list[torch.Tensor]:
    loader = Loader(Numbers(7), 3, num_workers=num_workers, shuffle=True, seed=3)
    batches = [batch for _ in range(2) for batch in loader]
    return [torch.cat([batch[place].double().reshape(-1) for batch in batches]) for place in range(4)]


def test_random_items_do_not_depend_on_the_number_of_workers():
    here, two, again = all_numbers(0), all_numbers(2), all_numbers(0)
    for one, other, third in zip(here, two, again, strict=True):
        assert torch.equal(one, other)
        assert torch.equal(one, third)
    for numbers in here[1:]:
        assert len(numbers.unique()) == len(numbers)  # in no item, nor pass, the same


@pytest.mark.parametrize("num_workers", [0, 1])
def test_another_default_device(num_workers):
    items = [torch.ones(2, device="cpu")] * 4
    with torch.device("meta"):
        batches = list(Loader(items, 2, shuffle=True, num_workers=num_workers))
    assert all(torch.equal(batch, torch.ones(2, 2)) for (batch,) in batches)


def test_random_numbers_outside_are_left_alone():
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    expected = random.random(), np.random.rand(), torch.rand(())
    loader = Loader(Numbers(4), 2, shuffle=True, seed=1)
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    list(loader)
    assert (random.random(), np.random.rand(), torch.rand(())) == expected


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("done", [0, 1, 3, 4])
def test_resumes_where_it_stood(done, num_workers):
    make = functools.partial(Loader, Numbers(11), 3, shuffle=True, seed=4)
    whole = make()
    expected = [batch for _ in range(3) for batch in whole]
    first = make()
    list(first)
    batches = iter(first)
    for _ in range(done):
        next(batches)
    state = first.state_dict() if done else {"pass": 1, "items": 0, "seed": first.state_dict()["seed"]}
    second = make(num_workers=num_workers, seed=9)  # what it continues has another seed
    if done == 1:
        next(iter(second))  # workers may be running already
    second.load_state_dict(state)
    assert second.state_dict() == state
    rest = [*second, *second]
    resumed = expected[4 + done :] if done < 4 else expected[8:]
    for batch, other in zip(resumed, rest, strict=False):
        assert all(torch.equal(a, b) for a, b in zip(batch, other, strict=True))
    assert len(rest) >= len(resumed)


def test_an_abandoned_pass_is_followed_by_a_whole_one():
    loader = Loader(Numbers(10), 2, num_workers=2)
    next(iter(loader))
    assert items_of(loader) == list(range(10))


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize(
    ("failure", "message", "cause"),
    [
        (functools.partial(fail, ValueError("no such thing")), "ValueError: no such thing", ValueError),
        (functools.partial(fail, KeyError("left")), "KeyError: 'left'", KeyError),
        (
            lambda: (torch.zeros(3), 3),
            r"field 0 is torch.float32 \[3\], .* item 0 torch.float32 \[2\]",
            ValueError,
        ),
        (
            lambda: (torch.zeros(2), 3.0),
            r"field 1 is torch.float32 \[\], .* item 0 torch.int64 \[\]",
            ValueError,
        ),
        (lambda: torch.zeros(2), "1 fields, and item 0 has 2", ValueError),
        (lambda: (torch.zeros(2), "cat"), "Got str in it", TypeError),
    ],
)
def test_a_failing_item_is_named_with_its_cause(failure, message, cause, num_workers):
    loader = Loader(Failing(failure), 2, num_workers=num_workers)
    with pytest.raises(DataError, match=rf"item 3 of Failing failed\..*{message}") as raised:
        list(loader)
    assert isinstance(raised.value.__cause__, cause)


def fail_oddly():
    raise OddError("one", "two")


def test_an_error_that_cannot_leave_a_worker_is_still_told():
    with pytest.raises(TypeError, match="second"):
        pickle.loads(pickle.dumps(OddError("one", "two")))
    with pytest.raises(DataError, match=r"item 3 of Failing failed\. OddError: one and two") as raised:
        list(Loader(Failing(fail_oddly), 2, num_workers=1))
    assert "in fail_oddly" in raised.value.__cause__.__notes__[0]  # the worker's traceback


def test_a_worker_that_dies_is_an_error():
    with pytest.raises(RuntimeError, match=r"worker .*exited unexpectedly"):
        list(Loader(Failing(functools.partial(os._exit, 1)), 2, num_workers=1))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_corrupt_photograph_is_named(tmp_path, num_workers):
    transform = functools.partial(get_preprocessing("vgg"), output_height=32, output_width=32, resize_side_min=40)
    voc = PascalVOC(sample_voc.create(tmp_path, num_images=9), "train", transform=transform)
    Path(voc.images[4]).write_bytes(Path(voc.images[4]).read_bytes()[:700])
    with pytest.raises(
        DataError, match=rf"item 4 of PascalVOC\(.*{voc.ids[4]}.jpg' is not a readable picture"
    ) as raised:
        list(Loader(voc, 2, num_workers=num_workers))
    assert isinstance(raised.value.__cause__, DataError)


def test_the_file_is_named_where_only_the_data_set_knows_it(tmp_path):
    voc = PascalVOC(sample_voc.create(tmp_path, num_images=9), "train")  # without a transform sizes differ
    smaller = Subset(voc, [next(i for i in range(6) if voc.image(i).shape != voc.image(5).shape), 5])
    with pytest.raises(
        DataError, match=rf"item 1 \(.*{voc.ids[5]}.jpg\) of Subset failed.*All items of a batch must be alike"
    ):
        list(Loader(smaller, 2))


def test_item_0_is_tried_at_once():
    with pytest.raises(DataError, match=r"item 0 of list failed\. TypeError: .*Got dict in it"):
        Loader([{"image": 1}], 1)


class NoItems(IterableDataset):
    def __iter__(self):
        yield 1


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"dataset": []}, ValueError, "`dataset` is empty: list has no items"),
        ({"dataset": TensorDataset(torch.zeros(0, 3))}, ValueError, "is empty: TensorDataset"),
        ({"dataset": NoItems()}, TypeError, "__len__ and __getitem__. Got NoItems"),
        ({"batch_size": 0}, ValueError, "`batch_size` must be positive. Got 0"),
        ({"batch_size": 11, "drop_last": True}, ValueError, "no batch of `batch_size` 11: Numbers has 10 items"),
        ({"seed": -1}, ValueError, "`seed` must not be negative. Got -1"),
        ({"timeout": 0}, ValueError, "`timeout` must be positive, or None. Got 0"),
    ],
)
def test_bad_arguments_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        Loader(**{"dataset": Numbers(10), "batch_size": 2, **arguments})


def test_processes_share_a_pass(monkeypatch):
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 2)
    parts = []
    for rank in range(2):
        monkeypatch.setattr(distributed, "get_rank", lambda rank=rank: rank)
        torch.manual_seed(rank)  # they agree on the order without a seed
        loader = Loader(Numbers(7), 2, shuffle=True)
        parts.append(items_of(loader))
        assert len(loader) == 2
    assert sorted(parts[0] + parts[1]) == list(range(7))


def as_process(rank, processes, monkeypatch):
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_world_size", lambda: processes)
    monkeypatch.setattr(distributed, "get_rank", lambda: rank)


def test_with_drop_last_all_processes_have_passes_of_the_same_length(monkeypatch):
    sizes = []
    for rank in range(2):
        as_process(rank, 2, monkeypatch)
        loader = Loader(Numbers(7), 2, drop_last=True)
        sizes.append([len(batch[0]) for batch in loader])
        assert len(loader) == len(sizes[-1])
    assert sizes == [[2], [2]]


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1), (2, 3), (4, 2)])
@pytest.mark.parametrize("done", [1, 3])
def test_another_number_of_processes_goes_on_in_the_same_pass(before, after, done, monkeypatch):
    seen, states = [], []
    make = functools.partial(Loader, Numbers(48), 2, shuffle=True, seed=6)
    for rank in range(before):
        as_process(rank, before, monkeypatch)
        loader = make()
        seen += [batch[0].tolist() for _, batch in zip(range(done), loader, strict=False)]
        states.append(loader.state_dict())
    assert states == before * states[:1]
    rest = []
    for rank in range(after):
        as_process(rank, after, monkeypatch)
        loader = make()
        loader.load_state_dict(states[0])
        rest += items_of(loader)
    again = before * done * 2 % (after * 2)  # what does not fill the batches of all
    assert len(rest) == 48 - before * done * 2 + again
    assert sorted({*rest, *(item for batch in seen for item in batch)}) == list(range(48))


def test_workers_end_with_a_loader_that_the_garbage_collector_frees(monkeypatch):
    class Owner:  # in a cycle, as a graph is
        pass

    others = multiprocessing.active_children()
    owner = Owner()
    owner.itself, owner.loader = owner, Loader(Numbers(4), 1, num_workers=1)
    next(iter(owner.loader))
    (worker,) = set(multiprocessing.active_children()) - set(others)
    killed = []
    monkeypatch.setattr(worker, "terminate", lambda: killed.append(worker) or worker.kill())
    del owner
    gc.collect()
    assert not worker.is_alive()
    assert not killed  # it was asked to end; torch kills one that does not listen, after 5 s
