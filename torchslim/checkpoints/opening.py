"""One door to every checkpoint: finds out what is behind a path, in whatever spelling, and opens it."""

from __future__ import annotations

import glob
import logging
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torchslim.checkpoints.directory import STATE_FILE, SUFFIX, read_state_file, step_of
from torchslim.checkpoints.readers import MappingReader, Reader, SafetensorsReader, TorchReader
from torchslim.checkpoints.store import CheckpointError
from torchslim.checkpoints.tensorflow.bundle import BundleReader
from torchslim.checkpoints.tensorflow.sliced import SlicedReader
from torchslim.checkpoints.tensorflow.table import MAGIC, Table

ACCEPTED = (
    "a TensorFlow checkpoint (its prefix, or any of its files), a .safetensors file, a .pt or .pth file of tensors, "
    "a folder of checkpoints, or a mapping of names to tensors or arrays"
)
VERIFY = ("full", "fast", "off")
_BUNDLE_FILE = re.compile(r"(.+)\.(?:index|meta|data-\d{5}-of-\d{5})")
_SHARD = re.compile(r"(.+)-(?:\d{5}|\?{5})-of-(\d{5})")
_STEP = re.compile(r"-(\d+)$")
_logger = logging.getLogger("torchslim")


def open_checkpoint(source: Any, *, verify: str = "full") -> Reader:
    """Opens a checkpoint of any kind: the same mapping of name -> lazy tensor, whatever is behind it.

    Args:
        source: one of
            a TensorFlow checkpoint: the prefix (`'model.ckpt-120'`), the `.index` or a `.data-...` file of a V2
            checkpoint; the file of a V1 checkpoint, whatever its name, or one of its shards;
            a `.safetensors` file, with or without its ending (of a training's state the weights are shown, under their
            `state_dict` keys);
            a `.pt` / `.pth` file (read with `weights_only=True`; a `{'state_dict': ...}` around the weights is
            taken off);
            a folder: the checkpoint that its `checkpoint` file names, else the whole one of the highest step;
            a mapping of names to tensors or arrays.
        verify: what is compared with the checksums that the format has: `'full'`: each tensor when it is read, too;
            `'fast'`: the lists of tensors; `'off'`: nothing.

    Returns:
        A `Reader`. It also has the methods of TensorFlow's readers: `has_tensor`, `get_tensor`,
        `get_variable_to_shape_map` and `get_variable_to_dtype_map`.

    Raises:
        FileNotFoundError: if there is nothing at that path.
        CheckpointError: if the file is damaged, would have to execute code to be read, or is of an unknown
            kind.
        ValueError: if `verify` is unknown.

    TF-Slim: `tf.train.load_checkpoint`; TensorFlow is not needed.

    Example:
        >>> import torch
        >>> checkpoint = open_checkpoint({'conv1/weights': torch.zeros(3, 3, 1, 8)})
        >>> {name: stored.shape for name, stored in checkpoint.items()}
        {'conv1/weights': (3, 3, 1, 8)}
    """
    if verify not in VERIFY:
        raise ValueError(f"open_checkpoint: `verify` must be one of {VERIFY}. Got {verify!r}.")
    if isinstance(source, Reader):
        return source
    if isinstance(source, Mapping):
        return MappingReader(source)
    if not isinstance(source, str | os.PathLike):
        raise TypeError(f"open_checkpoint: `source` must be {ACCEPTED}. Got {type(source).__name__}.")
    path = Path(source)
    return _open_newest(path, verify) if path.is_dir() else _open_path(path, verify)


def _open_path(path: Path, verify: str) -> Reader:
    if _is_table(path):
        return _open_table(path, verify)
    if path.is_file() and path.suffix == SUFFIX:
        return SafetensorsReader(path, verify)
    if path.is_file() and path.suffix in (".pt", ".pth"):
        return TorchReader(path)
    part = _BUNDLE_FILE.fullmatch(path.name)
    for prefix in (path, path.with_name(part[1])) if part else (path,):
        if _with_ending(prefix, ".index").exists():
            return BundleReader(prefix, verify=verify)
    if part and path.exists():
        raise CheckpointError(
            f"open_checkpoint: {str(path)!r} is a part of a TensorFlow checkpoint whose list of tensors, "
            f"{part[1] + '.index'!r}, is not beside it. Fetch that file too."
        )
    if shards := _shards(path):
        return SlicedReader(shards, verify=verify)
    if not path.exists() and _with_ending(path, SUFFIX).exists():
        return SafetensorsReader(_with_ending(path, SUFFIX), verify)
    if not path.exists():
        raise FileNotFoundError(f"open_checkpoint: there is no file {str(path)!r}. `source` may be {ACCEPTED}.")
    raise CheckpointError(
        f"open_checkpoint: `source` must be {ACCEPTED}. Got {str(path)!r}; if it is a TensorFlow checkpoint, it is "
        f"damaged: its end, byte {path.stat().st_size}, is not that of TensorFlow's tables."
    )


def _open_table(path: Path, verify: str) -> Reader:
    """Opens a V1 file or the index of a V2 checkpoint: they look alike but for the message under the first key."""
    header = Table(path, verify=verify != "off").get(b"")
    sliced = header is not None and bytes(header[:1]) == b"\x0a"  # SavedTensorSlices.meta; BundleHeaderProto has none
    if sliced:
        return SlicedReader(_shards(path) or [path], verify=verify)
    if path.suffix != ".index":
        raise CheckpointError(
            f"open_checkpoint: {str(path)!r} is the list of tensors of a TensorFlow checkpoint (V2). Name it "
            f"{path.name + '.index'!r}, with its data beside it in {path.name + '.data-00000-of-00001'!r}."
        )
    return BundleReader(path.with_suffix(""), verify=verify)


def _with_ending(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def _is_table(path: Path) -> bool:
    if not path.is_file() or path.stat().st_size < len(MAGIC):
        return False
    with path.open("rb") as file:
        file.seek(-len(MAGIC), os.SEEK_END)
        return file.read() == MAGIC


def _shards(path: Path) -> list[Path]:
    """All files of a V1 checkpoint in shards, `model.ckpt-00001-of-00004`, of which `path` is one or the prefix."""
    part = _SHARD.fullmatch(path.name)
    if part is None:
        found = [_SHARD.fullmatch(name.name) for name in path.parent.glob(glob.escape(path.name) + "-?????-of-?????")]
        part = next(filter(None, found), None)
    if part is None:
        return []
    count = int(part[2])
    paths = [path.with_name(f"{part[1]}-{number:05}-of-{count:05}") for number in range(count)]
    if missing := [shard.name for shard in paths if not shard.is_file()]:
        raise CheckpointError(
            f"open_checkpoint: {str(path)!r} is a TensorFlow checkpoint in {count} files, and {len(missing)} are "
            f"missing: {', '.join(missing[:5])}. Fetch them too."
        )
    return paths


def _open_newest(folder: Path, verify: str) -> Reader:
    """The newest whole checkpoint of a folder; damaged ones are passed over, with a warning."""
    passed_over: list[str] = []
    for path in dict.fromkeys([*_named(folder), *_scan(folder)]):
        try:
            reader = _open_path(path, verify)
            for stored in reader.values() if verify == "full" else ():
                stored.read()
        except (OSError, CheckpointError) as error:
            passed_over.append(str(error))
            continue
        if passed_over:
            _logger.warning("open_checkpoint: using %r. Passed over: %s", reader.name, " ".join(passed_over))
        return reader
    if passed_over:
        raise CheckpointError(f"open_checkpoint: no checkpoint in {str(folder)!r} is whole. {' '.join(passed_over)}")
    raise FileNotFoundError(
        f"open_checkpoint: there is no checkpoint (model.ckpt-N{SUFFIX}, or TensorFlow's) in {str(folder)!r}."
    )


def _named(folder: Path) -> Iterator[Path]:
    """What the `checkpoint` file names as the newest: in the folder, which may have moved, else where it says."""
    for name in read_state_file(folder / STATE_FILE).get("model_checkpoint_path", [])[:1]:
        for path in (folder / Path(name).name, folder / name):
            spellings = [path, _with_ending(path, ".index"), _with_ending(path, SUFFIX)]
            if any(spelling.is_file() for spelling in spellings) or _SHARD.fullmatch(path.name):
                yield path


def _scan(folder: Path) -> list[Path]:
    """The checkpoints of a folder, by step, the newest first; those without a step come last."""
    found: dict[Path, tuple[int, float]] = {}
    for file in folder.iterdir():
        path = file.with_suffix("") if file.suffix in (".index", SUFFIX) else file
        if part := _SHARD.fullmatch(path.name):
            path = path.with_name(part[1])
        step = _STEP.search(path.name)
        tensorflow = not file.name.startswith(".") and (file.suffix == ".index" or _is_table(file))
        if tensorflow or step_of(file) is not None:
            found[path] = max(found.get(path, (-1, 0.0)), (int(step[1]) if step else -1, file.stat().st_mtime))
    return sorted(found, key=lambda path: found[path], reverse=True)
