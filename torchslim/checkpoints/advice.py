"""What helps when a checkpoint does not fit a model: a prefix that differs, the shortest `exclude`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from torchslim.checkpoints.names import known_names, name_map
from torchslim.checkpoints.readers import StoredTensor
from torchslim.graph import Variable


def propose_names(
    missing: Sequence[Variable], checkpoint: Mapping[str, StoredTensor], *, tf_layout: bool
) -> tuple[str | tuple[str, str], int] | None:
    """What for `names=` finds most of the missing variables, and how many; None if it finds less than half.

    Args:
        missing: the variables.
        checkpoint: what there is.
        tf_layout: the checkpoint is in TensorFlow's layout.
    """
    votes: Counter[str | tuple[str, str]] = _vote_for_prefixes(missing, checkpoint, tf_layout)
    for known in known_names():
        naming = name_map(known, missing)
        for variable in missing:
            shape = variable.tf_shape if tf_layout else variable.shape
            found = [checkpoint[name] for name in naming.candidates(variable) if name in checkpoint]
            votes[known] += any(naming.fits(stored.shape, shape) for stored in found)
    if not votes:
        return None
    best, found_by_it = max(votes.items(), key=lambda vote: (vote[1], -len("".join(vote[0]))))
    return (best, found_by_it) if found_by_it and 2 * found_by_it >= len(missing) else None


def _vote_for_prefixes(
    missing: Sequence[Variable], checkpoint: Mapping[str, StoredTensor], tf_layout: bool
) -> Counter[str | tuple[str, str]]:
    """How many of the missing variables each pair of differing prefixes would find."""
    endings: dict[tuple[str, tuple[int, ...]], list[list[str]]] = {}
    for separator in "/.":
        for name, stored in checkpoint.items():
            path = name.split(separator)
            endings.setdefault((separator + path[-1], stored.shape), []).append(path)
    votes: Counter[str | tuple[str, str]] = Counter()
    for variable in missing:
        shape = variable.tf_shape if tf_layout else variable.shape
        votes.update(
            {
                _differing_prefixes(theirs, ours, separator)
                for separator, ours in (("/", variable.op.name.split("/")), (".", variable.key.split(".")))
                for theirs in endings.get((separator + ours[-1], shape), ())
            }
        )
    return votes


def _differing_prefixes(theirs: Sequence[str], ours: Sequence[str], separator: str) -> tuple[str, str]:
    same = 0
    while same < min(len(theirs), len(ours)) and theirs[-1 - same] == ours[-1 - same]:
        same += 1
    return separator.join(theirs[: len(theirs) - same]), separator.join(ours[: len(ours) - same])


def shortest_exclude(bad: Iterable[str], good: Iterable[str]) -> list[str]:
    """The fewest scopes that hold all of the `bad` variables and none of the `good`; empty if none is good.

    Example:
        >>> shortest_exclude(['net/fc8/weights', 'net/fc8/biases'], ['net/fc7/weights'])
        ['net/fc8']
        >>> shortest_exclude(['net/fc8/weights'], ['net/fc8/biases'])
        ['net/fc8/weights']
    """
    kept = {scope for name in good for scope in _scopes(name)}
    if not kept:
        return []
    return list(dict.fromkeys(next((s for s in _scopes(name) if s not in kept), name) for name in bad))


def _scopes(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[: i + 1]) for i in range(len(parts))]
