"""Finds a data set by name, as TF-Slim's research/slim/datasets/dataset_factory.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torchslim.datasets import sample_voc
from torchslim.datasets.pascal_voc import PascalVOC

__all__ = ["DATASETS", "get_dataset"]


def _sample_voc(dataset_dir: str | Path, split_name: str, **kwargs: Any) -> PascalVOC:
    return PascalVOC(sample_voc.create(dataset_dir), split_name, **kwargs)


DATASETS: dict[str, Callable[..., PascalVOC]] = {"pascal_voc": PascalVOC, "sample_voc": _sample_voc}


def get_dataset(name: str, split_name: str, dataset_dir: str | Path, **kwargs: Any) -> PascalVOC:
    """Opens a data set.

    Args:
        name: 'pascal_voc', or 'sample_voc', which is drawn into `dataset_dir` if it is not there yet.
        split_name: 'train', 'val' or 'trainval' (or another list that the data set has).
        dataset_dir: its folder.
        kwargs: further arguments of `PascalVOC`: `transform`, `with_difficult`, `year`, `download`.

    Returns:
        The data set, with `class_names` and `num_classes`.

    Raises:
        ValueError: if there is none of that name.

    Example:
        >>> import tempfile
        >>> from torchslim.datasets import get_dataset, sample_voc
        >>> root = sample_voc.create(tempfile.mkdtemp(), num_images=6)
        >>> get_dataset("pascal_voc", "val", root).num_classes
        20
    """
    if name not in DATASETS:
        raise ValueError(f"get_dataset: `name` must be one of {', '.join(sorted(DATASETS))}. Got {name!r}.")
    return DATASETS[name](dataset_dir, split_name, **kwargs)
