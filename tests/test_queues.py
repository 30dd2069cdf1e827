"""Queues, the threads that fill them, and how these end."""

from __future__ import annotations

import logging
import threading
import time

import pytest

import torchslim as slim
from torchslim import queues
from torchslim.queues import (
    FIFOQueue,
    NestedQueueRunnerError,
    NestedQueueRunnersError,
    Patience,
    QueueClosedError,
    QueueRunner,
    QueueRunners,
    RandomShuffleQueue,
    StalledError,
)


def threads_of(name: str) -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(name)]


def endless():
    number = 0
    while True:
        yield number
        number += 1


def failing():
    yield "first"
    raise KeyError("broken")


def wait_until_closed(queue: FIFOQueue) -> None:
    deadline = time.monotonic() + 10
    while not queue.is_closed and time.monotonic() < deadline:
        time.sleep(0.01)


def test_what_goes_in_first_comes_out_first():
    queue = FIFOQueue(capacity=3)
    for element in "abc":
        queue.enqueue(element)
    assert queue.size() == 3
    queue.close()
    assert queue.dequeue() == "a"
    assert queue.dequeue_up_to(5) == ["b", "c"]
    with pytest.raises(QueueClosedError, match=r"dequeue: queue is closed and empty"):
        queue.dequeue()
    with pytest.raises(QueueClosedError, match=r"enqueue: queue is closed"):
        queue.enqueue("d")


def test_a_full_queue_waits_for_room():
    queue = FIFOQueue(capacity=2, name="narrow")
    QueueRunner(queue, [lambda: range(100)])
    assert queue.dequeue() == 0
    assert queue.size() <= 2
    assert list(queue) == list(range(1, 100))


@pytest.mark.parametrize(("capacity", "least"), [(200, 100), (100, 99), (8, 4), (2, 0)])
def test_shuffling_keeps_all_and_some_back(capacity, least):
    queue = RandomShuffleQueue(capacity, least, seed=1)
    QueueRunner(queue, [lambda: range(100)])
    found = list(queue)
    assert sorted(found) == list(range(100))
    assert found != sorted(found)


def test_shuffling_needs_more_than_it_keeps_back():
    queue = RandomShuffleQueue(8, 4, timeout=0.05)
    for number in range(4):
        queue.enqueue(number)
    with pytest.raises(StalledError, match=r"nothing came from queue for 0\.05 s"):
        queue.dequeue()
    queue.enqueue(4)
    assert queue.dequeue() in range(5)


def test_the_same_seed_gives_the_same_order():
    orders = []
    for _ in range(2):
        queue = RandomShuffleQueue(50, 10, seed=3)
        for number in range(50):
            queue.enqueue(number)
        queue.close()
        orders.append(list(queue))
    assert orders[0] == orders[1]


def test_several_threads_fill_one_queue():
    queue = FIFOQueue(capacity=4)
    QueueRunner(queue, [lambda start=start: range(start, start + 50) for start in (0, 50, 100)])
    assert sorted(queue) == list(range(150))


def test_an_error_arrives_behind_what_came_before():
    queue = FIFOQueue()
    QueueRunner(queue, [failing])
    assert queue.dequeue() == "first"
    for _ in range(2):
        with pytest.raises(KeyError, match=r"broken"):
            queue.dequeue()


def test_a_stalled_source_is_reported_with_what_it_does():
    release = threading.Event()
    queue = FIFOQueue(timeout=0.1, name="slow")
    runner = QueueRunner(queue, [lambda: [release.wait(20)]], lambda: "It reads 'x'.")
    with pytest.raises(StalledError, match=r"nothing came from slow for 0\.1 s\. It reads 'x'\. If the source"):
        queue.dequeue()
    release.set()
    assert queue.dequeue() is True
    assert runner.stop() == []


def test_without_a_timeout_it_waits_and_says_so_less_and_less_often(monkeypatch, caplog):
    monkeypatch.setattr(queues, "_SAY_SO_AFTER", 0.05)
    release = threading.Event()
    queue = FIFOQueue(name="slow")
    QueueRunner(queue, [lambda: [release.wait(20)]], lambda: "It reads 'x'.")
    threading.Timer(0.8, release.set).start()
    with caplog.at_level(logging.WARNING, "torchslim.queues"):
        assert queue.dequeue() is True
    said = [record.getMessage() for record in caplog.records]
    assert said[0] == "dequeue: nothing came from slow for 0.05 s. It reads 'x'. Waiting on."
    assert 2 <= len(said) <= 5  # after 0.05, 0.1, 0.2, 0.4 s, had nothing else run


@pytest.mark.parametrize(
    ("timeout", "pieces", "warnings"), [(None, 64, 7), (10.0, 1, 0), (30.0, 1, 0), (100.0, 4, 2), (0.0, 1, 0)]
)
def test_patience_ends_where_it_should(timeout, pieces, warnings, caplog):
    patience = Patience(timeout, "nothing came", lambda: "It hangs.")
    with caplog.at_level(logging.WARNING, "torchslim.queues"):
        for _ in range(pieces - (timeout is not None)):
            patience.passed()
        if timeout is not None:
            with pytest.raises(StalledError, match=rf"nothing came for {timeout:g} s\. It hangs\. If the source"):
                patience.passed()
    assert len(caplog.records) == warnings


def test_leaving_the_block_stops_the_threads():
    queue = FIFOQueue(capacity=2, name="endless")
    QueueRunner(queue, [endless, endless])
    with QueueRunners():
        assert queue.dequeue() == 0
        assert len(threads_of("endless")) == 2
    assert threads_of("endless") == []
    assert queue.is_closed


def test_an_error_in_the_block_stops_the_threads_too():
    QueueRunner(FIFOQueue(capacity=2, name="endless"), [endless])
    with pytest.raises(ZeroDivisionError, match=r"division"), QueueRunners():
        1 / 0  # noqa: B018 - an error of the user's
    assert threads_of("endless") == []


def test_the_block_starts_the_queues_of_its_graph_only():
    with slim.Graph() as other:
        elsewhere = FIFOQueue(name="elsewhere")
        QueueRunner(elsewhere, [endless])
    here = FIFOQueue(name="here")
    QueueRunner(here, [lambda: "a"])
    with QueueRunners():
        assert here.dequeue() == "a"
        assert threads_of("elsewhere") == []
    with QueueRunners(other):
        assert elsewhere.dequeue() == 0
    assert threads_of("elsewhere") == []


def test_an_error_nobody_saw_ends_the_block():
    queue = FIFOQueue()
    QueueRunner(queue, [failing])
    with pytest.raises(KeyError, match=r"broken"), QueueRunners():
        wait_until_closed(queue)
    with slim.Graph(), QueueRunners():
        QueueRunner(queue := FIFOQueue(), [failing])
        with pytest.raises(KeyError, match=r"broken"):
            list(queue)


def test_blocks_are_not_nested():
    assert NestedQueueRunnerError is NestedQueueRunnersError
    with QueueRunners(), pytest.raises(NestedQueueRunnersError, match=r"must not be nested"), QueueRunners():
        pass
    with QueueRunners():  # and the next one may open
        pass


def test_a_thread_that_hangs_is_named(caplog):
    release = threading.Event()
    queue = FIFOQueue(name="hanging")
    runner = QueueRunner(queue, [lambda: [release.wait(20)]], lambda: "It reads 'x'.")
    runner.start()
    with caplog.at_level(logging.WARNING):
        assert runner.stop(grace=0.05) == ["hanging-0"]
    assert "hanging-0 did not stop in 0.05 s. It reads 'x'." in caplog.text
    release.set()
    assert runner.stop() == []
    assert queue.size() == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FIFOQueue(0), "FIFOQueue: `capacity` must be positive. Got 0"),
        (lambda: RandomShuffleQueue(4, 4), r"less than `capacity`.*Got 4 and 4"),
        (lambda: RandomShuffleQueue(4, -1), "Got -1 and 4"),
    ],
)
def test_impossible_sizes_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
