"""A data set in Pascal VOC's layout that the package draws itself: no download, about a second to make.

Twenty icons, one for each class of VOC, each recognisable by how its parts are shaped, textured and put
together and not by its colour, in cluttered scenes with one to three objects: a small net must learn to see,
and can. `PascalVOC` reads it like the real one.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from torchslim.datasets.drawing import ObjectSpec, draw_scene
from torchslim.datasets.icons import ICONS
from torchslim.datasets.voc import CLASS_NAMES

__all__ = ["create"]

_VERSION = 1  # of the drawings; data sets made by another one are made anew
_MARKER = "sample_voc.json"  # in VOC2012/: what the data set was made from
_SIZES = (
    (96, 128),
    (96, 128),
    (96, 128),
    (128, 96),
    (112, 112),
)  # height, width, as often as they are listed
_RADII = {1: (0.32, 0.47), 2: (0.26, 0.36), 3: (0.21, 0.29)}  # of the shorter side, by number of objects


class _Object(NamedTuple):
    name: str
    box: tuple[int, int, int, int]  # as `DrawnObject.box`
    truncated: bool
    occluded: bool
    difficult: bool


def create(root: str | Path, *, num_images: int = 480, seed: int = 0) -> Path:
    """Draws the data set under `root`, unless it is there already.

    It makes `root/VOCdevkit/VOC2012/` with `JPEGImages`, `Annotations` and `ImageSets/Main`. Every third
    picture is in `val`, the others in `train`. The folder appears under its name when it is complete, so a
    creation that was interrupted leaves nothing that looks like a data set, and several processes may create
    the same one.

    Args:
        root: where to put it; made if missing.
        num_images: how many pictures, 128 x 96 pixels or about as many, 5 kB each.
        seed: another seed draws other pictures. The same one gives the same bytes (on the same kind of processor,
            with the same numpy and Pillow).

    Returns:
        `root`, for `PascalVOC(root)`.

    Raises:
        ValueError: if `num_images` is too few for both lists.
        FileExistsError: if a `VOC2012` is there that this function did not draw.

    Example:
        >>> import tempfile
        >>> from torchslim.datasets import PascalVOC, sample_voc
        >>> root = sample_voc.create(tempfile.mkdtemp(), num_images=30)
        >>> len(PascalVOC(root, "train")), len(PascalVOC(root, "val"))
        (20, 10)
    """
    if num_images < 3:
        raise ValueError(f"sample_voc.create: `num_images` must be at least 3. Got {num_images}.")
    root = Path(root)
    made_from = {"version": _VERSION, "num_images": num_images, "seed": seed}
    target = root / "VOCdevkit" / "VOC2012"
    if _is_made_from(target, made_from):
        return root
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(target.parent)
    with tempfile.TemporaryDirectory(prefix=".sample_voc-", dir=target.parent) as scratch:
        new = Path(scratch) / "VOC2012"
        _write(new, num_images, seed)
        (new / _MARKER).write_text(json.dumps(made_from))
        if target.exists():
            target.rename(Path(scratch) / "old")
        try:
            new.rename(target)
        except OSError:
            if not _is_made_from(target, made_from):  # not just another process that was faster
                raise
    return root


def _is_made_from(target: Path, made_from: dict[str, int]) -> bool:
    """Whether `target` is the data set that is asked for; an error if it is not one of ours at all."""
    if not target.exists():
        return False
    if not (target / _MARKER).is_file():
        raise FileExistsError(
            f"sample_voc.create: {str(target)!r} was not drawn by sample_voc, so it stays as it is. "
            "Give another `root`."
        )
    try:
        return json.loads((target / _MARKER).read_text()) == made_from
    except ValueError:
        return False


def _remove_leftovers(folder: Path) -> None:
    """Removes what killed runs left; a young one may belong to a process that is still drawing."""
    for leftover in folder.glob(".sample_voc-*"):
        if time.time() - leftover.stat().st_mtime > 600:
            shutil.rmtree(leftover, ignore_errors=True)


def _write(folder: Path, num_images: int, seed: int) -> None:
    """Draws and writes everything under `folder`, which stands for `VOC2012`."""
    for part in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / part).mkdir(parents=True)
    lists: dict[str, dict[str, list[_Object]]] = {"train": {}, "val": {}, "trainval": {}}
    for index in range(num_images):
        name = f"2012_{index:06d}"
        image, objects = _draw(seed, index)
        Image.fromarray(image).save(folder / "JPEGImages" / f"{name}.jpg", quality=90)
        (folder / "Annotations" / f"{name}.xml").write_text(_annotation(name, image.shape, objects))
        lists["val" if index % 3 == 2 else "train"][name] = lists["trainval"][name] = objects
    for split, images in lists.items():
        (folder / "ImageSets" / "Main" / f"{split}.txt").write_text("".join(f"{name}\n" for name in images))
        for class_name in CLASS_NAMES:
            lines = (f"{name} {_presence(class_name, objects):2d}\n" for name, objects in images.items())
            (folder / "ImageSets" / "Main" / f"{class_name}_{split}.txt").write_text("".join(lines))


def _draw(seed: int, index: int) -> tuple[np.ndarray, list[_Object]]:
    """Picture number `index` `[H, W, 3]` and what is in it; the last of its objects is never hidden."""
    rng = np.random.default_rng((seed, index))
    # The classes take turns (train and val each see them equally often), and more of any class come along.
    turn = np.random.default_rng((seed, 1 + index // 60)).permutation(20)[index % 60 // 3]
    height, width = _SIZES[rng.integers(len(_SIZES))]
    count = int(rng.integers(1, 4))
    classes = [*rng.integers(20, size=count - 1).tolist(), int(turn)]
    specs, hard = [], []
    for number in classes:
        tiny, faint = rng.random(2) < 0.04
        radius = (0.08 if tiny else rng.uniform(*_RADII[count])) * min(height, width)
        specs.append(ObjectSpec(ICONS[CLASS_NAMES[number]], radius, 0.45 if faint else 1.0))
        hard.append(bool(tiny or faint))
    image, drawn = draw_scene(rng, height, width, specs)
    objects = [
        _Object(
            CLASS_NAMES[number],
            where.box,
            where.truncated,
            where.visible < 0.95,
            is_hard or where.visible < 0.5,
        )
        for number, where, is_hard in zip(classes, drawn, hard, strict=True)
        if where.box is not None and where.visible > 0.1
    ]
    return image, objects


def _presence(class_name: str, objects: Iterable[_Object]) -> int:
    """VOC's number in a class list: 1 present, 0 only difficult ones, -1 absent."""
    found = [one.difficult for one in objects if one.name == class_name]
    return -1 if not found else 0 if all(found) else 1


def _annotation(name: str, shape: tuple[int, ...], objects: Iterable[_Object]) -> str:
    """The XML of one picture; VOC's boxes count pixels from 1 and include both ends."""
    lines = [
        "<annotation>",
        "\t<folder>VOC2012</folder>",
        f"\t<filename>{name}.jpg</filename>",
        "\t<source>\n\t\t<database>torchslim sample_voc</database>\n\t\t<image>drawn</image>\n\t</source>",
        f"\t<size>\n\t\t<width>{shape[1]}</width>\n\t\t<height>{shape[0]}</height>\n\t\t<depth>3</depth>\n\t</size>",
        "\t<segmented>0</segmented>",
    ]
    for one in objects:
        left, top, right, bottom = one.box
        tags = {
            "name": one.name,
            "pose": "Unspecified",
            "truncated": int(one.truncated),
            "occluded": int(one.occluded),
            "difficult": int(one.difficult),
        }
        box = {"xmin": left + 1, "ymin": top + 1, "xmax": right, "ymax": bottom}
        lines.append("\t<object>")
        lines += [f"\t\t<{tag}>{value}</{tag}>" for tag, value in tags.items()]
        lines += [
            "\t\t<bndbox>",
            *(f"\t\t\t<{tag}>{value}</{tag}>" for tag, value in box.items()),
            "\t\t</bndbox>",
        ]
        lines.append("\t</object>")
    return "\n".join([*lines, "</annotation>", ""])
