"""Queues that background threads fill, and `QueueRunners`, which starts these threads and surely stops them.

TF-Slim's queues live in a TensorFlow graph; these hold Python values. What a thread runs into arrives where elements
are taken out, and whoever waits for an element that does not come is told so.
"""

from __future__ import annotations

import contextlib
import logging
import math
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from torchslim.graph import Graph, get_default_graph

__all__ = [
    "FIFOQueue",
    "NestedQueueRunnerError",
    "NestedQueueRunnersError",
    "Patience",
    "QueueClosedError",
    "QueueRunner",
    "QueueRunners",
    "RandomShuffleQueue",
    "StalledError",
]

logger = logging.getLogger(__name__)

_COLLECTION = "queue_runners"
_SAY_SO_AFTER = 30.0  # seconds, and twice as long each time


class QueueClosedError(RuntimeError):
    """The queue is closed: it takes no more elements, and has none left."""


class StalledError(TimeoutError):
    """Nothing came for as long as `timeout` said."""


class Patience:
    """Waiting for one thing: a warning says so after 30 s, again after 60, 120, ..., and an error after `timeout`.

    A file system in the network may well stall for minutes, and a run of a week should not end with that.

    Args:
        timeout: seconds; None: without end.
        what: does not come, and from where.
        describe: says what it waits for.

    Example:
        >>> patience = Patience(45.0, "no batch came")
        >>> patience.passed()
        >>> patience.passed()
        Traceback (most recent call last):
        torchslim.queues.StalledError: no batch came for 45 s. If the source is only slow, give a longer `timeout`, ...
    """

    def __init__(self, timeout: float | None, what: str, describe: Callable[[], str] = lambda: ""):
        self.timeout, self.what, self.describe = timeout, what, describe
        self._waited, self._next = 0.0, _SAY_SO_AFTER

    @property
    def piece(self) -> float:
        """Seconds to wait at a time."""
        if self.timeout is None:
            return _SAY_SO_AFTER
        return self.timeout / max(1, math.ceil(self.timeout / _SAY_SO_AFTER))

    def passed(self) -> None:
        """Says that nothing came for a `piece`; raises a `StalledError` if that was the last one."""
        self._waited += self.piece
        state = f"{self.what} for {self._waited:g} s. {self.describe()}".strip()
        if self.timeout is not None and self._waited >= 0.999 * self.timeout:  # a sum of parts
            raise StalledError(f"{state} If the source is only slow, give a longer `timeout`, or None to wait on.")
        if self._waited >= self._next:
            self._next *= 2
            logger.warning("%s Waiting on.", state)


class NestedQueueRunnersError(RuntimeError):
    """A `QueueRunners` block is inside of another one.

    Example:
        >>> with QueueRunners():
        ...     with QueueRunners():
        ...         pass
        Traceback (most recent call last):
        torchslim.queues.NestedQueueRunnersError: QueueRunners: blocks must not be nested. Got one inside of another...
    """

    def __init__(self) -> None:
        super().__init__(
            "QueueRunners: blocks must not be nested. Got one inside of another: one is enough for all queues."
        )


NestedQueueRunnerError = NestedQueueRunnersError  # TF-Slim's spelling


class FIFOQueue:
    """Elements that threads put in and take out, first in, first out.

    Iterating takes elements out until the queue is closed and empty.

    Args:
        capacity: so many elements at most; `enqueue` waits for room.
        timeout: seconds after which `dequeue` is an error; None: it waits, and says so (see `Patience`).
        name: what errors call it.

    Raises:
        ValueError: if `capacity` is not positive.

    Example:
        >>> queue = FIFOQueue(capacity=2)
        >>> queue.enqueue('a')
        >>> queue.enqueue('b')
        >>> queue.close()
        >>> list(queue)
        ['a', 'b']
    """

    def __init__(self, capacity: int = 32, *, timeout: float | None = None, name: str = "queue"):
        if capacity < 1:
            raise ValueError(f"{type(self).__name__}: `capacity` must be positive. Got {capacity}.")
        self.capacity, self.timeout, self.name = capacity, timeout, name
        self.runner: QueueRunner | None = None
        self.error: BaseException | None = None
        self.is_closed = False
        self._elements: list[Any] = []
        self._changed = threading.Condition()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        try:
            return self.dequeue()
        except QueueClosedError:
            raise StopIteration from None

    def size(self) -> int:
        """How many elements are in it."""
        return len(self._elements)

    def enqueue(self, element: Any) -> None:
        """Puts an element in, when there is room.

        Raises:
            QueueClosedError: if the queue is closed, or is while waiting.
        """
        with self._changed:
            self._changed.wait_for(lambda: self.is_closed or len(self._elements) < self.capacity)
            if self.is_closed:
                raise QueueClosedError(f"enqueue: {self.name} is closed.")
            self._elements.append(element)
            self._changed.notify_all()

    def dequeue(self) -> Any:
        """Takes an element out; starts the threads that fill the queue, if they do not run yet.

        Raises:
            QueueClosedError: if the queue is closed and empty.
            StalledError: if nothing came for `timeout` seconds.
            Exception: what a thread that filled the queue ran into, behind the elements that came before.
        """
        if self.runner is not None:
            self.runner.start()
        describe = self.runner.describe if self.runner else lambda: ""
        patience = Patience(self.timeout, f"dequeue: nothing came from {self.name}", describe)
        with self._changed:
            while not self._changed.wait_for(lambda: self.is_closed or self._has_enough(), patience.piece):
                patience.passed()
            if not self._elements:
                raise self._end()
            element = self._take()
            self._changed.notify_all()
            return element

    def dequeue_up_to(self, number: int) -> list[Any]:
        """Takes that many elements out, or those that are left before the end (at least one); see `dequeue`."""
        elements = [self.dequeue()]
        with contextlib.suppress(QueueClosedError):
            while len(elements) < number:
                elements.append(self.dequeue())
        return elements

    def close(self, error: BaseException | None = None, *, discard: bool = False) -> None:
        """Ends it: what is in it can still be taken out, then comes the end, or `error`.

        Args:
            error: what the ones who take elements out get to see at the end.
            discard: throw away what is in it.
        """
        with self._changed:
            if not self.is_closed:
                self.error = error
            self.is_closed = True
            if discard:
                self._elements.clear()
            self._changed.notify_all()

    def _has_enough(self) -> bool:
        return bool(self._elements)

    def _take(self) -> Any:
        return self._elements.pop(0)

    def _end(self) -> BaseException:
        if self.error is None:
            return QueueClosedError(f"dequeue: {self.name} is closed and empty.")
        if self.runner is not None:
            self.runner.error = None  # it has arrived
        return self.error


class RandomShuffleQueue(FIFOQueue):
    """Elements that threads put in, and take out in a random order.

    Args:
        capacity: so many elements at most.
        min_after_dequeue: so many elements stay in it until it is closed: the more, the better it shuffles.
        seed: of the order; None: another one each time.
        timeout: seconds after which `dequeue` is an error; None: it waits, and says so (see `Patience`).
        name: what errors call it.

    Raises:
        ValueError: if `capacity` is not positive, or not more than `min_after_dequeue`.

    Example:
        >>> queue = RandomShuffleQueue(capacity=8, min_after_dequeue=4, seed=0)
        >>> for number in range(8):
        ...     queue.enqueue(number)
        >>> queue.close()
        >>> sorted(queue)
        [0, 1, 2, 3, 4, 5, 6, 7]
    """

    def __init__(
        self,
        capacity: int,
        min_after_dequeue: int,
        seed: int | None = None,
        *,
        timeout: float | None = None,
        name: str = "queue",
    ):
        super().__init__(capacity, timeout=timeout, name=name)
        if not 0 <= min_after_dequeue < capacity:
            raise ValueError(
                "RandomShuffleQueue: `min_after_dequeue` must be less than `capacity`, and not negative. "
                f"Got {min_after_dequeue} and {capacity}."
            )
        self.min_after_dequeue = min_after_dequeue
        self._random = random.Random(seed)

    def _has_enough(self) -> bool:
        return len(self._elements) > self.min_after_dequeue

    def _take(self) -> Any:
        place = self._random.randrange(len(self._elements))
        self._elements[place], self._elements[-1] = self._elements[-1], self._elements[place]
        return self._elements.pop()


class QueueRunner:
    """Threads that fill a queue. They start when the first element is asked for, or by `QueueRunners`.

    Args:
        queue: what is filled; closed when all producers are at their end, or at the first error.
        producers: called in a thread each; give the elements.
        describe: says what the threads are doing, for those who wait.

    Example:
        >>> queue = FIFOQueue()
        >>> runner = QueueRunner(queue, [lambda: range(3)])
        >>> list(queue)
        [0, 1, 2]
    """

    def __init__(
        self,
        queue: FIFOQueue,
        producers: Sequence[Callable[[], Iterable[Any]]],
        describe: Callable[[], str] = lambda: "",
    ):
        self.queue, self.describe = queue, describe
        self.error: BaseException | None = None  # that has not arrived anywhere yet
        self._producers = tuple(producers)
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._running = len(self._producers)
        queue.runner = self
        get_default_graph().add_to_collection(_COLLECTION, self)

    def start(self) -> None:
        """Starts the threads, once; not those of a queue that is closed."""
        with self._lock:
            if self._threads or self.queue.is_closed:
                return
            self._threads = [
                threading.Thread(target=self._fill, args=[producer], daemon=True, name=f"{self.queue.name}-{number}")
                for number, producer in enumerate(self._producers)
            ]
            for thread in self._threads:
                thread.start()

    def stop(self, grace: float = 120.0) -> list[str]:
        """Closes the queue and waits for the threads.

        Args:
            grace: seconds to wait. A thread that hangs in a read cannot be stopped; it is logged, puts nothing in any
                more, and ends with the process at the latest.

        Returns:
            The names of threads that still run.
        """
        self.queue.close(discard=True)
        end = time.monotonic() + grace
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        alive = [thread.name for thread in self._threads if thread.is_alive()]
        if alive:
            logger.warning("QueueRunner: %s did not stop in %g s. %s", ", ".join(alive), grace, self.describe())
        return alive

    def _fill(self, producer: Callable[[], Iterable[Any]]) -> None:
        try:
            with contextlib.suppress(QueueClosedError):  # stopped
                for element in producer():
                    self.queue.enqueue(element)
        except BaseException as error:
            if not self.queue.is_closed:
                self.error = error
            self.queue.close(error)
        with self._lock:
            self._running -= 1
        if not self._running:
            self.queue.close()


class QueueRunners(contextlib.AbstractContextManager["QueueRunners"]):
    """Starts the threads that fill the queues of a graph; when the block is left, however it is left, they are stopped.

    Args:
        graph: whose queues; default: the current one.
        grace: seconds to wait for the threads at the end.

    Raises:
        NestedQueueRunnersError: if such a block is open already.
        Exception: at the end of the block, what a thread ran into, if nobody has seen it yet.

    TF-Slim: took the session. Blocks of one process must not be nested, as there.

    Example:
        >>> with slim.Graph():
        ...     queue = FIFOQueue(capacity=1)
        ...     runner = QueueRunner(queue, [lambda: range(1000)])
        ...     with QueueRunners():
        ...         queue.dequeue()
        0
        >>> queue.is_closed
        True
    """

    _open = threading.Lock()

    def __init__(self, graph: Graph | None = None, *, grace: float = 120.0):
        self.graph, self.grace = graph or get_default_graph(), grace

    def __enter__(self) -> QueueRunners:
        if not QueueRunners._open.acquire(blocking=False):
            raise NestedQueueRunnersError
        for runner in self._runners():
            runner.start()
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        try:
            runners = self._runners()
            for runner in runners:
                runner.queue.close(discard=True)  # all of them first, so that they end side by side
            for runner in runners:
                runner.stop(self.grace)
        finally:
            QueueRunners._open.release()
        unseen = [runner.error for runner in runners if runner.error is not None]
        if unseen and error is None:
            raise unseen[0]

    def _runners(self) -> list[QueueRunner]:
        return self.graph.get_collection(_COLLECTION)
