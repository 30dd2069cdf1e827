"""Data sets as records, in TF-Slim's schema: what `slim.data.DatasetDataProvider` reads.

Pictures are `[C, H, W]`, as torchslim's layers and preprocessing take them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from torchslim.data import Dataset, FixedLenFeature, RecordReader, VarLenFeature
from torchslim.data import tfexample_decoder as decoding
from torchslim.datasets.dataset_utils import has_labels, read_label_file
from torchslim.datasets.image_folder import imagenet_names
from torchslim.datasets.small_images import CIFAR10_NAMES, MNIST_NAMES
from torchslim.datasets.voc import CLASS_NAMES as VOC_NAMES

__all__ = ["RECORDS", "Records", "cifar10", "flowers", "imagenet", "mnist", "pascal_voc", "visualwakewords"]


class Records(NamedTuple):
    """A data set that TF-Slim's scripts write as records.

    Attributes:
        name: of the data set.
        file_pattern: of the files of a split, with `{}` for its name.
        splits_to_sizes: the splits and how many records each has, None where that is not known.
        class_names: by label, unless the folder has a label file.
        channels: of the pictures.
        kind: what a record has: 'classification', 'boxes' (too), 'imagenet' (and what is in them) or 'voc'.

    TF-Slim: a module of that name, with these facts.

    Example:
        >>> from torchslim.datasets import flowers
        >>> flowers.splits_to_sizes, flowers.num_classes
        ({'train': 3320, 'validation': 350}, 5)
    """

    name: str
    file_pattern: str
    splits_to_sizes: dict[str, int | None]
    class_names: tuple[str, ...]
    channels: int = 3
    kind: str = "classification"

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)

    def get_split(
        self,
        split_name: str,
        dataset_dir: str | Path,
        file_pattern: str | None = None,
        reader: Callable[..., Any] | None = None,
        *,
        labels_offset: int = 0,
    ) -> Dataset:
        """Describes a split.

        Args:
            split_name: 'train', 'test', 'validation', ...: as the data set has it.
            dataset_dir: the folder with the records and, perhaps, `labels.txt`.
            file_pattern: of the files, with `{}` or `%s` for the split; default: TF-Slim's name for them.
            reader: a class to read them with; default: `slim.data.RecordReader`.
            labels_offset: taken from the labels.

        Returns:
            A `slim.data.Dataset` with `num_classes` and `labels_to_names`. Its items are `image`, uint8 `[C, H, W]`,
            and `label`; where there are boxes also `object/bbox`; of ImageNet `object/label` and `label_text` too; of
            Pascal VOC `label` is float32 `[20]` (which classes are in it), and there are `object/label` (0 to 19) and
            `object/difficult`.

        Raises:
            ValueError: if there is no such split.

        Example:
            >>> from torchslim.datasets import flowers
            >>> split = flowers.get_split('validation', '/data/flowers')
            >>> split.num_samples, split.num_classes, split.decoder.list_items()
            (350, 5, ['image', 'label'])
        """
        if split_name not in self.splits_to_sizes:
            raise ValueError(
                f"{self.name}.get_split: `split_name` must be one of {', '.join(self.splits_to_sizes)}. "
                f"Got {split_name!r}."
            )
        names = read_label_file(dataset_dir) if has_labels(dataset_dir) else dict(enumerate(self.class_names))
        names = {label - labels_offset: text for label, text in names.items() if label >= labels_offset}
        return Dataset(
            str(Path(dataset_dir) / (file_pattern or self.file_pattern).replace("%s", "{}").format(split_name)),
            reader or RecordReader,
            _decoder(self, labels_offset),
            self.splits_to_sizes[split_name],
            {"image": "A picture.", "label": "What it shows."},
            num_classes=len(names),
            labels_to_names=names,
            class_names=tuple(names.values()),
        )


cifar10 = Records("cifar10", "cifar10_{}.tfrecord", {"train": 50_000, "test": 10_000}, CIFAR10_NAMES)
flowers = Records(
    "flowers",
    "flowers_{}_*.tfrecord",
    {"train": 3_320, "validation": 350},
    ("daisy", "dandelion", "roses", "sunflowers", "tulips"),
)
imagenet = Records(
    "imagenet", "{}-*", {"train": 1_281_167, "validation": 50_000}, tuple(imagenet_names()), kind="imagenet"
)
mnist = Records("mnist", "mnist_{}.tfrecord", {"train": 60_000, "test": 10_000}, MNIST_NAMES, channels=1)
pascal_voc = Records(
    "pascal_voc",
    "pascal_voc_{}[._]*tfrecord",
    dict.fromkeys(("train", "val", "trainval", "test")),
    VOC_NAMES,
    kind="voc",
)
visualwakewords = Records(
    "visualwakewords", "{}.record-*", {"train": 82_783, "val": 40_504}, ("background", "person"), kind="boxes"
)
RECORDS = {records.name: records for records in (cifar10, flowers, imagenet, mnist, pascal_voc, visualwakewords)}
_BOXES = {
    "image/object/bbox/xmin": VarLenFeature(torch.float32),
    "image/object/bbox/ymin": VarLenFeature(torch.float32),
    "image/object/bbox/xmax": VarLenFeature(torch.float32),
    "image/object/bbox/ymax": VarLenFeature(torch.float32),
}


def _decoder(records: Records, labels_offset: int) -> decoding.TFExampleDecoder:
    features: dict[str, Any] = {
        "image/encoded": FixedLenFeature([], bytes, ""),
        "image/format": FixedLenFeature([], bytes, "jpeg"),
    }
    handlers: dict[str, decoding.ItemHandler] = {"image": _ChannelsFirst(channels=records.channels)}
    if records.kind == "voc":
        features["image/object/difficult"] = VarLenFeature(torch.int64)
        handlers["label"] = _Presence("image/object/class/label")
        handlers["object/difficult"] = decoding.Tensor("image/object/difficult")
    else:
        features["image/class/label"] = FixedLenFeature([], torch.int64, -1)
        handlers["label"] = _Label("image/class/label", labels_offset)
    if records.kind == "imagenet":
        features["image/class/text"] = FixedLenFeature([], bytes, "")
        handlers["label_text"] = decoding.Tensor("image/class/text")
    if records.kind != "classification":
        features |= _BOXES
        handlers["object/bbox"] = decoding.BoundingBox(["ymin", "xmin", "ymax", "xmax"], "image/object/bbox/")
    if records.kind in ("imagenet", "voc"):
        features["image/object/class/label"] = VarLenFeature(torch.int64)
        offset = 1 if records.kind == "voc" else labels_offset
        handlers["object/label"] = _Label("image/object/class/label", offset)
    return decoding.TFExampleDecoder(features, handlers)


class _ChannelsFirst(decoding.Image):
    """A picture as `[C, H, W]`."""

    def tensors_to_item(self, keys_to_tensors: Any) -> torch.Tensor:
        return super().tensors_to_item(keys_to_tensors).movedim(-1, -3)


class _Label(decoding.Tensor):
    """Labels, less an offset."""

    def __init__(self, key: str, labels_offset: int):
        super().__init__(key)
        self.labels_offset = labels_offset

    def tensors_to_item(self, keys_to_tensors: Any) -> Any:
        return super().tensors_to_item(keys_to_tensors) - self.labels_offset


class _Presence(decoding.Tensor):
    """Which of VOC's classes, numbered from 1, are among the objects: float32 `[20]`."""

    def tensors_to_item(self, keys_to_tensors: Any) -> torch.Tensor:
        present = torch.zeros(len(VOC_NAMES))
        present[super().tensors_to_item(keys_to_tensors) - 1] = 1
        return present
