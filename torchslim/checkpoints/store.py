"""One file of tensors: written whole or not at all, mapped instead of read, checked by its own checksums.

The files are ordinary `.safetensors`; any tool reads them. Their metadata also holds a CRC-32 for every 8 MiB
of every tensor and one for the header, so that a flipped bit is found and the tensor that it hit is named.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import uuid
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open

# Tensors are checked in pieces of this size: one large tensor then keeps all cores busy.
CHUNK = 8 << 20
# The first tensor starts at a multiple of this, so that mapped tensors are as well aligned as allocated ones.
ALIGNMENT = 64
TENSOR_CHECKSUMS = "torchslim.crc32"
HEADER_CHECKSUM = "torchslim.crc32_header"

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "C64": torch.complex64,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


class CheckpointError(ValueError):
    """A checkpoint file that is damaged, unsafe to read, or of a kind that is not known."""


def save(
    path: str | os.PathLike[str],
    tensors: Mapping[str, torch.Tensor],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Writes a `.safetensors` file of tensors: whatever happens, there is the old one or the new.

    The bytes go to a temporary file in the same folder, which is forced to disk and then takes the name of
    `path`. Tensors of any device are written one by one, so a GPU model needs memory for one of them, not for
    all.

    Args:
        path: the file to write.
        tensors: name -> tensor; dense, of a real or half type, integers, bool or complex64.
        metadata: strings to keep in the header; those that start with `torchslim.crc32` are replaced.

    Raises:
        OSError: if the disk is full, or the folder is missing or may not be written to. It names the path,
            and neither a half-written nor a temporary file is left.
        TypeError: if a tensor or the metadata is of a kind that the format cannot hold.

    Example:
        >>> import os, tempfile, torch
        >>> path = os.path.join(tempfile.mkdtemp(), 'weights.safetensors')
        >>> save(path, {'fc.weight': torch.eye(2)}, {'note': 'identity'})
        >>> load(path)
        {'fc.weight': tensor([[1., 0.],
                [0., 1.]])}
    """
    path = Path(path)
    if strangers := [item for item in (metadata or {}).items() if not all(isinstance(part, str) for part in item)]:
        raise TypeError(f"save: `metadata` must map strings to strings. Got {dict(strangers)!r}.")
    header: dict[str, Any] = {"__metadata__": dict(metadata or {})}
    checksums: dict[str, str] = {}
    end = 0
    # Wide types first, as the format has it: then every tensor is aligned to its own type.
    ordered = dict(sorted(tensors.items(), key=lambda item: -item[1].element_size()))
    for name, tensor in ordered.items():
        dtype = _dtype_name(name, tensor)
        start, end = end, end + tensor.nbytes
        header[name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": [start, end]}
        checksums[name] = "0" * 8 * len(range(0, tensor.nbytes, CHUNK))
    with atomic_file(path, end) as file:
        # Checksums have a fixed width: the header has its length before they are known.
        file.seek(len(_encode(header, checksums)))
        for name, tensor in ordered.items():
            data = bytes_of(tensor)
            checksums[name] = "".join(_crc32s(data))
            file.write(data)
        file.seek(0)
        file.write(_encode(header, checksums))


def load(path: str | os.PathLike[str], *, verify: bool = True) -> dict[str, torch.Tensor]:
    """The tensors of a `.safetensors` file, mapped into memory: nothing is copied until they are written to.

    The mapping is private: changing a tensor, as training does, never reaches the file. Replace such a file
    (as `save` does) rather than writing into it while tensors of it are in use.

    Args:
        path: the file.
        verify: compare every tensor with its checksum, if the file has checksums (about 0.1 s a gigabyte and
            core).

    Raises:
        FileNotFoundError: if there is no such file.
        CheckpointError: if the file is damaged; it names the file and the tensor.
    """
    file = SafetensorsFile(path, verify=verify)
    return {name: file.read(name) for name in file.header}


class SafetensorsFile:
    """A `.safetensors` file whose header has been read and checked; `read` maps one tensor.

    Attributes:
        path: where it is.
        metadata: the strings in its header.
        header: tensor name -> `{'dtype', 'shape', 'data_offsets'}`.
    """

    def __init__(self, path: str | os.PathLike[str], *, verify: bool = True) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"load: there is no file {str(self.path)!r}.")
        try:
            self._file = safe_open(self.path, framework="pt", device="cpu")
            with self.path.open("rb") as file:
                self.header: dict[str, Any] = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        except (SafetensorError, ValueError, RecursionError) as error:
            raise self._damaged("its header cannot be read, or does not fit the size of the file", error) from error
        self.metadata: dict[str, str] = self.header.pop("__metadata__", None) or {}
        self._given: set[str] = set()
        self._checksums: dict[str, str] = {}
        if self.metadata.keys() & {HEADER_CHECKSUM, TENSOR_CHECKSUMS}:
            if _header_checksum(self.header, self.metadata) != self.metadata.get(HEADER_CHECKSUM):
                raise self._damaged("the header (names, shapes, metadata) does not match its checksum")
            self._checksums = json.loads(self.metadata[TENSOR_CHECKSUMS]) if verify else {}

    def read(self, name: str) -> torch.Tensor:
        """Maps the tensor `name`, anew each time; compares it with its checksum if there is one.

        Raises:
            CheckpointError: if it does not match its checksum, or has a type that this PyTorch does not know.
        """
        try:
            if name in self._given:  # who has it may have changed it: another mapping has what the file has
                self._file, self._given = safe_open(self.path, framework="pt", device="cpu"), set()
            tensor = self._file.get_tensor(name)
            self._given.add(name)
        except (SafetensorError, OSError, RuntimeError, AttributeError, KeyError) as error:
            raise self._damaged(f"tensor {name!r} cannot be read", error) from error
        if name in self._checksums:
            for i, found in enumerate(_crc32s(bytes_of(tensor))):
                if found != self._checksums[name][8 * i : 8 * i + 8]:
                    first, last = i * CHUNK, min((i + 1) * CHUNK, tensor.nbytes) - 1
                    raise self._damaged(f"tensor {name!r}, bytes {first} to {last}, does not match its checksum")
        return tensor

    def _damaged(self, what: str, error: Exception | None = None) -> CheckpointError:
        reason = f" ({error})" if error else ""
        return CheckpointError(
            f"load: {str(self.path)!r} is damaged: {what}{reason}. Use another one, or fetch it again."
        )


@contextlib.contextmanager
def atomic_file(path: Path, size: int | None = None, function: str = "save") -> Iterator[BinaryIO]:
    """A file to write to that becomes `path` once all is on the disk, and vanishes if anything fails.

    Args:
        path: its name at the end.
        size: bytes to be written, where known, for the message about a full disk.
        function: that writes it, for the same.
    """
    temporary = _temporary(path)
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            reason = "the folder does not exist" if error.errno == errno.ENOENT else error.strerror
            amount = "" if size is None else f" ({size / 1e6:.1f} MB)"
            raise OSError(
                error.errno,
                f"{function}: cannot write {str(path)!r}{amount}: {reason}. "
                "No part of it was left behind, and what was there before is untouched",
            ) from error
        raise


def link_or_copy(source: Path, path: Path) -> None:
    """Has `path` be the same file as `source`, or a copy where the file system knows no links; the old one or the new.

    Raises:
        OSError: if that cannot be done; what was there before is untouched.
    """
    if path.exists() and path.samefile(source):
        return
    temporary = _temporary(path)
    try:
        temporary.hardlink_to(source)
    except OSError:  # another file system, or one without links
        with source.open("rb") as whole, atomic_file(path, source.stat().st_size) as file:
            shutil.copyfileobj(whole, file)
        return
    temporary.replace(path)
    _sync_folder(path.parent)


def remove_temporaries(folder: Path, pattern: str) -> None:
    """Removes what a killed process left of its unfinished files `pattern` (a glob) in `folder`."""
    for path in folder.glob(f".{pattern}.????????.tmp"):
        with contextlib.suppress(OSError):
            path.unlink()


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":  # elsewhere a folder cannot be opened, and the rename is durable by itself
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _encode(header: dict[str, Any], checksums: dict[str, str]) -> bytes:
    """The bytes before the first tensor: the length of the header, the header, blanks up to the alignment."""
    tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
    metadata = {**header["__metadata__"], TENSOR_CHECKSUMS: json.dumps(checksums)}
    metadata[HEADER_CHECKSUM] = _header_checksum(tensors, metadata)
    text = json.dumps({"__metadata__": metadata, **tensors}).encode()
    text += b" " * (-(8 + len(text)) % ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


def _header_checksum(tensors: Mapping[str, Any], metadata: Mapping[str, str]) -> str:
    metadata = {name: text for name, text in metadata.items() if name != HEADER_CHECKSUM}
    return f"{zlib.crc32(json.dumps([tensors, metadata], sort_keys=True).encode()):08x}"


def _dtype_name(name: str, tensor: torch.Tensor) -> str:
    if tensor.is_meta:
        raise TypeError(f"save: every tensor needs values. Got {name!r} on the meta device; initialize or restore it.")
    if tensor.dtype not in _NAMES or tensor.layout is not torch.strided:
        raise TypeError(
            f"save: tensors must be dense and one of {', '.join(sorted(_NAMES.values()))}. "
            f"Got {name!r}: {tensor.dtype}, {tensor.layout}."
        )
    return _NAMES[tensor.dtype]


def bytes_of(tensor: torch.Tensor) -> memoryview:
    """The values of a tensor of any strides and device, one behind the other; a view where they lie so already."""
    tensor = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous()
    # Not reshape(-1): that leaves a single element with whatever stride it had.
    return tensor.as_strided((tensor.numel(),), (1,)).view(torch.uint8).numpy().data


def _crc32s(data: memoryview) -> list[str]:
    pieces = [data[start : start + CHUNK] for start in range(0, len(data), CHUNK)]
    if len(pieces) < 2:
        return [_crc32(piece) for piece in pieces]
    with ThreadPoolExecutor(torch.get_num_threads()) as threads:  # zlib lets go of the interpreter while it counts
        return list(threads.map(_crc32, pieces))


def _crc32(data: memoryview) -> str:
    return f"{zlib.crc32(data):08x}"
