"""A data set in Pascal VOC's layout that the package draws itself: no download, about a second to make.

Twenty icons, one for each class of VOC, each recognisable by how its parts are shaped, textured and put together
and not by its colour, in cluttered scenes with one to three objects: a small net must learn to see, and can.
`PascalVOC` reads it like the real one.
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

from torchslim.datasets.drawing import Icon, ObjectSpec, Part, draw_scene
from torchslim.datasets.pascal_voc import CLASS_NAMES

__all__ = ["ICONS", "create"]

_VERSION = 1  # of the drawings; data sets made by another one are made anew
_MARKER = "sample_voc.json"  # in VOC2012/: what the data set was made from
_SIZES = ((96, 128), (96, 128), (96, 128), (128, 96), (112, 112))  # height, width, as often as they are listed
_RADII = {1: (0.32, 0.47), 2: (0.26, 0.36), 3: (0.21, 0.29)}  # of the shorter side, by number of objects

E, B, T, R = "ellipse", "box", "triangle", "ring"


def _wheels(*centres: float, y: float = 0.6, radius: float = 0.25) -> Icon:
    return tuple(
        part
        for x in centres
        for part in (Part(E, x, y, radius, radius, tone="dark"), Part(E, x, y, radius / 2, radius / 2, tone="light"))
    )


def _legs(*centres: float, y: float = 0.65, w: float = 0.07, h: float = 0.32, tone: str = "body") -> Icon:
    return tuple(Part(B, x, y, w, h, tone=tone) for x in centres)


ICONS: dict[str, Icon] = {
    "aeroplane": (
        Part(B, 0.05, -0.45, 0.17, 0.5, -25, "trim"),
        Part(B, 0.05, 0.45, 0.17, 0.5, 25, "trim"),
        Part(T, -0.85, 0, 0.42, 0.16, 90, "trim"),
        Part(E, 0, 0, 1.0, 0.2, texture="stripes"),
        Part(E, 0.78, 0, 0.12, 0.1, tone="dark"),
    ),
    "bicycle": (
        Part(R, -0.55, 0.35, 0.42, 0.42, tone="dark"),
        Part(R, 0.55, 0.35, 0.42, 0.42, tone="dark"),
        Part(B, -0.25, 0.0, 0.06, 0.5, -35),
        Part(B, 0.15, -0.05, 0.06, 0.5, 35),
        Part(B, 0.1, -0.3, 0.45, 0.06),
        Part(B, 0.45, -0.05, 0.06, 0.5, -15),
        Part(B, -0.4, -0.5, 0.2, 0.07, tone="dark"),
        Part(B, 0.4, -0.58, 0.22, 0.06, -20, "dark"),
    ),
    "bird": (
        Part(T, -0.75, 0.15, 0.25, 0.35, 70, "trim"),
        Part(E, 0.0, 0.15, 0.65, 0.36, -15),
        Part(E, -0.1, 0.1, 0.42, 0.24, -25, "trim", "waves"),
        Part(E, 0.55, -0.3, 0.27, 0.25),
        Part(T, 0.92, -0.28, 0.1, 0.2, 95, "dark"),
        Part(E, 0.62, -0.36, 0.07, 0.07, tone="dark"),
        *_legs(-0.05, 0.2, y=0.7, w=0.035, h=0.25, tone="dark"),
    ),
    "boat": (
        Part(T, 0, 0.62, 1.15, 0.34, 180, texture="bars"),
        Part(B, 0, -0.25, 0.05, 0.7, tone="dark"),
        Part(T, 0.42, -0.25, 0.34, 0.55, 8, "light"),
        Part(T, -0.4, -0.15, 0.3, 0.42, -8, "trim"),
    ),
    "bottle": (
        Part(B, 0, -0.68, 0.12, 0.32),
        Part(B, 0, -0.92, 0.15, 0.08, tone="dark"),
        Part(E, 0, -0.3, 0.32, 0.25),
        Part(B, 0, 0.35, 0.32, 0.62),
        Part(B, 0, 0.35, 0.32, 0.27, tone="light", texture="checks"),
    ),
    "bus": (
        Part(B, 0, 0, 1.0, 0.58),
        Part(B, -0.05, -0.22, 0.88, 0.2, tone="light", texture="stripes"),
        Part(B, 0.85, 0.12, 0.1, 0.35, tone="dark"),
        Part(B, 0, 0.2, 1.0, 0.06, tone="trim"),
        *_wheels(-0.55, 0.5),
    ),
    "car": (
        Part(E, -0.05, -0.08, 0.58, 0.42),
        Part(E, -0.05, -0.05, 0.44, 0.28, tone="light"),
        Part(B, -0.05, -0.05, 0.05, 0.3),
        Part(B, 0, 0.3, 0.95, 0.26),
        Part(E, 0.85, 0.22, 0.1, 0.1, tone="light"),
        *_wheels(-0.52, 0.52, y=0.55),
    ),
    "cat": (
        Part(T, -0.5, -0.6, 0.28, 0.36, -18),
        Part(T, 0.5, -0.6, 0.28, 0.36, 18),
        Part(E, 0, 0.1, 0.8, 0.68, texture="stripes"),
        Part(E, -0.32, -0.05, 0.15, 0.18, tone="light"),
        Part(E, 0.32, -0.05, 0.15, 0.18, tone="light"),
        Part(E, -0.32, -0.05, 0.06, 0.16, tone="dark"),
        Part(E, 0.32, -0.05, 0.06, 0.16, tone="dark"),
        Part(T, 0, 0.28, 0.12, 0.09, 180, "dark"),
        Part(B, -0.55, 0.38, 0.42, 0.025, 8, "light"),
        Part(B, 0.55, 0.38, 0.42, 0.025, -8, "light"),
    ),
    "chair": (
        Part(B, -0.42, -0.42, 0.08, 0.55),
        Part(B, 0.42, -0.42, 0.08, 0.55),
        Part(B, 0, -0.5, 0.42, 0.34, texture="stripes"),
        Part(B, 0, 0.12, 0.62, 0.13, tone="trim"),
        *_legs(-0.52, 0.52, -0.25, 0.25, y=0.58, h=0.38),
    ),
    "cow": (
        Part(E, -0.1, 0.0, 0.75, 0.42, texture="patches"),
        *_legs(-0.65, -0.4, 0.2, 0.42, y=0.55),
        Part(E, 0.72, -0.3, 0.24, 0.28),
        Part(E, 0.82, -0.15, 0.17, 0.14, tone="light"),
        Part(T, 0.5, -0.68, 0.06, 0.2, -30, "dark"),
        Part(T, 0.9, -0.68, 0.06, 0.2, 30, "dark"),
        Part(B, -0.88, 0.05, 0.04, 0.35, 10, "dark"),
    ),
    "diningtable": (
        *_legs(-0.72, 0.72, y=0.35, w=0.08, h=0.6, tone="dark"),
        Part(B, 0, 0.3, 0.09, 0.55, tone="dark"),
        Part(E, 0, -0.25, 1.0, 0.4, texture="checks"),
        Part(E, -0.4, -0.28, 0.22, 0.1, tone="light"),
        Part(E, 0.4, -0.28, 0.22, 0.1, tone="light"),
    ),
    "dog": (
        Part(E, 0, -0.05, 0.6, 0.72),
        Part(E, -0.65, -0.05, 0.2, 0.55, 15, "trim"),
        Part(E, 0.65, -0.05, 0.2, 0.55, -15, "trim"),
        Part(E, 0, 0.42, 0.42, 0.36, tone="light"),
        Part(E, 0, 0.25, 0.17, 0.12, tone="dark"),
        Part(E, -0.24, -0.2, 0.1, 0.1, tone="dark"),
        Part(E, 0.24, -0.2, 0.1, 0.1, tone="dark"),
        Part(E, 0.02, 0.72, 0.1, 0.2, tone="trim"),
    ),
    "horse": (
        *_legs(-0.6, -0.42, 0.2, 0.38, y=0.55, w=0.06, h=0.42),
        Part(E, -0.12, 0.05, 0.62, 0.3),
        Part(B, 0.48, -0.35, 0.16, 0.48, 35),
        Part(B, 0.3, -0.42, 0.07, 0.5, 35, "trim", "bars"),
        Part(E, 0.78, -0.62, 0.32, 0.15, 35),
        Part(E, -0.8, 0.15, 0.1, 0.4, 20, "trim", "bars"),
    ),
    "motorbike": (
        *_wheels(-0.6, 0.62, y=0.42, radius=0.38),
        Part(B, 0.42, -0.05, 0.06, 0.52, -28, "light"),
        Part(E, 0.05, 0.02, 0.42, 0.2, -8),
        Part(B, 0.0, 0.3, 0.32, 0.18, tone="trim", texture="bars"),
        Part(E, -0.48, -0.1, 0.36, 0.11, 10, "dark"),
        Part(B, 0.24, -0.5, 0.2, 0.06, 15, "dark"),
        Part(B, -0.5, 0.5, 0.4, 0.06, tone="light"),
    ),
    "person": (
        *_legs(-0.17, 0.17, y=0.62, w=0.13, h=0.4, tone="dark"),
        Part(B, -0.45, 0.0, 0.09, 0.42, 25, "light"),
        Part(B, 0.45, 0.0, 0.09, 0.42, -25, "light"),
        Part(B, 0, -0.05, 0.34, 0.38, texture="bars"),
        Part(E, 0, -0.68, 0.25, 0.27, tone="light"),
        Part(E, 0, -0.86, 0.27, 0.14, tone="trim"),
    ),
    "pottedplant": (
        *(Part(E, x, y, 0.14, 0.48, angle, texture="waves") for x, y, angle in ((-0.5, -0.25, -60), (0.5, -0.25, 60))),
        *(Part(E, x, y, 0.14, 0.5, angle) for x, y, angle in ((-0.28, -0.5, -28), (0.28, -0.5, 28), (0, -0.5, 0))),
        Part(B, 0, 0.45, 0.36, 0.48, tone="trim", texture="bars"),
        Part(B, 0, 0.05, 0.55, 0.13, tone="trim"),
    ),
    "sheep": (
        *_legs(-0.45, -0.25, 0.2, 0.4, y=0.68, w=0.06, h=0.27, tone="dark"),
        *(Part(E, x, y, 0.36, 0.33, tone="light") for x, y in ((-0.5, -0.1), (0.35, -0.1), (-0.1, -0.3))),
        Part(E, -0.08, 0.1, 0.68, 0.4, tone="light", texture="dots"),
        Part(E, 0.72, -0.18, 0.2, 0.27, -20, "dark"),
    ),
    "sofa": (
        Part(B, 0, -0.18, 0.8, 0.42, texture="dots"),
        Part(B, 0, 0.3, 0.8, 0.22, tone="trim"),
        Part(B, 0, 0.3, 0.03, 0.22, tone="dark"),
        Part(B, -0.85, 0.2, 0.16, 0.42),
        Part(B, 0.85, 0.2, 0.16, 0.42),
        *_legs(-0.8, 0.8, y=0.7, w=0.07, h=0.1, tone="dark"),
    ),
    "train": (
        Part(B, 0, 0.85, 1.0, 0.1, tone="dark", texture="stripes"),
        Part(B, -0.6, -0.2, 0.36, 0.58),
        Part(B, -0.6, -0.4, 0.22, 0.2, tone="light"),
        Part(E, 0.25, 0.1, 0.7, 0.34, texture="bars"),
        Part(B, 0.62, -0.4, 0.12, 0.28, tone="dark"),
        Part(E, 0.2, -0.22, 0.17, 0.17, tone="trim"),
        *_wheels(-0.6, 0.0, 0.55, y=0.55, radius=0.22),
    ),
    "tvmonitor": (
        Part(B, 0, 0.72, 0.08, 0.2, tone="dark"),
        Part(B, 0, 0.9, 0.45, 0.08, tone="dark"),
        Part(B, 0, -0.1, 0.95, 0.68, tone="dark"),
        Part(B, 0, -0.1, 0.8, 0.54, texture="hoops"),
        Part(E, 0.8, 0.51, 0.05, 0.05, tone="light"),
    ),
}


class _Object(NamedTuple):
    name: str
    box: tuple[int, int, int, int]  # as `DrawnObject.box`
    truncated: bool
    occluded: bool
    difficult: bool


def create(root: str | Path, *, num_images: int = 480, seed: int = 0) -> Path:
    """Draws the data set under `root`, unless it is there already.

    It makes `root/VOCdevkit/VOC2012/` with `JPEGImages`, `Annotations` and `ImageSets/Main`. Every third picture
    is in `val`, the others in `train`. The folder appears under its name when it is complete, so a creation that was interrupted
    leaves nothing that looks like a data set, and several processes may create the same one.

    Args:
        root: where to put it; made if missing.
        num_images: how many pictures, 128 x 96 pixels or about as many, 5 kB each.
        seed: another seed draws other pictures. The same one gives the same bytes (with the same numpy and Pillow).

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
            f"sample_voc.create: {str(target)!r} was not drawn by sample_voc, so it stays as it is. Give another `root`."
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
        _Object(CLASS_NAMES[number], where.box, where.truncated, where.visible < 0.95, is_hard or where.visible < 0.5)
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
        lines += ["\t\t<bndbox>", *(f"\t\t\t<{tag}>{value}</{tag}>" for tag, value in box.items()), "\t\t</bndbox>"]
        lines.append("\t</object>")
    return "\n".join([*lines, "</annotation>", ""])
