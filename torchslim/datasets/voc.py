"""Pascal VOC 2007-2012: which classes are in a picture, where its objects are, and what each pixel shows.

Reads the `VOCdevkit` layout: `VOC<year>/{JPEGImages, Annotations, SegmentationClass, ImageSets}`. The challenge:
Everingham et al., "The Pascal Visual Object Classes (VOC) Challenge", IJCV 2010.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import torch
from torchvision.datasets import VOCDetection
from torchvision.tv_tensors import BoundingBoxes, Mask

from torchslim.data import DataError
from torchslim.data.images import decode_mask
from torchslim.datasets.labelled_images import read_picture

__all__ = ["CLASS_NAMES", "PascalVOC", "VOCObject"]

CLASS_NAMES = (
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)

_ITEMS = {
    "classification": {"image": "A photograph.", "label": "Which of the 20 classes are in it."},
    "detection": {"image": "A photograph.", "boxes": "Where its objects are.", "label": "Which class each is of."},
    "segmentation": {"image": "A photograph.", "mask": "Which class each pixel shows."},
}
_LABELS = {name: number for number, name in enumerate(CLASS_NAMES)}


class VOCObject(NamedTuple):
    """One annotated object.

    Attributes:
        name: its class, one of `CLASS_NAMES`.
        box: `(xmin, ymin, xmax, ymax)` in pixels as the file has it: counted from 1, both ends included.
        difficult: hard to recognise; the challenge ignores such objects in evaluation.
        truncated: the box does not hold the whole object.
    """

    name: str
    box: tuple[float, float, float, float]
    difficult: bool
    truncated: bool


class PascalVOC(torch.utils.data.Dataset[tuple[torch.Tensor, ...]]):
    """The pictures of one list of Pascal VOC and which of the 20 classes are in them.

    An item begins with the image: uint8 `[3, H, W]`, RGB, every picture with its own size. By `task` follow:

    * 'classification': labels, float32 `[20]`, 1 where the picture holds an object of the class, difficult ones
      included; and, if `with_difficult`, float32 `[20]`, 1 where it holds only difficult ones, which VOC's metrics
      count neither way.
    * 'detection': boxes, as `boxes(index)` gives them; labels, int64 `[N]`, the class of each; and, if
      `with_difficult`, bool `[N]`.
    * 'segmentation': the mask, as `mask(index)` gives it.

    Args:
        root: the folder that holds `VOCdevkit`, or `VOCdevkit`, or the `VOC<year>` in it (then `year` does
            not matter).
        image_set: a list in `ImageSets/Main` (for segmentation, `ImageSets/Segmentation`): 'train', 'val', 'trainval',
            for 2007 also 'test', or one of your own.
        year: '2007' to '2012'.
        download: get the year's archive (0.5 to 2 GB) into `root` first, if the folder is not there.
        transform: called with the picture; needed to batch pictures, as they differ in size. For detection and
            segmentation, called with all fields and returns them all, as `torchvision.transforms.v2` do.
        with_difficult: whether items tell what is difficult.
        task: 'classification', 'detection' or 'segmentation'.

    Raises:
        ValueError: for an unknown `year` or `task`, or if the list is empty.
        FileNotFoundError: if the folder, the list, a listed picture or its annotation is missing.

    Example:
        >>> import tempfile
        >>> from torchslim.datasets import sample_voc
        >>> voc = PascalVOC(sample_voc.create(tempfile.mkdtemp(), num_images=6), "train")
        >>> image, labels = voc[0]
        >>> image.dtype, labels.shape, voc.ids[0]
        (torch.uint8, torch.Size([20]), '2012_000000')
    """

    class_names = CLASS_NAMES
    num_classes = len(CLASS_NAMES)

    def __init__(
        self,
        root: str | Path,
        image_set: str = "train",
        year: str | int = "2012",
        *,
        download: bool = False,
        transform: Callable[..., Any] | None = None,
        with_difficult: bool = False,
        task: str = "classification",
    ):
        if task not in _ITEMS:
            raise ValueError(f"PascalVOC: `task` must be one of {', '.join(_ITEMS)}. Got {task!r}.")
        if str(year) not in (years := [str(y) for y in range(2007, 2013)]):
            raise ValueError(f"PascalVOC: `year` must be one of {', '.join(years)}. Got {year!r}.")
        self.folder = _find_folder(Path(root), str(year), image_set, download)
        self.image_set, self.year = image_set, str(year)
        self.transform, self.with_difficult, self.task = transform, with_difficult, task
        self.ids = _read_list(self.folder, "Segmentation" if task == "segmentation" else "Main", image_set)
        self._check_files()

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        image = self.image(index)
        if self.task == "classification":
            image = image if self.transform is None else self.transform(image)
            return (image, *self.target(index)[: 2 if self.with_difficult else 1])
        item = (image, self.mask(index)) if self.task == "segmentation" else (image, *self._objects(index, image))
        return item if self.transform is None else tuple(self.transform(*item))

    def __repr__(self) -> str:
        return f"PascalVOC({str(self.folder)!r}, {self.image_set!r}, {len(self)} images)"

    @property
    def items_to_descriptions(self) -> dict[str, str]:
        """The fields of an item, and what they are."""
        items = dict(_ITEMS[self.task])
        if self.with_difficult and self.task != "segmentation":
            items["difficult"] = "Which of these VOC's metrics leave out."
        return items

    @property
    def images(self) -> list[str]:
        """The pictures' files, as in torchvision's data sets."""
        return [str(self.folder / "JPEGImages" / f"{name}.jpg") for name in self.ids]

    def image(self, index: int) -> torch.Tensor:
        """Reads picture number `index`.

        Returns:
            uint8 `[3, H, W]`, RGB.

        Raises:
            DataError: if the file is not a whole picture; the message names it.
        """
        return read_picture(self.folder / "JPEGImages" / f"{self.ids[index]}.jpg")

    def objects(self, index: int) -> tuple[VOCObject, ...]:
        """Reads the annotated objects of picture number `index`, in the file's order.

        Raises:
            DataError: if the file is not such an annotation; the message names it.
        """
        path = self.folder / "Annotations" / f"{self.ids[index]}.xml"
        try:
            return tuple(map(_parse_object, ElementTree.parse(path).getroot().iterfind("object")))
        except (ElementTree.ParseError, ValueError) as error:
            raise DataError(f"PascalVOC: {str(path)!r} is not a VOC annotation: {error}.") from error

    def target(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the `labels` and `difficult` vectors of picture number `index`; see the class."""
        labels, easy = torch.zeros(self.num_classes), torch.zeros(self.num_classes)
        for one in self.objects(index):
            labels[_LABELS[one.name]] = 1
            if not one.difficult:
                easy[_LABELS[one.name]] = 1
        return labels, labels - easy

    def boxes(self, index: int) -> BoundingBoxes:
        """Returns the boxes of picture number `index` for torchvision's transforms and operators.

        Returns:
            float32 `[N, 4]`, `(left, top, right, bottom)` in pixels from 0, right and bottom exclusive, in
            the order of `objects(index)`.
        """
        return _boxes(self.objects(index), self.image(index))

    def mask(self, index: int) -> Mask:
        """Reads what each pixel of picture number `index` shows.

        Returns:
            uint8 `[H, W]`: 0 for the background, 1 to 20 for the classes in the order of `CLASS_NAMES`, 255 for the
            borders of objects, which VOC's metrics leave out.

        Raises:
            DataError: if the file is not such a mask; the message names it.
        """
        path = self.folder / "SegmentationClass" / f"{self.ids[index]}.png"
        try:
            return Mask(decode_mask(path.read_bytes()))
        except DataError as error:
            raise DataError(f"PascalVOC: {str(path)!r} is not a mask. {error}") from error

    def _objects(self, index: int, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Boxes, labels and, if wanted, what is difficult."""
        objects = self.objects(index)
        labels = torch.tensor([_LABELS[one.name] for one in objects], dtype=torch.int64)
        difficult = torch.tensor([one.difficult for one in objects], dtype=torch.bool)
        return (_boxes(objects, image), labels, difficult)[: 3 if self.with_difficult else 2]

    def _check_files(self) -> None:
        target = ("SegmentationClass", ".png") if self.task == "segmentation" else ("Annotations", ".xml")
        for part, ending in (("JPEGImages", ".jpg"), target):
            folder = self.folder / part
            there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
            missing = [name for name in self.ids if name + ending not in there]
            if missing:
                raise FileNotFoundError(
                    f"PascalVOC: {len(missing)} of the {len(self)} images in list {self.image_set!r} "
                    f"have no {ending} file. The first one is {str(folder / missing[0]) + ending!r}."
                )


def _boxes(objects: Sequence[VOCObject], image: torch.Tensor) -> BoundingBoxes:
    corners = [(x0 - 1, y0 - 1, x1, y1) for _, (x0, y0, x1, y1), _, _ in objects]
    boxes = torch.tensor(corners, dtype=torch.float32).reshape(-1, 4)
    return BoundingBoxes(boxes, format="XYXY", canvas_size=(image.shape[-2], image.shape[-1]))


def _find_folder(root: Path, year: str, image_set: str, download: bool) -> Path:
    """The `VOC<year>` folder, downloaded first if need be."""
    if (root / "ImageSets").is_dir():
        return root
    places = (
        root / "VOCdevkit" / f"VOC{year}",
        root / f"VOC{year}",
        root / "TrainVal" / "VOCdevkit" / f"VOC{year}",  # how the 2011 archive unpacks
    )
    if not any(place.is_dir() for place in places) and download:
        VOCDetection(root, year, image_set, download=True)
    for place in places:
        if place.is_dir():
            return place
    state = f"it holds {_few(sorted(os.listdir(root))) or 'nothing'}" if root.is_dir() else "there is no such folder"
    raise FileNotFoundError(
        f"PascalVOC: `root` must hold VOCdevkit/VOC{year} or VOC{year}. Got {str(root)!r} ({state}). "
        "Pass download=True to get it, or draw a small one: torchslim.datasets.sample_voc.create(root)."
    )


def _read_list(folder: Path, part: str, image_set: str) -> list[str]:
    """The image ids of `ImageSets/<part>/<image_set>.txt`."""
    path = folder / "ImageSets" / part / f"{image_set}.txt"
    if not path.is_file():
        lists = sorted(found.stem for found in path.parent.glob("*.txt"))
        there = [name for name in lists if name.split("_")[0] not in _LABELS]  # but for the classes'
        raise FileNotFoundError(
            f"PascalVOC: no list {image_set!r}: {str(path)!r} is missing. "
            f"Lists that are there: {_few(there) or 'none'}."
        )
    # A class list (`cat_train`) has a number after the id.
    ids = [line.split()[0] for line in path.read_text().splitlines() if line.strip()]
    if not ids:
        raise ValueError(f"PascalVOC: list {image_set!r} is empty: {str(path)!r} names no image.")
    return ids


def _parse_object(element: ElementTree.Element) -> VOCObject:
    name = (element.findtext("name") or "").strip()
    if name not in _LABELS:
        raise ValueError(f"object {name!r} is none of VOC's 20 classes ({', '.join(CLASS_NAMES)})")
    sides = [element.findtext(f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")]
    if None in sides:
        raise ValueError(f"object {name!r} has no complete bndbox")
    xmin, ymin, xmax, ymax = (float(side) for side in sides if side is not None)
    flags = {tag: (element.findtext(tag) or "0").strip() == "1" for tag in ("difficult", "truncated")}
    return VOCObject(name, (xmin, ymin, xmax, ymax), **flags)


def _few(names: list[str]) -> str:
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
