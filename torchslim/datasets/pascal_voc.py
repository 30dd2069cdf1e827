"""Pascal VOC 2007-2012 as a multi-label classification data set with its object boxes.

Reads the `VOCdevkit` layout: `VOC<year>/{JPEGImages, Annotations, ImageSets/Main}`. The challenge: Everingham
et al., "The Pascal Visual Object Classes (VOC) Challenge", IJCV 2010.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import torch
from torchvision.datasets import VOCDetection
from torchvision.io import ImageReadMode, decode_image, read_file
from torchvision.tv_tensors import BoundingBoxes

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

    An item is `(image, labels)`, or `(image, labels, difficult)` if `with_difficult`:

    * image: uint8 `[3, H, W]`, RGB, every picture with its own size; or what `transform` makes of that.
    * labels: float32 `[20]`, 1 where the picture holds an object of the class, difficult ones included.
    * difficult: float32 `[20]`, 1 where it holds only difficult ones; VOC's metrics count these neither way.

    Args:
        root: the folder that holds `VOCdevkit`, or `VOCdevkit`, or the `VOC<year>` in it (then `year` does
            not matter).
        image_set: a list in `ImageSets/Main`: 'train', 'val', 'trainval', for 2007 also 'test', or one of
            your own.
        year: '2007' to '2012'.
        download: get the year's archive (0.5 to 2 GB) into `root` first, if the folder is not there.
        transform: called with the picture; needed to batch pictures, as they differ in size.
        with_difficult: whether items have a third field.

    Raises:
        ValueError: for an unknown `year`, or if the list is empty.
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
        transform: Callable[[torch.Tensor], Any] | None = None,
        with_difficult: bool = False,
    ):
        if str(year) not in (years := [str(y) for y in range(2007, 2013)]):
            raise ValueError(f"PascalVOC: `year` must be one of {', '.join(years)}. Got {year!r}.")
        self.folder = _find_folder(Path(root), str(year), image_set, download)
        self.image_set, self.year = image_set, str(year)
        self.transform, self.with_difficult = transform, with_difficult
        self.ids = _read_list(self.folder, image_set)
        self._check_files()

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        image = self.image(index)
        labels, difficult = self.target(index)
        if self.transform is not None:
            image = self.transform(image)
        return (image, labels, difficult) if self.with_difficult else (image, labels)

    def __repr__(self) -> str:
        return f"PascalVOC({str(self.folder)!r}, {self.image_set!r}, {len(self)} images)"

    @property
    def images(self) -> list[str]:
        """The pictures' files, as in torchvision's data sets."""
        return [str(self.folder / "JPEGImages" / f"{name}.jpg") for name in self.ids]

    def image(self, index: int) -> torch.Tensor:
        """Reads picture number `index`.

        Returns:
            uint8 `[3, H, W]`, RGB.

        Raises:
            ValueError: if the file is not a whole JPEG; the message names it.
        """
        path = self.folder / "JPEGImages" / f"{self.ids[index]}.jpg"
        try:
            return decode_image(read_file(str(path)), ImageReadMode.RGB)
        except RuntimeError as error:
            reason = str(error).rsplit(", ", 1)[-1]  # without the place in torchvision's C++ sources
            raise ValueError(f"PascalVOC: {str(path)!r} is not a readable picture: {reason}.") from error

    def objects(self, index: int) -> tuple[VOCObject, ...]:
        """Reads the annotated objects of picture number `index`, in the file's order.

        Raises:
            ValueError: if the file is not such an annotation; the message names it.
        """
        path = self.folder / "Annotations" / f"{self.ids[index]}.xml"
        try:
            return tuple(map(_parse_object, ElementTree.parse(path).getroot().iterfind("object")))
        except (ElementTree.ParseError, ValueError) as error:
            raise ValueError(f"PascalVOC: {str(path)!r} is not a VOC annotation: {error}.") from error

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
        corners = [(x0 - 1, y0 - 1, x1, y1) for _, (x0, y0, x1, y1), _, _ in self.objects(index)]
        height, width = self.image(index).shape[-2:]
        boxes = torch.tensor(corners, dtype=torch.float32).reshape(-1, 4)
        return BoundingBoxes(boxes, format="XYXY", canvas_size=(height, width))

    def _check_files(self) -> None:
        for part, ending in (("JPEGImages", ".jpg"), ("Annotations", ".xml")):
            folder = self.folder / part
            there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
            missing = [name for name in self.ids if name + ending not in there]
            if missing:
                raise FileNotFoundError(
                    f"PascalVOC: {len(missing)} of the {len(self)} images in list {self.image_set!r} "
                    f"have no {ending} file. The first one is {str(folder / missing[0]) + ending!r}."
                )


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


def _read_list(folder: Path, image_set: str) -> list[str]:
    """The image ids of `ImageSets/Main/<image_set>.txt`."""
    path = folder / "ImageSets" / "Main" / f"{image_set}.txt"
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
