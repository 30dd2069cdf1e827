"""Finds a data set by name, as TF-Slim's research/slim/datasets/dataset_factory.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torchslim.datasets import sample_voc
from torchslim.datasets.image_folder import Flowers, ImageFolder, ImageNet
from torchslim.datasets.record_splits import RECORDS
from torchslim.datasets.small_images import CIFAR10, MNIST
from torchslim.datasets.voc import PascalVOC

__all__ = ["DATASETS", "get_dataset"]


def _sample_voc(dataset_dir: str | Path, split_name: str, **kwargs: Any) -> PascalVOC:
    return PascalVOC(sample_voc.create(dataset_dir), split_name, **kwargs)


def _image_folder(dataset_dir: str | Path, split_name: str, **kwargs: Any) -> ImageFolder:
    return ImageFolder(dataset_dir, split_name, **kwargs)


DATASETS: dict[str, Callable[..., Any]] = {
    "cifar10": CIFAR10,
    "flowers": Flowers,
    "imagefolder": _image_folder,
    "imagenet": ImageNet,
    "mnist": MNIST,
    "pascal_voc": PascalVOC,
    "sample_voc": _sample_voc,
}


def get_dataset(
    name: str,
    split_name: str,
    dataset_dir: str | Path,
    file_pattern: str | None = None,
    reader: Callable[..., Any] | None = None,
    **kwargs: Any,
) -> Any:
    """Opens a data set: its records, if they are in the folder, else the files that its authors give out.

    Args:
        name: 'cifar10', 'flowers', 'imagefolder', 'imagenet', 'mnist', 'pascal_voc', 'visualwakewords' (records only),
            or 'sample_voc', which is drawn into `dataset_dir` if it is not there yet.
        split_name: 'train', 'val', 'test', ...: as the data set has it.
        dataset_dir: its folder.
        file_pattern: of the records, with `{}` or `%s` for the split: reads records.
        reader: a class that reads the records: reads records.
        kwargs: further arguments: `labels_offset`, and for files those of `PascalVOC`, `ImageNet`, ...: `transform`,
            `download`, ...

    Returns:
        With `class_names` and `num_classes`: of records a `slim.data.Dataset` (for `slim.data.DatasetDataProvider`), of
        files a data set as PyTorch knows it (for that, `slim.data.batch` and `DataLoader`).

    Raises:
        ValueError: if there is none of that name, or it has no such split, or no records to read with a `reader`.
        FileNotFoundError: if the files are not there.

    Example:
        >>> import tempfile
        >>> from torchslim.datasets import get_dataset, sample_voc
        >>> root = sample_voc.create(tempfile.mkdtemp(), num_images=6)
        >>> get_dataset("pascal_voc", "val", root).num_classes
        20
    """
    known = sorted({*DATASETS, *RECORDS})
    if name not in known:
        raise ValueError(f"get_dataset: `name` must be one of {', '.join(known)}. Got {name!r}.")
    wants_records = bool(file_pattern or reader or name not in DATASETS)
    if wants_records and name not in RECORDS:
        raise ValueError(f"get_dataset: `file_pattern` and `reader` are for {', '.join(RECORDS)}. Got {name!r}.")
    if wants_records or _has_records(name, split_name, Path(dataset_dir)):
        return RECORDS[name].get_split(split_name, dataset_dir, file_pattern, reader, **kwargs)
    return DATASETS[name](dataset_dir, split_name, **kwargs)


def _has_records(name: str, split_name: str, folder: Path) -> bool:
    if name not in RECORDS:
        return False
    return any(path.is_file() for path in folder.glob(RECORDS[name].file_pattern.format(split_name)))
