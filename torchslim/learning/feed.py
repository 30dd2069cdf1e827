"""The batches of a training: pass after pass over the data, with a place to come back to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torchslim.checkpoints import rng_state, set_rng_state


class Feed:
    """Batches without end.

    Attributes:
        epoch: how many passes over the data are complete.
        position: how many batches of this pass were taken.

    Example:
        >>> feed = Feed([1, 2])
        >>> [next(feed) for _ in range(3)], feed.epoch, feed.position
        ([(1,), (2,), (1,)], 1, 1)
    """

    def __init__(self, batches: Iterable[Any]) -> None:
        self._batches = batches
        self._iterator: Iterator[Any] | None = None
        self._rng_at_start: dict[str, Any] = {}
        self.epoch = 0
        self.position = 0

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return self

    def __next__(self) -> tuple[Any, ...]:
        """The next batch, as the arguments of a loss function.

        Raises:
            ValueError: if a pass gives nothing.
        """
        if self._iterator is None:
            self._start_pass()
        try:
            batch = next(self._iterator)  # type: ignore[arg-type]
        except StopIteration:
            if self.position == 0:
                raise self._empty() from None
            self.epoch, self.position, self._iterator = self.epoch + 1, 0, None
            return self.__next__()
        self.position += 1
        return tuple(batch) if isinstance(batch, list | tuple) else (batch,)

    def state_dict(self) -> dict[str, Any]:
        """Where it is: what the loaders say or, if they say nothing, the random state that the pass started from."""
        place = {"epoch": self.epoch, "position": self.position}
        loaders = _stateful_loaders(self._batches)
        return {
            **place,
            "loaders": [loader.state_dict() for loader in loaders],
            "rng_at_start": {} if loaders else self._rng_at_start,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes to where `state_dict` was taken. Data that cannot go there by itself is read again, up to that place.

        Raises:
            ValueError: if the data has become shorter than that.
        """
        self.epoch, self.position = state["epoch"], 0
        loaders = _stateful_loaders(self._batches)
        if loaders and len(loaders) == len(state["loaders"]):
            self.position = state["position"]
            for loader, place in zip(loaders, state["loaders"], strict=True):
                loader.load_state_dict(place)
            return
        if not state["position"]:
            return
        set_rng_state(state["rng_at_start"])
        self._start_pass()
        for _ in range(state["position"]):
            if next(self._iterator, _END) is _END:  # type: ignore[arg-type]
                raise ValueError(
                    f"train: the checkpoint was written after {state['position']} batches of a pass, but a pass gives "
                    f"only {self.position} now. Got other data than before? Train in another `logdir`."
                )
            self.position += 1

    def _start_pass(self) -> None:
        self._rng_at_start = rng_state()
        self._iterator = iter(self._batches)

    def _empty(self) -> ValueError:
        if self.epoch == 0:
            why = "The data set may be empty, or smaller than one batch with `drop_last=True`."
        else:
            why = "A generator can be read only once: give a list, a DataLoader or any other iterable."
        return ValueError(f"train: `batches` must give at least one batch. Got none in pass {self.epoch + 1}. {why}")


def _stateful_loaders(batches: Any) -> list[Any]:
    """What the batches come from, if all of it can say where it is and go there, as `slim.data.Loader` can."""
    loaders = getattr(batches, "loaders", [batches])
    return loaders if all(hasattr(loader, "load_state_dict") for loader in loaders) else []


_END = object()
