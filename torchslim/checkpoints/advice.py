"""What helps when a checkpoint does not fit a model: the mistakes that are often made, and the shortest `exclude`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from torchslim.checkpoints.fitting import arrangement
from torchslim.checkpoints.names import known_names, name_map
from torchslim.checkpoints.readers import StoredTensor
from torchslim.checkpoints.report import Mismatch, some
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
            found = [checkpoint[name] for name in naming.candidates(variable) if name in checkpoint]
            votes[known] += any(
                arrangement(variable, stored.shape, tf_layout=tf_layout, dense_as_convolution=True) for stored in found
            )
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


def about_normalization(missing: Sequence[Variable], checkpoint: Mapping[str, StoredTensor]) -> list[str]:
    """Layers with biases in the model and batch normalization in the checkpoint, or the other way round."""
    paths = [name.replace(".", "/") for name in checkpoint]
    normalized = {_layer_of(path, "/BatchNorm/") for path in paths} - {""}
    biased = {_layer_of(f"{path}$", end) for path in paths for end in ("/biases$", "/bias$")} - {""}
    names = [variable.op.name for variable in missing]
    with_biases = [layer for name in names if (layer := _layer_of(f"{name}$", "/biases$")) in normalized]
    with_norms = dict.fromkeys(layer for name in names if (layer := _layer_of(name, "/BatchNorm/")) in biased)
    advice = []
    if with_biases:
        advice.append(
            f"The checkpoint has BatchNorm where the model has biases ({some(with_biases)}): was the net's arg_scope "
            "entered when the model was built, as in `with slim.arg_scope(resnet_arg_scope()):`?"
        )
    if with_norms:
        advice.append(
            f"The checkpoint has biases where the model has BatchNorm ({some(list(with_norms))}): was the model built "
            "in an arg_scope, or with a normalizer_fn, that its weights were not trained with?"
        )
    return advice


def _layer_of(path: str, mark: str) -> str:
    """What stands before `mark`; nothing if that is not there."""
    layer, found, _ = path.partition(mark)
    return layer if found else ""


def about_classes(mismatched: Sequence[Mismatch]) -> list[str]:
    """ImageNet's 1000 classes in the one, and these and a background class in the other."""
    for mismatch in mismatched:
        differing = {pair for pair in zip(mismatch.in_file, mismatch.in_model, strict=False) if pair[0] != pair[1]}
        if len(mismatch.in_file) == len(mismatch.in_model) and differing in ({(1000, 1001)}, {(1001, 1000)}):
            theirs, ours = differing.pop()
            drop = "leave that class out with drop_background=True, " if theirs > ours else ""
            return [
                f"The checkpoint has {theirs} classes and the model {ours}: of 1001, class 0 is the background and the "
                f"others follow. Build the model with num_classes={theirs}, {drop}or leave its logits out."
            ]
    return []


def about_dense(mismatched: Sequence[tuple[Variable, StoredTensor]], *, tf_layout: bool) -> list[str]:
    """Matrices of a flattened image where kernels that cover it are wanted, or the other way round."""
    fitting = [
        variable.op.name
        for variable, stored in mismatched
        if arrangement(variable, stored.shape, tf_layout=tf_layout, dense_as_convolution=True)
    ]
    if not fitting:
        return []
    return [
        f"With dense_as_convolution=True, {len(fitting)} of them fit ({some(fitting)}): the one has a dense layer on "
        "an image where the other has a convolution that covers it."
    ]


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
