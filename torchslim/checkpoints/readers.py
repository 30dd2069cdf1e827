"""A checkpoint as a mapping of name -> tensor, which is read when it is asked for; the formats around PyTorch."""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from torchslim.checkpoints.names import average_of
from torchslim.checkpoints.state import AVERAGES_PREFIX, MODEL_PREFIX, STRUCTURE, as_tensor
from torchslim.checkpoints.store import DTYPES, CheckpointError, SafetensorsFile
from torchslim.variables import did_you_mean

# Where training scripts put the weights inside of what they save.
_WEIGHTS_KEYS = ("state_dict", "model_state_dict", "model")
# The metadata entry that says how kernels lie, where that is not PyTorch's way.
LAYOUT = "torchslim.layout"
_NOT_IN_NUMPY = (torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2)


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a checkpoint: what it is like is known, its values are read on request.

    Attributes:
        shape: its shape.
        dtype: its type; `bytes` for strings, which TensorFlow's checkpoints may hold.
        read: gives its values: a tensor, or for strings a NumPy array of `bytes`.

    Example:
        >>> stored = MappingReader({'w': [[1.0, 2.0]]})['w']
        >>> stored.shape, stored.dtype, stored[0, 1]
        ((1, 2), torch.float32, tensor(2.))
    """

    shape: tuple[int, ...]
    dtype: Any
    read: Callable[[], Any] = field(repr=False)

    def __getitem__(self, index: Any) -> Any:
        return self.read()[index]


class Reader(Mapping[str, StoredTensor]):
    """A checkpoint as a mapping of name -> `StoredTensor`; each format is a subclass that fills `tensors`.

    Attributes:
        name: what messages call it.
        tensors: the weights under the names that the file gives them.
        layout: how kernels lie in it, `'torch'` or `'tf'`.
        borrowed: `read` gives tensors that others hold too, which must be copied before they are changed.
    """

    layout: str = "torch"
    borrowed: ClassVar[bool] = False

    def __init__(self, name: str) -> None:
        self.name = name
        self.tensors: dict[str, StoredTensor] = {}

    def has_tensor(self, name: str) -> bool:
        """Whether there is a tensor of that name; these four methods are those of TensorFlow's checkpoint readers."""
        return name in self

    def get_tensor(self, name: str) -> np.ndarray:
        """The values as an array, laid out as in the file; what NumPy lacks, such as bfloat16, becomes float32.

        Raises:
            KeyError: if there is no tensor of that name.
            CheckpointError: if it is damaged.
        """
        value = self[name].read()
        if not isinstance(value, torch.Tensor):
            return value
        value = value.detach().resolve_conj().resolve_neg().cpu()
        return (value.float() if value.dtype in _NOT_IN_NUMPY else value).numpy()

    def get_variable_to_shape_map(self) -> dict[str, list[int]]:
        """Name -> shape."""
        return {name: list(stored.shape) for name, stored in self.tensors.items()}

    def get_variable_to_dtype_map(self) -> dict[str, Any]:
        """Name -> type: a `torch.dtype`, or `bytes` for strings."""
        return {name: stored.dtype for name, stored in self.tensors.items()}

    def __getitem__(self, name: str) -> StoredTensor:
        if name not in self.tensors:
            raise KeyError(f"{self.name} has no tensor {name!r}." + did_you_mean(name, list(self.tensors)))
        return self.tensors[name]

    def __contains__(self, name: object) -> bool:
        return name in self.tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}: {len(self)} tensors>"


class SafetensorsReader(Reader):
    """A `.safetensors` file; of the state of a training only the weights are shown, and their moving averages."""

    def __init__(self, path: Path, verify: str = "full") -> None:
        super().__init__(str(path))
        file = SafetensorsFile(path, verify=verify == "full")
        is_state = STRUCTURE in file.metadata
        self.layout = file.metadata.get(LAYOUT, self.layout)
        for name, entry in file.header.items():
            if entry["dtype"] not in DTYPES:
                raise CheckpointError(
                    f"open_checkpoint: tensor {name!r} of {str(path)!r} has the type {entry['dtype']}. "
                    f"Known are {', '.join(DTYPES)}."
                )
            stored = StoredTensor(tuple(entry["shape"]), DTYPES[entry["dtype"]], partial(file.read, name))
            if not is_state or name.startswith(MODEL_PREFIX):
                self.tensors[name.removeprefix(MODEL_PREFIX) if is_state else name] = stored
            elif name.startswith(AVERAGES_PREFIX):
                self.tensors[average_of(name.removeprefix(AVERAGES_PREFIX))] = stored


class MappingReader(Reader):
    """Tensors and arrays that are in memory already."""

    borrowed = True

    def __init__(self, values: Mapping[str, Any], name: str = "the given mapping") -> None:
        super().__init__(name)
        for key, value in values.items():
            tensor = as_tensor(value).detach()
            self.tensors[key] = StoredTensor(tuple(tensor.shape), tensor.dtype, partial(_same, tensor))


class TorchReader(Reader):
    """A `.pt` or `.pth` file: tensors only, mapped where the format allows; nothing in it is executed."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        values = _load_torch(path)
        while inner := next((values[key] for key in _WEIGHTS_KEYS if isinstance(values.get(key), Mapping)), None):
            values = inner
        self.tensors = MappingReader(
            {name: value for name, value in values.items() if isinstance(value, torch.Tensor)}
        ).tensors
        if values and not self.tensors:
            raise CheckpointError(
                f"open_checkpoint: {str(path)!r} holds no tensors at the top, nor under "
                f"{' or '.join(map(repr, _WEIGHTS_KEYS))}. Got the keys {list(values)[:10]}: load it with "
                "torch.load and pass the mapping that has the weights."
            )


def _same(tensor: torch.Tensor) -> torch.Tensor:
    return tensor


def _load_torch(path: Path) -> Mapping[str, Any]:
    try:
        # Files of before PyTorch 1.6 are no zip archives and cannot be mapped.
        values = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"open_checkpoint: {str(path)!r} is refused: it holds more than tensors, and reading the rest "
            "would execute code from the file; or it is damaged. If you trust it, convert it once: model = "
            "torch.load(path, weights_only=False); torch.save(model.state_dict(), 'weights.pt') (or "
            "model['state_dict'], if it is a dict). "
            f"What stands in the way: {_first_line(error)}."
        ) from error
    except Exception as error:  # a damaged archive ends in errors of every kind
        raise CheckpointError(f"open_checkpoint: {str(path)!r} is damaged: {_first_line(error)}") from error
    if isinstance(values, torch.Tensor) or not isinstance(values, Mapping):
        raise CheckpointError(f"open_checkpoint: {str(path)!r} must map names to tensors. Got {type(values).__name__}.")
    return values


def _first_line(error: Exception) -> str:
    if blamed := re.search(r"GLOBAL (\S+)", str(error)):
        return blamed[1]
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
