"""Pictures in folders, one for each class; ImageNet and the flowers photographs are kept like that."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torchvision import datasets as torchvision_datasets
from torchvision.models import VGG16_Weights

from torchslim.datasets.dataset_utils import has_labels, read_label_file
from torchslim.datasets.labelled_images import LabelledImages, checked_split, read_picture

__all__ = ["Flowers", "ImageFolder", "ImageNet", "imagenet_names"]

_FLOWERS_VALIDATION = 350  # of TF-Slim's 3670 photographs


class ImageFolder(LabelledImages):
    """Pictures in folders: `root/split/class/picture`, or `root/class/picture` without a split.

    Labels are those of `labels.txt` in `root`, if it is there; else classes are numbered in the order of their names.

    Args:
        root: the folder.
        split: the name of a folder in it, or None.
        transform: called with the picture, uint8 `[3, H, W]`.
        labels_offset: taken from all labels.

    Raises:
        FileNotFoundError: if the folder is missing, has no folders of classes, or one of these has no pictures.
        ValueError: if a folder is not in `labels.txt`.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> root = Path(tempfile.mkdtemp())
        >>> for name in ('cat', 'dog'):
        ...     (root / 'train' / name).mkdir(parents=True)
        ...     Image.new('RGB', (40, 30)).save(root / 'train' / name / '1.png')
        >>> pictures = ImageFolder(root, 'train')
        >>> pictures.class_names, pictures[1][0].shape, pictures[1][1]
        (('cat', 'dog'), torch.Size([3, 30, 40]), 1)
    """

    def __init__(
        self,
        root: str | Path,
        split: str | None = None,
        *,
        transform: Callable[[torch.Tensor], Any] | None = None,
        labels_offset: int = 0,
    ):
        folder = Path(root) / split if split else Path(root)
        samples, folders = _find_pictures(type(self).__name__, folder)
        names = self._names(Path(root), folders)
        numbers = {name: label for label, name in names.items()}
        unknown = [name for name in folders if name not in numbers]
        if unknown:
            raise ValueError(
                f"{type(self).__name__}: all folders of {str(folder)!r} must be in labels.txt. Got {unknown[0]!r}, too."
            )
        samples = self._of_split([(path, numbers[folders[label]]) for path, label in samples], split or "all")
        self.samples = samples
        super().__init__(
            root,
            split or "all",
            self._class_names([names.get(label, "") for label in range(max(names) + 1)]),
            [label for _, label in samples],
            transform=transform,
            labels_offset=labels_offset,
        )

    @property
    def images(self) -> list[str]:
        """The pictures' files."""
        return [path for path, _ in self.samples]

    def image(self, index: int) -> torch.Tensor:
        """Reads picture number `index`, uint8 `[3, H, W]`.

        Raises:
            DataError: if it cannot be decoded; the message names the file.
        """
        return read_picture(self.samples[index][0])

    def _names(self, root: Path, folders: list[str]) -> dict[int, str]:
        """Label -> name of the folder."""
        return read_label_file(root) if has_labels(root) else dict(enumerate(folders))

    def _class_names(self, names: list[str]) -> list[str]:
        return names

    def _of_split(self, samples: list[tuple[str, int]], split: str) -> list[tuple[str, int]]:
        return samples


class ImageNet(ImageFolder):
    """ImageNet's classification task of 2012: `root/{train,validation}/n01440764/....JPEG`.

    Labels are TF-Slim's: 0 is the background, which no picture has, 1 to 1000 are the classes in the order of their
    WordNet numbers. Nets with 1000 classes (VGG, ResNet v1) take `labels_offset=1`.

    Args:
        root: the folder.
        split: 'train' or 'validation' (`val` may be the folder's name too).
        transform: called with the picture, uint8 `[3, H, W]`.
        labels_offset: taken from all labels: 0 or 1.

    Raises:
        FileNotFoundError: if the folder is missing or empty.
        ValueError: if `split` is unknown.

    TF-Slim: reads records, which `datasets.imagenet.get_split` describes.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        *,
        transform: Callable[[torch.Tensor], Any] | None = None,
        labels_offset: int = 0,
    ):
        checked_split("ImageNet", split, ("train", "validation", "val"))
        other = {"validation": "val", "val": "validation"}.get(split, split)
        there = split if (Path(root) / split).is_dir() else other
        super().__init__(root, there, transform=transform, labels_offset=labels_offset)
        self.split = split

    def _names(self, root: Path, folders: list[str]) -> dict[int, str]:
        return {0: "background", **dict(enumerate(folders, 1))}

    def _class_names(self, names: list[str]) -> list[str]:
        return imagenet_names() if len(names) == len(imagenet_names()) else names


class Flowers(ImageFolder):
    """The flowers photographs of TensorFlow's tutorials: `root/flower_photos/{daisy, ...}/....jpg`.

    Args:
        root: the folder that holds `flower_photos`, or that itself.
        split: 'train' or 'validation'; which photograph is in which is a function of their names.
        transform: called with the picture, uint8 `[3, H, W]`.
        labels_offset: taken from all labels.
        num_validation: photographs in 'validation'.

    Raises:
        FileNotFoundError: if the folder is missing or empty.
        ValueError: if `split` is unknown.

    TF-Slim: has as many in each part, but others: its parts depend on the order in which the folder lists its files.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        *,
        transform: Callable[[torch.Tensor], Any] | None = None,
        labels_offset: int = 0,
        num_validation: int = _FLOWERS_VALIDATION,
    ):
        self._wanted = checked_split("Flowers", split, ("train", "validation"))
        self.num_validation = num_validation
        photographs = Path(root) / "flower_photos"
        super().__init__(
            photographs if photographs.is_dir() else root, None, transform=transform, labels_offset=labels_offset
        )
        self.split = split

    def _of_split(self, samples: list[tuple[str, int]], split: str) -> list[tuple[str, int]]:
        order = list(samples)
        random.Random(0).shuffle(order)
        return order[: self.num_validation] if self._wanted == "validation" else order[self.num_validation :]


def imagenet_names() -> list[str]:
    """TF-Slim's 1001 classes of ImageNet: the background, and torchvision's names of the others."""
    return ["background", *VGG16_Weights.IMAGENET1K_V1.meta["categories"]]


def _find_pictures(name: str, folder: Path) -> tuple[list[tuple[str, int]], list[str]]:
    """The files of pictures with the numbers of their folders, and these folders."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{name}: the folder with a folder for each class must be there. Got {str(folder)!r}.")
    try:
        found = torchvision_datasets.ImageFolder(str(folder), loader=read_picture)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{name}: {str(folder)!r} must have pictures in a folder for each class. {error}"
        ) from error
    return found.samples, found.classes
