"""CIFAR-10 and MNIST, from the files that their authors give out."""

from __future__ import annotations

import gzip
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torchvision import datasets as torchvision_datasets

from torchslim.data import DataError
from torchslim.datasets.labelled_images import LabelledImages, checked_split

__all__ = ["CIFAR10", "CIFAR10_NAMES", "MNIST", "MNIST_NAMES"]

CIFAR10_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
MNIST_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

_CIFAR_SIZE = 3 * 32 * 32
_IDX_UINT8 = 8


class _Stored(LabelledImages):
    """Pictures that fit into memory, `[N, C, H, W]`."""

    pixels: torch.Tensor

    def image(self, index: int) -> torch.Tensor:
        """Picture number `index`, uint8 `[C, H, W]`."""
        return self.pixels[index]


class CIFAR10(_Stored):
    """CIFAR-10: small photographs of ten classes, uint8 `[3, 32, 32]`.

    Reads the version for C programs (`cifar-10-batches-bin`) or, by torchvision, the one for Python
    (`cifar-10-batches-py`), whose checksums are compared as it is made of pickles.

    Args:
        root: the folder that holds one of them, or the first one itself.
        split: 'train' or 'test'.
        download: get the version for Python first, if neither is there (170 MB).
        transform: called with the picture.
        labels_offset: taken from all labels.

    Raises:
        ValueError: if `split` is unknown.
        FileNotFoundError: if the files are missing.
        DataError: if a file is not whole; the message names it.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        *,
        download: bool = False,
        transform: Callable[[torch.Tensor], Any] | None = None,
        labels_offset: int = 0,
    ):
        checked_split("CIFAR10", split, ("train", "test"))
        names = [f"data_batch_{number}.bin" for number in range(1, 6)] if split == "train" else ["test_batch.bin"]
        folders = [
            folder for folder in (Path(root), Path(root) / "cifar-10-batches-bin") if (folder / names[0]).is_file()
        ]
        if folders:
            records = np.concatenate([_read_cifar(folders[0] / name) for name in names])
            labels = records[:, 0].tolist()
            self.pixels = torch.from_numpy(records[:, 1:].reshape(-1, 3, 32, 32))
        elif download or (Path(root) / "cifar-10-batches-py").is_dir():
            found = torchvision_datasets.CIFAR10(str(root), split == "train", download=download)
            labels, self.pixels = list(found.targets), torch.from_numpy(found.data).permute(0, 3, 1, 2)
        else:
            raise FileNotFoundError(
                "CIFAR10: `root` must hold cifar-10-batches-bin or cifar-10-batches-py. "
                f"Got {str(root)!r}. Pass download=True to get it."
            )
        super().__init__(root, split, CIFAR10_NAMES, labels, transform=transform, labels_offset=labels_offset)


class MNIST(_Stored):
    """MNIST: handwritten digits, uint8 `[1, 28, 28]`.

    Args:
        root: the folder that holds `train-images-idx3-ubyte` and the like, as they are or as `.gz`; or one into which
            torchvision has put them (`MNIST/raw`).
        split: 'train' or 'test'.
        download: get them first, by torchvision, if they are not there (12 MB).
        transform: called with the picture.
        labels_offset: taken from all labels.

    Raises:
        ValueError: if `split` is unknown.
        FileNotFoundError: if a file is missing.
        DataError: if a file is not whole; the message names it.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        *,
        download: bool = False,
        transform: Callable[[torch.Tensor], Any] | None = None,
        labels_offset: int = 0,
    ):
        checked_split("MNIST", split, ("train", "test"))
        prefix = "train" if split == "train" else "t10k"
        if download and _find_idx(Path(root), f"{prefix}-images-idx3-ubyte") is None:
            torchvision_datasets.MNIST(str(root), split == "train", download=True)
        images = _read_idx(Path(root), f"{prefix}-images-idx3-ubyte", 3)
        labels = _read_idx(Path(root), f"{prefix}-labels-idx1-ubyte", 1)
        if len(images) != len(labels):
            raise DataError(
                f"MNIST: {str(root)!r} must have a label for each picture. Got {len(labels)} for {len(images)}."
            )
        self.pixels = torch.from_numpy(images)[:, None]
        super().__init__(root, split, MNIST_NAMES, labels.tolist(), transform=transform, labels_offset=labels_offset)


def _read_cifar(path: Path) -> np.ndarray:
    """Records of a label and a picture."""
    if not path.is_file():
        raise FileNotFoundError(f"CIFAR10: {str(path)!r} must be there, beside the others.")
    data = np.fromfile(path, np.uint8)
    if len(data) == 0 or len(data) % (1 + _CIFAR_SIZE) or data[:: 1 + _CIFAR_SIZE].max() > 9:
        raise DataError(
            f"CIFAR10: {str(path)!r} must be labels and pictures of {1 + _CIFAR_SIZE} bytes. Got {len(data)} bytes: "
            "it is not whole, or another file."
        )
    return data.reshape(-1, 1 + _CIFAR_SIZE)


def _find_idx(root: Path, name: str) -> Path | None:
    places = [folder / (name + ending) for folder in (root, root / "MNIST" / "raw") for ending in ("", ".gz")]
    return next((place for place in places if place.is_file()), None)


def _read_idx(root: Path, name: str, rank: int) -> np.ndarray:
    """The array in an IDX file: two zeros, its type, its rank, its sizes, its values."""
    path = _find_idx(root, name)
    if path is None:
        raise FileNotFoundError(f"MNIST: `root` must hold {name} or {name}.gz. Got {str(root)!r}.")
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError) as error:
        raise DataError(f"MNIST: {str(path)!r} cannot be decompressed: {error}.") from error
    start = 4 + 4 * rank
    shape = tuple(int.from_bytes(data[place : place + 4], "big") for place in range(4, start, 4))
    if data[:4] != bytes([0, 0, _IDX_UINT8, rank]) or len(data) != start + math.prod(shape):
        raise DataError(
            f"MNIST: {str(path)!r} must be an IDX file of {rank} dimensions. Got {len(data)} bytes that begin with "
            f"{data[:4].hex()}, for {list(shape)} values: it is not whole, or another file."
        )
    return np.frombuffer(bytearray(data), np.uint8, offset=start).reshape(shape)
