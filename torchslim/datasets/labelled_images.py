"""What the data sets of pictures with one label each have in common."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch

from torchslim.data import DataError, decode_image

__all__ = ["LabelledImages", "checked_split", "read_picture"]


class LabelledImages(torch.utils.data.Dataset[tuple[Any, int]], abc.ABC):
    """Pictures, each of one class.

    An item is `(image, label)`: uint8 `[C, H, W]`, or what `transform` makes of that, and an int.

    Args:
        root: the folder that they are in.
        split: which part of the data set.
        class_names: by label.
        labels: of the pictures.
        transform: called with the picture.
        labels_offset: taken from all labels: 1 leaves out a first class that stands for the background.

    Attributes:
        class_names: by label, without those that `labels_offset` leaves out.
        labels: of the pictures.

    Raises:
        ValueError: if there are no pictures, or `labels_offset` is more than a label.
    """

    items_to_descriptions: ClassVar[dict[str, str]] = {
        "image": "A picture.",
        "label": "The number of the class that it shows.",
    }

    def __init__(
        self,
        root: str | Path,
        split: str,
        class_names: Sequence[str],
        labels: Sequence[int],
        *,
        transform: Callable[[torch.Tensor], Any] | None = None,
        labels_offset: int = 0,
    ):
        name = type(self).__name__
        if not labels:
            raise ValueError(f"{name}: `root` must hold pictures. Got {str(root)!r}, with none for {split!r}.")
        if not 0 <= labels_offset <= min(labels):
            raise ValueError(
                f"{name}: `labels_offset` must be 0 to {min(labels)}, the smallest label. Got {labels_offset}."
            )
        self.root, self.split, self.transform = Path(root), split, transform
        self.class_names = tuple(class_names[labels_offset:])
        self.labels = [label - labels_offset for label in labels]

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)

    @property
    def labels_to_names(self) -> dict[int, str]:
        """Which name each label has."""
        return dict(enumerate(self.class_names))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image, label = self.image(index), self.labels[index]
        return (image if self.transform is None else self.transform(image)), label

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.root)!r}, {self.split!r}, {len(self)} images)"

    @abc.abstractmethod
    def image(self, index: int) -> torch.Tensor:
        """Picture number `index`, uint8 `[C, H, W]`."""


def read_picture(path: str | Path) -> torch.Tensor:
    """Reads a picture file, uint8 `[3, H, W]`; of a GIF, its first picture.

    Raises:
        DataError: if it cannot be decoded; the message names it.
    """
    try:
        with open(path, "rb") as file:
            image = decode_image(file.read(), 3)
    except DataError as error:
        raise DataError(f"{str(path)!r} is not a readable picture. {error}") from error
    return (image[0] if image.ndim == 4 else image).permute(2, 0, 1)


def checked_split(name: str, split: str, known: Sequence[str]) -> str:
    """Returns `split`, if there is such a part of the data set.

    Raises:
        ValueError: if there is none.
    """
    if split not in known:
        raise ValueError(f"{name}: `split` must be one of {', '.join(known)}. Got {split!r}.")
    return split
