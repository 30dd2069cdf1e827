"""One door to every checkpoint: a mapping of name -> tensor, which is read when it is asked for."""

from __future__ import annotations

import os
import pickle
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch

from torchslim.checkpoints.directory import SUFFIX, latest_checkpoint
from torchslim.checkpoints.state import MODEL_PREFIX, STRUCTURE, as_tensor
from torchslim.checkpoints.store import DTYPES, CheckpointError, SafetensorsFile

ACCEPTED = (
    "a .safetensors file, a .pt or .pth file of tensors, a folder of checkpoints, the name of one in such a "
    "folder ('logs/model.ckpt-120'), or a mapping of names to tensors or arrays"
)
# Where training scripts put the weights inside of what they save.
_WEIGHTS_KEYS = ("state_dict", "model_state_dict", "model")
_TABLE_MAGIC = 0xDB4775248B80FB57.to_bytes(8, "little")  # the last bytes of TensorFlow's tables: V1 files and .index


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a checkpoint: what it is like is known, its values are read on request.

    Example:
        >>> stored = open_checkpoint({'w': [[1.0, 2.0]]})['w']
        >>> stored.shape, stored.dtype, stored[0, 1]
        ((1, 2), torch.float32, tensor(2.))
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    read: Callable[[], torch.Tensor] = field(repr=False)

    def __getitem__(self, index: Any) -> torch.Tensor:
        return self.read()[index]


class Reader(Mapping[str, StoredTensor]):
    """A checkpoint as a mapping of name -> `StoredTensor`; each format is a subclass that fills `tensors`.

    Attributes:
        name: what messages call it.
        tensors: the weights under the names that the file gives them.
        layout: how kernels lie in it, `'torch'` or `'tf'`.
        borrowed: `read` gives tensors that others hold too, which must be copied before they are changed.
    """

    layout: ClassVar[str] = "torch"
    borrowed: ClassVar[bool] = False

    def __init__(self, name: str) -> None:
        self.name = name
        self.tensors: dict[str, StoredTensor] = {}

    def __getitem__(self, name: str) -> StoredTensor:
        return self.tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}: {len(self)} tensors>"


class SafetensorsReader(Reader):
    """A `.safetensors` file; of the state of a training only the weights are shown, under their own names."""

    def __init__(self, path: Path, *, verify: bool = True) -> None:
        super().__init__(str(path))
        file = SafetensorsFile(path, verify=verify)
        prefix = MODEL_PREFIX if STRUCTURE in file.metadata else ""
        for name, entry in file.header.items():
            if entry["dtype"] not in DTYPES:
                raise CheckpointError(
                    f"open_checkpoint: tensor {name!r} of {str(path)!r} has the type {entry['dtype']}. "
                    f"Known are {', '.join(DTYPES)}."
                )
            if name.startswith(prefix):
                stored = StoredTensor(tuple(entry["shape"]), DTYPES[entry["dtype"]], partial(file.read, name))
                self.tensors[name.removeprefix(prefix)] = stored


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


def open_checkpoint(source: Any, *, verify: bool = True) -> Reader:
    """Opens a checkpoint of any kind: the same mapping of name -> lazy tensor, whatever is behind it.

    Args:
        source: a `.safetensors` file (a training state's weights have their `state_dict` keys), a `.pt` /
            `.pth` file (read with `weights_only=True`; a `{'state_dict': ...}` around the weights is taken
            off), a folder (its latest checkpoint), a checkpoint's name without `.safetensors`, or a mapping
            of names to tensors or arrays.
        verify: compare tensors with their checksums when they are read, where the file has checksums.

    Raises:
        FileNotFoundError: if there is nothing at that path.
        CheckpointError: if the file is damaged, would have to execute code to be read, or is of an unknown
            kind.

    Example:
        >>> checkpoint = open_checkpoint({'conv1/weights': torch.zeros(3, 3, 1, 8)})
        >>> {name: stored.shape for name, stored in checkpoint.items()}
        {'conv1/weights': (3, 3, 1, 8)}
    """
    if isinstance(source, Reader):
        return source
    if isinstance(source, Mapping):
        return MappingReader(source)
    if not isinstance(source, str | os.PathLike):
        raise TypeError(f"open_checkpoint: `source` must be {ACCEPTED}. Got {type(source).__name__}.")
    path = _find(Path(source), verify)
    if path.suffix == SUFFIX:
        return SafetensorsReader(path, verify=verify)
    if path.suffix in (".pt", ".pth"):
        return TorchReader(path)
    raise CheckpointError(f"open_checkpoint: `source` must be {ACCEPTED}. Got {str(path)!r}.")


def _same(tensor: torch.Tensor) -> torch.Tensor:
    return tensor


def _find(path: Path, verify: bool) -> Path:
    """The file that `path` means."""
    if path.is_dir():
        latest = latest_checkpoint(path, verify=verify)
        if latest is None:
            tables = sorted(path.glob("*.index"))
            _refuse_tensorflow(tables[0] if tables else path)
            raise FileNotFoundError(
                f"open_checkpoint: there is no whole checkpoint (model.ckpt-N{SUFFIX}) in {str(path)!r}."
            )
        return Path(latest)
    named = path.with_name(path.name + SUFFIX)
    if not path.exists() and named.exists():
        return named
    _refuse_tensorflow(path)
    if not path.exists():
        raise FileNotFoundError(f"open_checkpoint: there is no file {str(path)!r}. `source` may be {ACCEPTED}.")
    return path


def _refuse_tensorflow(path: Path) -> None:
    bundle = path.suffix == ".index" or re.search(r"\.data-\d{5}-of-\d{5}$", path.name)
    if bundle or path.with_name(path.name + ".index").exists() or _tail(path) == _TABLE_MAGIC:
        raise CheckpointError(
            f"open_checkpoint: {str(path)!r} is a TensorFlow checkpoint; reading these is not available in "
            "this version. Convert it where TensorFlow is installed: safetensors.numpy.save_file({name: "
            f"reader.get_tensor(name) for name in names}}, 'weights{SUFFIX}'); restore that with layout='tf'."
        )


def _tail(path: Path) -> bytes:
    if not path.is_file() or path.stat().st_size < len(_TABLE_MAGIC):
        return b""
    with path.open("rb") as file:
        file.seek(-len(_TABLE_MAGIC), os.SEEK_END)
        return file.read()


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
