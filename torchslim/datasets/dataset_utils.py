"""What scripts that make data sets use: label files, and features of records, under TF-Slim's names."""

from __future__ import annotations

import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import torch

from torchslim.data.example import BytesList, Feature, FloatList, Int64List, make_example

__all__ = [
    "LABELS_FILENAME",
    "bytes_feature",
    "download_and_uncompress_tarball",
    "float_feature",
    "has_labels",
    "image_to_tfexample",
    "int64_feature",
    "read_label_file",
    "write_label_file",
]

LABELS_FILENAME = "labels.txt"


def write_label_file(
    labels_to_class_names: Mapping[int, str], dataset_dir: str | Path, filename: str = LABELS_FILENAME
) -> None:
    """Writes which name each label has.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> write_label_file({0: 'daisy', 1: 'dandelion'}, folder)
        >>> read_label_file(folder)
        {0: 'daisy', 1: 'dandelion'}
    """
    lines = [f"{label}:{name}\n" for label, name in labels_to_class_names.items()]
    (Path(dataset_dir) / filename).write_text("".join(lines), encoding="utf-8")


def has_labels(dataset_dir: str | Path, filename: str = LABELS_FILENAME) -> bool:
    """Whether there is a label file."""
    return (Path(dataset_dir) / filename).is_file()


def read_label_file(dataset_dir: str | Path, filename: str = LABELS_FILENAME) -> dict[int, str]:
    """Reads which name each label has.

    Raises:
        ValueError: for a line that is not `label:name`; the message has file and line.
    """
    path = Path(dataset_dir) / filename
    names = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        label, colon, name = line.partition(":")
        if line.strip() and not (colon and label.strip().isdecimal()):
            raise ValueError(f"read_label_file: line {number} of {str(path)!r} must be `label:name`. Got {line!r}.")
        if line.strip():
            names[int(label)] = name
    return names


def int64_feature(values: Any) -> Any:
    """A `Feature` of an integer or of several; `slim.data.example.make_feature` finds out the type by itself.

    Raises:
        TypeError: for numbers that are no integers.
    """
    numbers = np.ravel(values)
    if numbers.size and numbers.dtype.kind not in "iub":
        raise TypeError(f"int64_feature: `values` must be integers. Got {values!r}.")
    return Feature(int64_list=Int64List(value=numbers.tolist()))


def float_feature(values: Any) -> Any:
    """A `Feature` of a number or of several.

    Example:
        >>> float_feature([1, 0.5]).float_list.value
        [1.0, 0.5]
    """
    return Feature(float_list=FloatList(value=np.ravel(values).tolist()))


def bytes_feature(values: bytes | str) -> Any:
    """A `Feature` of one string."""
    return Feature(bytes_list=BytesList(value=[values.encode() if isinstance(values, str) else values]))


def image_to_tfexample(image_data: bytes, image_format: bytes | str, height: int, width: int, class_id: int) -> Any:
    """An `Example` of a picture in TF-Slim's schema, as the splits of this package read it.

    Args:
        image_data: the file of the picture.
        image_format: 'jpeg', 'png', ...
        height: of the picture, in pixels.
        width: of the picture, in pixels.
        class_id: its label.

    Example:
        >>> sorted(image_to_tfexample(b'...', 'png', 28, 28, 7).features.feature)
        ['image/class/label', 'image/encoded', 'image/format', 'image/height', 'image/width']
    """
    return make_example(
        {
            "image/encoded": image_data,
            "image/format": image_format,
            "image/class/label": class_id,
            "image/height": height,
            "image/width": width,
        }
    )


def download_and_uncompress_tarball(tarball_url: str, dataset_dir: str | Path) -> None:
    """Fetches an archive (`.tar`, `.tar.gz`, ...) and unpacks it; what would lie outside of the folder is refused.

    Args:
        tarball_url: where it is.
        dataset_dir: the folder for the archive and for what is in it; made if it is missing.

    Raises:
        OSError: if it cannot be fetched.
        tarfile.TarError: if it is damaged, or holds what would lie outside.
    """
    folder = Path(dataset_dir)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / Path(urlsplit(tarball_url).path).name
    torch.hub.download_url_to_file(tarball_url, str(path), progress=False)
    with tarfile.open(path) as archive:
        archive.extractall(folder, filter="data")
