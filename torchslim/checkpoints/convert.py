"""From one format of checkpoints to another without a model: what only a model could know is refused."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import torch

from torchslim.checkpoints.names import is_average, is_optimizer_slot
from torchslim.checkpoints.opening import open_checkpoint
from torchslim.checkpoints.readers import LAYOUT, Reader, StoredTensor
from torchslim.checkpoints.store import DTYPES, atomic_file, save
from torchslim.checkpoints.tensorflow.writer import write_bundle
from torchslim.variables import did_you_mean
from torchslim.variables.global_step import GLOBAL_STEP

_LAYOUTS = ("torch", "tf")
_NORMALIZATION = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
_NORMALIZED = {theirs: ours for ours, theirs in _NORMALIZATION.items()}
VALUE_OF_OBJECT = "VARIABLE_VALUE"

Turn = Callable[[torch.Tensor], torch.Tensor]
Tensors = dict[str, StoredTensor]


class _Ambiguous(Exception):  # noqa: N818
    """What a tensor is cannot be told from a checkpoint alone."""


def convert(
    source: Any, path: str | os.PathLike[str], names: Mapping[str, str] | None = None, layout: str | None = None
) -> list[str]:
    """Writes the weights of a checkpoint in another format.

    From TensorFlow's layout to PyTorch's, `conv1/weights` becomes `conv1.weight` and so on: the keys of the model's
    `state_dict`. Kernels of convolutions (transposed ones too) and depthwise kernels are turned, and matrices
    transposed. Refused is what only the model knows: a matrix whose rows are not the outputs of another layer of the
    checkpoint, since they may be the pixels of an image, in whose order the layouts differ; and on the way to
    TensorFlow kernels `[N, 1, H, W]`, which may be of one channel or of every channel by itself.

    Args:
        source: what `open_checkpoint` takes.
        path: `.safetensors`, `.pt` or `.pth`; anything else with `.ckpt` in it is the prefix of a TensorFlow
            checkpoint (V2).
        names: scope in the checkpoint -> scope to write instead.
        layout: of the names and kernels in `path`: `'torch'` or `'tf'`; None: as is usual for the format. If it is that
            of the source, nothing is turned or left out. A `.safetensors` file remembers it.

    Returns:
        The names of what was left out: optimizer slots, moving averages, the global step, strings.

    Raises:
        ValueError: if the format or `layout` is not known, a scope is not there, or something is ambiguous.
        CheckpointError: if the source is damaged.
        OSError: if `path` cannot be written.

    Example:
        >>> import tempfile, torch, torchslim as slim
        >>> prefix = f'{tempfile.mkdtemp()}/model.ckpt'
        >>> convert({'conv1.weight': torch.ones(8, 3, 5, 5), 'conv1.bias': torch.ones(8)}, prefix)
        []
        >>> slim.checkpoints.open(prefix).get_variable_to_shape_map()
        {'conv1/biases': [8], 'conv1/weights': [5, 5, 3, 8]}
    """
    path = Path(path)
    usual = "torch" if path.suffix in (".safetensors", ".pt", ".pth") else "tf"
    if usual == "tf" and ".ckpt" not in path.name:
        raise ValueError(
            "convert: `path` must end in .safetensors, .pt or .pth, or be a prefix with .ckpt in it. "
            f"Got {str(path)!r}."
        )
    layout = layout or usual
    if layout not in _LAYOUTS or (layout, usual) == ("torch", "tf"):
        raise ValueError(
            f"convert: `layout` must be one of {_LAYOUTS}, and 'tf' for a TensorFlow checkpoint. Got {layout!r}."
        )
    checkpoint = open_checkpoint(source)
    tensors = _renamed(checkpoint, names or {})
    left_out: list[str] = []
    if layout != checkpoint.layout:
        left_out = [name for name in tensors if _is_no_weight(name, tensors)]
        tensors = _laid_out(checkpoint, {name: s for name, s in tensors.items() if name not in left_out})
    if usual == "torch":
        strings = [name for name, stored in tensors.items() if stored.dtype is bytes]
        left_out += strings
        tensors = {name: stored for name, stored in tensors.items() if name not in strings}
    _write(path, tensors, layout)
    return left_out


def _write(path: Path, tensors: Tensors, layout: str) -> None:
    if path.suffix == ".safetensors":
        for name, stored in tensors.items():
            if stored.dtype not in DTYPES.values():
                raise ValueError(f"convert: .safetensors files have no {stored.dtype}. Got it in {name!r}: use .pt.")
        save(path, {name: stored.read() for name, stored in tensors.items()}, {LAYOUT: layout})
    elif path.suffix in (".pt", ".pth"):
        with atomic_file(path) as file:
            torch.save({name: stored.read().contiguous() for name, stored in tensors.items()}, file)
    else:
        write_bundle(path, tensors)


def _laid_out(checkpoint: Reader, weights: Tensors) -> Tensors:
    """All weights of a checkpoint under the names and in the layout of the other library."""
    rule = _to_torch if checkpoint.layout == "tf" else _to_tf
    try:
        turns = {name: rule(name, weights) for name in weights}
    except _Ambiguous as error:
        raise ValueError(
            f"convert: {error} Only the model knows: slim.restore(model, {checkpoint.name!r}), then "
            "slim.checkpoints.save(path, model.state_dict()) or slim.checkpoints.save_tf(model, prefix). Or keep names "
            f"and kernels as they are: a .safetensors or .pt file with layout={checkpoint.layout!r}."
        ) from error
    return {new: _turned(weights[name], turn) for name, (new, turn) in turns.items()}


def _renamed(checkpoint: Reader, names: Mapping[str, str]) -> Tensors:
    tensors, found = {}, set()
    for name, stored in checkpoint.items():
        fitting = [scope for scope in names if name == scope or name.startswith((f"{scope}/", f"{scope}."))]
        scope = max(fitting, key=len, default="")
        found.update(fitting)
        tensors[(names[scope] + name.removeprefix(scope)).lstrip("/.") if fitting else name] = stored
    if strangers := [scope for scope in names if scope not in found]:
        scopes = {name.rpartition("/" if "/" in name else ".")[0] for name in checkpoint}
        raise ValueError(
            f"convert: `names` must name scopes of {checkpoint.name}. Got {strangers[0]!r}."
            + did_you_mean(strangers[0], sorted(scopes - {""}))
        )
    return tensors


def _is_no_weight(name: str, tensors: Tensors) -> bool:
    return (
        is_optimizer_slot(name, tensors)
        or is_average(name, tensors)
        or name == GLOBAL_STEP
        or name.endswith("num_batches_tracked")
        or tensors[name].dtype is bytes
    )


def _turned(stored: StoredTensor, turn: Turn) -> StoredTensor:
    shape = turn(torch.empty(stored.shape, device="meta")).shape
    return StoredTensor(tuple(shape), stored.dtype, lambda: turn(stored.read()))


def _to_torch(name: str, weights: Tensors) -> tuple[str, Turn]:
    """The key in a `state_dict` of a variable of TF-Slim, and how its values are turned for it."""
    scope, _, leaf = name.rpartition("/")
    if leaf == VALUE_OF_OBJECT:
        raise _Ambiguous(f"{name!r} belongs to an object of TensorFlow 2, not to a layer of TF-Slim.")
    parts = [*scope.split("/")] if scope else []
    shape = weights[name].shape
    if leaf == "depthwise_weights":
        return ".".join([*parts, "depthwise", "weight"]), _depthwise
    if leaf == "pointwise_weights":
        return ".".join([*parts, "pointwise", "weight"]), _kernel_to_torch
    if leaf == "weights" and len(shape) > 1:
        others = {key: other.shape[-1:] for key, other in weights.items() if not key.startswith(f"{scope}/")}
        _check_matrix(name, shape, shape[:1], others.values())
        return ".".join([*parts, "weight"]), _kernel_to_torch
    if leaf == "biases":
        owner = [part for part in ("pointwise", "depthwise") if f"{scope}/{part}_weights" in weights][:1]
        return ".".join([*parts, *owner, "bias"]), _same
    return ".".join([*parts, _NORMALIZATION.get(leaf, leaf)]), _same


def _to_tf(name: str, weights: Tensors) -> tuple[str, Turn]:
    """The name in TF-Slim of a key of a `state_dict`, and how its values are turned for it."""
    *parts, leaf = name.split(".")
    shape = weights[name].shape
    beside = ".".join([*parts, "weight"])
    of_kernel = beside in weights and len(weights[beside].shape) > 1
    if leaf == "weight" and of_kernel:
        scope = ".".join(parts)
        others = {key: other.shape[:1] for key, other in weights.items() if not key.startswith(f"{scope}.")}
        _check_matrix(name, shape, shape[1:2], others.values())
        if len(shape) > 2 and shape[0] > shape[1] == 1:
            raise _Ambiguous(f"{name!r}, {list(shape)}, may be of one channel, or of each of {shape[0]} by itself.")
        if parts[-1:] == ["pointwise"]:
            return "/".join([*parts[:-1], "pointwise_weights"]), _kernel_to_tf
        return "/".join([*parts, "weights"]), _kernel_to_tf
    if leaf == "bias" and of_kernel:
        inner = parts[-1:] in (["pointwise"], ["depthwise"])
        return "/".join([*(parts[:-1] if inner else parts), "biases"]), _same
    if leaf == "bias" and not of_kernel and beside not in weights and not "".join(parts[-1:]).endswith("Norm"):
        return "/".join([*parts, "biases"]), _same
    return "/".join([*parts, _NORMALIZED.get(leaf, leaf)]), _same


def _check_matrix(
    name: str, shape: tuple[int, ...], inputs: tuple[int, ...], outputs: Collection[tuple[int, ...]]
) -> None:
    if len(shape) == 2 and inputs not in outputs:
        raise _Ambiguous(
            f"{name!r}, {list(shape)}, may follow an image: no other layer has {inputs[0]} outputs, and PyTorch and "
            "TensorFlow take the pixels of an image in different orders."
        )


def _same(tensor: torch.Tensor) -> torch.Tensor:
    return tensor


def _kernel_to_torch(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.permute(tensor.ndim - 1, tensor.ndim - 2, *range(tensor.ndim - 2))


def _kernel_to_tf(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.permute(*range(2, tensor.ndim), 1, 0)


def _depthwise(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.permute(2, 3, 0, 1).flatten(0, 1).unsqueeze(1)
