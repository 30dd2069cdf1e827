"""Writes TensorFlow's checkpoints (V2): what is trained here goes back to where TensorFlow runs."""

from __future__ import annotations

import glob
import operator
import os
import re
import time
from collections.abc import Iterable, Mapping
from functools import partial
from itertools import zip_longest
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from crc32c import crc32c
from google.protobuf.text_encoding import CEscape
from torch import nn

from torchslim.checkpoints.directory import STATE_FILE, read_state_file
from torchslim.checkpoints.readers import StoredTensor
from torchslim.checkpoints.store import ALIGNMENT, atomic_file, bytes_of, remove_temporaries
from torchslim.checkpoints.tensorflow.bundle import VERSION
from torchslim.checkpoints.tensorflow.coding import masked_crc32c
from torchslim.checkpoints.tensorflow.messages import STRING, TORCH_DTYPES, BundleEntryProto, BundleHeaderProto
from torchslim.checkpoints.tensorflow.table_writer import TableWriter, encode_varint
from torchslim.graph import Graph, Variable
from torchslim.variables import get_variables
from torchslim.variables.global_step import GLOBAL_STEP

_NUMBERS: dict[Any, int] = {dtype: number for number, dtype in TORCH_DTYPES.items()} | {bytes: STRING}
_ONE_FILE = re.compile(r".*\.(index|data-\d{5}-of-\d{5}|safetensors|pth?)")


def save_tf(
    module_or_variables: nn.Module | Graph | Iterable[Variable],
    prefix: str | os.PathLike[str],
    *,
    global_step: int | None = None,
) -> str:
    """Writes a checkpoint that TensorFlow reads: TF-Slim's names, kernels in TensorFlow's layout.

    It is two files, `PREFIX.index` and `PREFIX.data-00000-of-00001`, which take their names once both are on the disk,
    and then the `checkpoint` file of the folder names them. One variable at a time is copied to be turned or fetched
    from its device.

    Args:
        module_or_variables: a module, a `slim.Graph`, or Variables.
        prefix: the path without an ending: `'logs/model.ckpt-120'`.
        global_step: the step to store as `global_step`; None: that of the variables, if there is one among them.

    Returns:
        `prefix`, which is what TensorFlow's `load_checkpoint` and `slim.restore` take.

    Raises:
        ValueError: if a variable has no value yet, two have the same name, or `prefix` is not the start of a name.
        TypeError: if TensorFlow has no such type, or something else is given than variables.
        OSError: if the disk is full, or the folder is missing or may not be written to. What was there before is then
            untouched.

    TF-Slim: `tf.train.Saver().save(session, prefix)`. The step is not appended to `prefix`.

    Example:
        >>> import tempfile, torch, torchslim as slim
        >>> model = slim.build(lambda x: slim.fully_connected(x, 2, scope='fc'), torch.empty(1, 3))
        >>> prefix = slim.checkpoints.save_tf(model, f'{tempfile.mkdtemp()}/model.ckpt', global_step=120)
        >>> dict(slim.checkpoints.open(prefix))['fc/weights']
        StoredTensor(shape=(3, 2), dtype=torch.float32)
    """
    given = module_or_variables
    variables = get_variables(module=given) if isinstance(given, nn.Module | Graph) else list(given)
    tensors: dict[str, StoredTensor] = {}
    for variable in variables:
        if not isinstance(variable, Variable):
            raise TypeError(f"save_tf: `module_or_variables` must be a module, a Graph or Variables. Got {variable!r}.")
        name = variable.op.name
        if name in tensors:
            raise ValueError(f"save_tf: every variable needs a name of its own. Got {name!r} twice: save one of them.")
        if variable.tensor.is_meta:
            raise ValueError(
                f"save_tf: every variable needs a value. Got {name!r} on the meta device; initialize or restore it."
            )
        tensors[name] = StoredTensor(variable.tf_shape, variable.dtype, partial(_value, variable))
    if global_step is not None:
        step = torch.tensor(operator.index(global_step))
        tensors[GLOBAL_STEP] = StoredTensor((), torch.int64, lambda: step)
    write_bundle(Path(prefix), tensors)
    return str(prefix)


def _value(variable: Variable) -> torch.Tensor:
    return variable.to_tf(variable.tensor.detach())


def write_bundle(prefix: Path, tensors: Mapping[str, StoredTensor]) -> None:
    """Writes the files of a checkpoint, and makes it the newest of its folder.

    Args:
        prefix: the path without an ending.
        tensors: name -> tensor, as it is to be in the file. One at a time is read.

    Raises:
        ValueError: if `prefix` is a file or a folder, or has the ending of a file.
        TypeError: if a tensor has a type that TensorFlow does not have.
        OSError: as `save_tf`.

    Example:
        >>> import tempfile
        >>> from torchslim.checkpoints import open_checkpoint
        >>> prefix = Path(tempfile.mkdtemp(), 'model.ckpt')
        >>> write_bundle(prefix, open_checkpoint({'step': torch.tensor(3)}).tensors)
        >>> open_checkpoint(prefix)['step'].read()
        tensor(3)
    """
    if prefix.exists() or _ONE_FILE.fullmatch(prefix.name):
        raise ValueError(
            "save_tf: `prefix` must be the start of the names of new files, such as 'logs/model.ckpt-120'. "
            f"Got {str(prefix)!r}, which is {'there already' if prefix.exists() else 'the name of one file'}."
        )
    for name, stored in tensors.items():
        if stored.dtype not in _NUMBERS:
            raise TypeError(f"save_tf: the type of {name!r} must be one that TensorFlow has. Got {stored.dtype}.")
    index_path = prefix.with_name(f"{prefix.name}.index")
    data_path = prefix.with_name(f"{prefix.name}.data-00000-of-00001")
    for path in (index_path, data_path):
        remove_temporaries(path.parent, glob.escape(path.name))
    size = sum(prod(stored.shape) * stored.dtype.itemsize for stored in tensors.values() if stored.dtype is not bytes)
    try:
        with atomic_file(index_path) as index, atomic_file(data_path, size) as data:
            _write(tensors, index, data)
            # Both are on the disk before one of them takes its name: no new values under an old index.
            index.flush()
            os.fsync(index.fileno())
    except OSError as error:
        reason = os.strerror(error.errno or 0) if prefix.parent.is_dir() else "the folder does not exist"
        raise OSError(
            error.errno,
            f"save_tf: cannot write {str(prefix)!r} ({size / 1e6:.1f} MB): {reason}. "
            "No part of it was left behind, and what was there before is untouched",
        ) from error
    _make_newest(prefix)


def _write(tensors: Mapping[str, StoredTensor], index: BinaryIO, data: BinaryIO) -> None:
    table = TableWriter(index)
    table.add(b"", BundleHeaderProto(num_shards=1, version={"producer": VERSION}).SerializeToString())
    for key, name in sorted((name.encode(), name) for name in tensors):
        table.add(key, _append(data, tensors[name]).SerializeToString())
    table.finish()


def _append(data: BinaryIO, stored: StoredTensor) -> Any:
    """Writes the values of a tensor, aligned so that they can be mapped; returns its entry in the index."""
    value = stored.read()
    content: bytes | memoryview
    if stored.dtype is bytes:
        content, checksum = _encode_strings(value)
    else:
        content = bytes_of(value)
        checksum = masked_crc32c(content)
    data.write(bytes(-data.tell() % ALIGNMENT))
    shape = {"dim": [{"size": size} for size in stored.shape]}
    kind = _NUMBERS[stored.dtype]
    entry = BundleEntryProto(dtype=kind, shape=shape, offset=data.tell(), size=len(content), crc32c=checksum)
    data.write(content)
    return entry


def _encode_strings(strings: np.ndarray) -> tuple[bytes, int]:
    """Their lengths, a checksum of these (as numbers of fixed size), their bytes; and the checksum of it all."""
    lengths = [len(string) for string in strings.flat]
    fixed = b"".join(length.to_bytes(4 if length < 1 << 32 else 8, "little") for length in lengths)
    content = masked_crc32c(fixed).to_bytes(4, "little") + b"".join(strings.flat)
    return b"".join(map(encode_varint, lengths)) + content, masked_crc32c(content, crc32c(fixed))


def _make_newest(prefix: Path) -> None:
    """Names the checkpoint in the `checkpoint` file, which keeps what else it lists."""
    path = prefix.with_name(STATE_FILE)
    entries = read_state_file(path)
    paths = entries.get("all_model_checkpoint_paths", [])
    times = entries.get("all_model_checkpoint_timestamps", [])
    listed = dict(zip_longest(paths, times[: len(paths)], fillvalue="0.0"))
    listed.pop(prefix.name, None)
    listed[prefix.name] = repr(time.time())
    quoted = [f'"{CEscape(os.fsencode(name), as_utf8=False)}"' for name in listed]
    lines = [f"model_checkpoint_path: {quoted[-1]}"]
    lines += [f"all_model_checkpoint_paths: {name}" for name in quoted]
    lines += [f"all_model_checkpoint_timestamps: {when}" for when in listed.values()]
    lines += [f"last_preserved_timestamp: {when}" for when in entries.get("last_preserved_timestamp", [])]
    text = "\n".join(lines).encode() + b"\n"
    with atomic_file(path, len(text)) as file:
        file.write(text)
