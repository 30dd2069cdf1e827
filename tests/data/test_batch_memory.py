"""Memory of batches: used again, and never while anybody has a batch in it."""

from __future__ import annotations

import gc
import itertools
import os
import pickle
import random
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from torchslim.data import DataError, Loader
from torchslim.data.batch_memory import BatchMemory
from torchslim.data.items import Field


class Squares(Dataset):
    """Items `(4 x 4 values that are index squared, index)`; asked for item `fails`, an error."""

    def __init__(self, size: int, fails: int = -1):
        self.size, self.fails = size, fails

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int):
        if index == self.fails:
            raise ValueError("no such square")
        return torch.full((4, 4), float(index**2)), index


def assert_squares(squares: torch.Tensor, index: torch.Tensor) -> None:
    assert torch.equal(squares, index.float()[:, None, None].expand(-1, 4, 4) ** 2)


def addresses(loader, passes: int = 1) -> set[int]:
    return {batch[0].data_ptr() for _ in range(passes) for batch in loader}


WAYS_TO_KEEP = {
    "the tensor": lambda squares: squares,
    "a part of it": lambda squares: squares[1:, :2],
    "an array": lambda squares: squares.numpy()[:1],
    "a view in another type": lambda squares: squares.view(torch.int32),
    "what a gradient needs": lambda squares: squares * nn.Parameter(torch.ones(())),
}


@pytest.mark.parametrize("num_workers", [0, 1, 2])
@pytest.mark.parametrize("keep", WAYS_TO_KEEP.values(), ids=WAYS_TO_KEEP)
def test_what_somebody_keeps_is_never_written_to(keep, num_workers):
    choose, kept = random.Random(num_workers), []
    loader = Loader(Squares(36), 3, num_workers=num_workers, shuffle=True, seed=0)
    for number, (squares, index) in enumerate(itertools.chain(loader, loader, loader)):
        assert_squares(squares, index)
        value = keep(squares)
        kept.append((value, torch.as_tensor(value).clone(), value.grad_fn if hasattr(value, "grad_fn") else None))
        del squares, value
        while len(kept) > choose.randrange(12) or (number == 35 and kept):
            value, copy, node = kept.pop(choose.randrange(len(kept)))
            assert torch.equal(torch.as_tensor(value), copy)
            if node is not None:  # the batch is the gradient of the factor
                value.sum().backward()
                assert node.next_functions[1][0].variable.grad == copy.sum()
            del value, node
    assert number == 35


@pytest.mark.parametrize("num_workers", [0, 2])
def test_memory_is_used_again_in_all_passes(num_workers):
    loader = Loader(Squares(60), 3, num_workers=num_workers)
    first = addresses(loader)
    assert len(first) <= max(num_workers, 1) * 6
    assert len(first | addresses(loader, 3)) <= max(num_workers, 1) * 6


@pytest.mark.parametrize("num_workers", [0, 2])
def test_all_batches_may_be_kept(num_workers):
    batches = [batch for _ in range(2) for batch in Loader(Squares(62), 2, num_workers=num_workers)]
    assert len({batch[0].data_ptr() for batch in batches}) == len(batches) == 62
    for batch in batches:
        assert_squares(*batch)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_one_field_that_is_kept_does_not_keep_the_others(num_workers):
    loader, labels, pictures = Loader(Squares(120), 2, num_workers=num_workers), [], set()
    for squares, index in loader:
        labels.append(index)
        pictures.add(squares.storage_offset() + squares.untyped_storage().nbytes())
    assert torch.cat(labels).tolist() == list(range(120))
    assert pictures == {2 * 16 * 4}


@pytest.mark.parametrize("num_workers", [0, 2])
def test_passes_that_are_left_give_their_memory_back(num_workers):
    loader, seen = Loader(Squares(60), 3, num_workers=num_workers), set()
    for _ in range(12):
        for squares, index in itertools.islice(loader, 3):
            assert_squares(squares, index)
            seen.add(squares.data_ptr())
    assert len(seen) <= max(num_workers, 1) * 6


@pytest.mark.parametrize("num_workers", [0, 1])
def test_items_that_fail_give_their_memory_back(num_workers):
    loader, seen = Loader(Squares(6, fails=5), 3, num_workers=num_workers), set()
    for _ in range(12):
        batches = iter(loader)
        seen.add(next(batches)[0].data_ptr())
        with pytest.raises(DataError, match="no such square"):
            next(batches)
    assert len(seen) <= 6


def test_workers_that_follow_others_take_their_memory_over_but_not_what_is_in_use():
    loader, kept = Loader(Squares(60), 3, num_workers=1), []
    for seed in range(8):
        loader.load_state_dict({"pass": 0, "items": 0, "seed": seed})  # new workers: they have another seed
        for squares, index in itertools.islice(loader, 3):
            assert_squares(squares, index)
        kept.append((squares, index))
        for one in kept[-4:]:
            assert_squares(*one)
    seen = set()
    for squares, index in loader:  # four places are kept, and the others neither lost nor in the way
        assert_squares(squares, index)
        seen.add(squares.data_ptr())
    for one in kept:
        assert_squares(*one)
    assert seen.isdisjoint(squares.data_ptr() for squares, _ in kept)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_batches_outlive_their_loader(num_workers):
    loader = Loader(Squares(8), 4, num_workers=num_workers)
    batches = list(loader)
    del loader
    gc.collect()
    for batch in batches:
        assert_squares(*batch)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
def test_a_process_that_was_forked_gives_nothing_back():
    memory = BatchMemory([Field((2,), torch.float32)], 1)
    (batch,) = memory.stack([(torch.ones(2),)])
    if not (child := os.fork()):
        del batch
        os._exit(any(memory._use))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    assert any(memory._use)
    del batch
    assert memory.stack([(torch.ones(2),)])[0].shape == (1, 2)
    assert list(memory._memory) == [0]  # the place is not lost


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
@pytest.mark.parametrize("num_workers", [0, 1])
def test_what_a_process_that_was_forked_has_stays_as_it_is(num_workers):
    loader = Loader(Squares(40), 2, num_workers=num_workers)
    squares, index = next(iter(loader))
    expected = squares.clone()
    waiting, done = os.pipe()
    if not (child := os.fork()):
        os.close(done)
        os.read(waiting, 1)  # until the parent has closed the other end
        os._exit(not torch.equal(squares, expected))
    del squares, index
    addresses(loader, 3)
    os.close(done)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    os.close(waiting)


def test_threads_do_not_get_the_same_place():
    class Slow(Squares):
        def __getitem__(self, index: int):
            time.sleep(1e-4)
            return super().__getitem__(index)

    def passes() -> None:
        for _ in range(4):
            for squares, index in loader:
                assert_squares(squares, index)

    loader = Loader(Slow(40), 4)
    with ThreadPoolExecutor(4) as pool:
        for result in [pool.submit(passes) for _ in range(4)]:
            result.result()


def test_a_batch_within_a_batch():
    memory = BatchMemory([Field((1000,), torch.float32)], 2)

    def items():
        yield from one(1.0)
        inner = memory.stack(one(2.0))[0]
        yield from one(3.0)
        assert torch.equal(inner, torch.full((1, 1000), 2.0))

    (outer,) = memory.stack(items())
    assert outer[:, 0].tolist() == [1.0, 3.0]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_fields_of_all_kinds(num_workers):
    strange = torch.arange(6.0).reshape(2, 3).T
    item = (
        torch.tensor(True),
        torch.tensor([1 + 2j]),
        torch.ones(2, dtype=torch.bfloat16),
        torch.zeros(0, 3),
        strange,
        torch.ones(2, requires_grad=True) if num_workers == 0 else torch.ones(2),
        np.float64(0.5),
        7,
    )
    for _ in range(2):
        (batch,) = Loader([item] * 2, 2, num_workers=num_workers)
        for field, value in zip(batch, item, strict=True):
            expected = torch.stack([torch.as_tensor(value).detach()] * 2)
            assert (field.dtype, field.is_contiguous(), field.requires_grad) == (expected.dtype, True, False)
            assert torch.equal(field, expected)


def test_a_batch_may_be_changed():
    loader = Loader(Squares(8), 4)
    for squares, index in itertools.chain(loader, loader):
        assert_squares(squares, index)
        squares.neg_()
        index += 1


@pytest.mark.parametrize("num_workers", [0, 1])
def test_passes_within_inference_mode_and_outside(num_workers):
    loader, factor = Loader(Squares(40), 2, num_workers=num_workers), nn.Parameter(torch.ones(()))
    for is_inference in (True, False, True, False):
        with torch.inference_mode(is_inference):
            for squares, index in loader:
                assert_squares(squares, index)
                if not is_inference:
                    (gradient,) = torch.autograd.grad((squares * factor).sum(), factor)
                    assert gradient == squares.sum()


def test_items_elsewhere_than_in_the_cpus_memory_stay_there():
    batches = list(Loader([(torch.zeros(3, device="meta"), 1)] * 5, 2))
    assert [(pictures.device.type, len(pictures)) for pictures, _ in batches] == 2 * [("meta", 2)] + [("meta", 1)]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_loader_within_a_worker_of_another(num_workers):
    class Inner(Dataset):
        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int):
            return torch.cat([squares for squares, _ in Loader(Squares(index + 1), 2)])[-1]

    squares = torch.cat(list(DataLoader(Inner(), 1, num_workers=num_workers)))
    assert torch.equal(squares[:, 0, 0], torch.tensor([0.0, 1.0, 4.0]))
    squares = torch.cat([batch for (batch,) in Loader(Inner(), 2, num_workers=num_workers)])
    assert torch.equal(squares[:, 0, 0], torch.tensor([0.0, 1.0, 4.0]))


def test_workers_that_are_spawned():
    loader = Loader(Squares(20), 4, num_workers=1, shuffle=True, seed=0)
    loader._loader.multiprocessing_context = "spawn"
    seen = []
    for squares, index in itertools.chain(loader, loader):
        assert_squares(squares, index)
        seen.append(squares.data_ptr())
    assert len(seen) == 10
    assert len(set(seen)) <= 6


def one(value: float = 0.0) -> list[tuple[torch.Tensor]]:
    return [(torch.full((1000,), value),)]


def as_worker() -> BatchMemory:
    """As the one worker of a loader has it, which makes nothing ahead; its user may have four batches."""
    memory = BatchMemory([Field((1000,), torch.float32)], 1, workers=1)
    memory.start(0)
    return memory


def received(sent) -> torch.Tensor:
    return pickle.loads(ForkingPickler.dumps(sent))[0]


def test_what_is_sent_is_small_from_the_second_time_on():
    memory = as_worker()
    first = memory.stack(one())
    received(first)
    again = memory.stack(one())
    assert again.place == first.place
    assert len(pickle.dumps(again)) < 200 < len(pickle.dumps(first))


def test_a_new_worker_has_what_was_sent_to_nobody_and_not_what_was_received():
    memory = as_worker()
    sent = [memory.stack(one(number)) for number in range(4)]
    assert [batch.place for batch in sent] == [0, 1, 2, 3]
    kept = received(sent[0])
    memory.start(0)
    again = [memory.stack(one(9)) for _ in range(3)]
    assert [batch.place for batch in again] == [1, 2, 3]
    assert all(batch.memory is not None for batch in again)  # a new process knows that of none
    assert isinstance(memory.stack(one())[0], torch.Tensor)  # of its own: there is no place
    assert torch.equal(kept, torch.zeros(1, 1000))
    del kept
    assert memory.stack(one()).place == 0


def test_gradients_of_items_stay_with_the_items():
    memory, field = BatchMemory([Field((2,), torch.float32)], 1), torch.ones(2, requires_grad=True)
    memory.stack([(2 * field,)])
    assert not memory._memory[0][0].requires_grad
