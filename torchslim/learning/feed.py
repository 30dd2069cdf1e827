"""The batches of a training: pass after pass over the data, with a place to come back to."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torchslim.checkpoints import rng_state, set_rng_state
from torchslim.learning.generators import generator_states, generators_of, set_generator_states

logger = logging.getLogger("torchslim")


class Feed:
    """Batches without end.

    Data that says where it is and can go there (`state_dict`, `load_state_dict`), as `slim.data.Loader` does, is asked.
    Of other data it is remembered what a pass started from: the state of all random generators, those that belong to
    the data included. Reading that pass again then leads to the same place.

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
        self._loaders = list(getattr(batches, "loaders", [batches]))
        self._stateful = [loader for loader in self._loaders if hasattr(loader, "load_state_dict")]
        self._iterator: Iterator[Any] | None = None
        self._start: dict[str, Any] = {}
        self._was_over = False  # whether it came back to the end of a pass
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
            self.epoch, self.position, self._iterator, self._was_over = self.epoch + 1, 0, None, False
            return self.__next__()
        if self._was_over:  # some loaders then go on with the next pass
            self.epoch, self.position, self._was_over = self.epoch + 1, 0, False
        self.position += 1
        return tuple(batch) if isinstance(batch, list | tuple) else (batch,)

    def state_dict(self) -> dict[str, Any]:
        """Where it is: what the data says or, if not all of it says something, what the pass started from."""
        return {
            "epoch": self.epoch,
            "position": self.position,
            "loaders": [loader.state_dict() for loader in self._stateful] if self._knows_its_place() else [],
            "start": self._start,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes to where `state_dict` was taken. Data that cannot go there by itself is read again, up to that place.

        The random state outside of the data stays as it is.

        Raises:
            ValueError: if the data has become shorter than that.
        """
        self.epoch, self.position, self._iterator = state["epoch"], 0, None
        outside = rng_state()
        if self._knows_its_place() and len(state["loaders"]) == len(self._loaders):
            self.position = state["position"]
            self._was_over = self.position == _length(self._batches)
            for loader, place in zip(self._loaders, state["loaders"], strict=True):
                loader.load_state_dict(place)
            if self.position:  # some draw a random number here
                self._start_pass()
        elif state["start"] and not self._knows_its_place():
            self._return_to(state["start"])
            self._skip(state["position"])
        elif state["position"]:
            logger.warning(
                "the checkpoint was written with data of another kind, whose place in a pass means nothing here: "
                "a new pass begins"
            )
        set_rng_state(outside)

    def _start_pass(self) -> None:
        for loader in self._loaders:
            parts = [loader, *(getattr(loader, name, None) for name in ("sampler", "batch_sampler", "dataset"))]
            for part in parts:
                if hasattr(part, "set_epoch"):  # such as a DistributedSampler, which has the same order otherwise
                    part.set_epoch(self.epoch)
        if not self._knows_its_place():
            self._start = {
                "rng": rng_state(),
                "generators": generator_states(generators_of(self._loaders)),
                "loaders": [loader.state_dict() for loader in self._stateful],
            }
        self._iterator = iter(self._batches)

    def _return_to(self, start: Mapping[str, Any]) -> None:
        """Puts all that the data draws from back to where the pass started."""
        set_rng_state(start["rng"])
        generators = generators_of(self._loaders)
        if (len(generators), len(self._stateful)) != (len(start["generators"]), len(start["loaders"])):
            logger.warning(
                "the data has other loaders or random generators than when the checkpoint was written: its order will "
                "be another one"
            )
            return
        set_generator_states(generators, start["generators"])
        for loader, place in zip(self._stateful, start["loaders"], strict=True):
            loader.load_state_dict(place)

    def _skip(self, count: int) -> None:
        """Reads so many batches of a pass, and forgets them."""
        if not count:
            return
        logger.info("reading %d batches again, to go on behind them", count)
        if self.epoch and any(getattr(loader, "persistent_workers", False) for loader in self._loaders):
            logger.warning(
                "workers that outlive a pass (`persistent_workers=True`) go on with other random numbers than before "
                "the interruption; `slim.data.batch`, or workers that end with the pass, would not"
            )
        self._start_pass()
        for _ in range(count):
            if next(self._iterator, _END) is _END:  # type: ignore[arg-type]
                raise ValueError(
                    f"train: the checkpoint was written after {count} batches of a pass, but a pass gives "
                    f"only {self.position} now. Got other data than before? Train in another `logdir`."
                )
            self.position += 1

    def _knows_its_place(self) -> bool:
        return len(self._stateful) == len(self._loaders)

    def _empty(self) -> ValueError:
        if self.epoch == 0:
            why = "The data set may be empty, or smaller than one batch with `drop_last=True`."
        else:
            why = "A generator can be read only once: give a list, a DataLoader or any other iterable."
        return ValueError(f"train: `batches` must give at least one batch. Got none in pass {self.epoch + 1}. {why}")


def _length(batches: Any) -> int | None:
    try:
        return len(batches)
    except TypeError:  # not every iterable knows
        return None


_END = object()
