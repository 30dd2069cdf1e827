"""Draws small pictures of icons in cluttered scenes: what `sample_voc` and `sample_shapes` are made of.

An *icon* is a tuple of `Part`s, each a textured primitive placed in the square `[-1, 1] x [-1, 1]` (x to the
right, y down). `draw_scene` puts icons into a picture with a random position, size, rotation, shear, mirroring, colours
and lighting, over a random background and between distracting pieces. Everything random comes from the generator
that is passed in, so a picture is a function of its seed.

Shape letters: H picture height, W picture width, h and w a part's window in the picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["SHAPES", "TEXTURES", "DrawnObject", "Icon", "ObjectSpec", "Part", "draw_scene"]

Floats = NDArray[np.float32]
Matrix = tuple[tuple[float, float], tuple[float, float]]

SHAPES = ("ellipse", "box", "triangle", "ring")
TEXTURES = ("plain", "stripes", "bars", "checks", "dots", "hoops", "waves", "patches")


class Part(NamedTuple):
    """One primitive of an icon.

    Attributes:
        shape: one of `SHAPES`; a `triangle` points up, a `ring` fills the outer third of its ellipse.
        x: centre, to the right, in `[-1, 1]`.
        y: centre, downwards, in `[-1, 1]`.
        w: half of the width.
        h: half of the height.
        angle: rotation about the centre, in degrees, clockwise on the screen.
        tone: `body` or `trim` (two contrasting random colours), `dark` or `light`.
        texture: one of `TEXTURES`, drawn in the part's own coordinates with `trim` (on `trim`: `body`).
    """

    shape: str
    x: float
    y: float
    w: float
    h: float
    angle: float = 0.0
    tone: str = "body"
    texture: str = "plain"


Icon = tuple[Part, ...]


class ObjectSpec(NamedTuple):
    """An icon to draw.

    Attributes:
        icon: its parts.
        radius: half of its side, in pixels.
        opacity: 1 covers what is behind it; below about 0.5 it is hard to see.
    """

    icon: Icon
    radius: float
    opacity: float = 1.0


class DrawnObject(NamedTuple):
    """What `draw_scene` says about an object that it drew.

    Attributes:
        box: the visible pixels, `(left, top, right, bottom)`, right and bottom exclusive; None if nothing shows.
        visible: the part of its pixels inside the picture that no later object covers, in `[0, 1]`.
        truncated: whether it reaches beyond the picture.
    """

    box: tuple[int, int, int, int] | None
    visible: float
    truncated: bool


def draw_scene(
    rng: np.random.Generator, height: int, width: int, objects: Sequence[ObjectSpec], clutter: int = 4
) -> tuple[NDArray[np.uint8], list[DrawnObject]]:
    """Draws a picture of `objects`, the later ones over the earlier ones.

    Args:
        rng: where everything random comes from.
        height: H, in pixels.
        width: W, in pixels.
        objects: what to draw; positions are chosen so that they overlap only a little.
        clutter: about how many meaningless single pieces lie between background and objects.

    Returns:
        The RGB picture `[H, W, 3]`, and for each object where it ended up.

    Example:
        >>> disc = (Part("ellipse", 0, 0, 1, 1, texture="stripes"),)
        >>> image, (drawn,) = draw_scene(np.random.default_rng(7), 48, 64, [ObjectSpec(disc, radius=15)])
        >>> image.shape, drawn.visible, drawn.truncated
        ((48, 64, 3), 1.0, False)
    """
    canvas = _background(rng, height, width)
    owner = np.zeros((height, width), np.uint8)  # which object a pixel shows: its number from 1, or 0
    for _ in range(rng.integers(clutter // 2, clutter * 3 // 2 + 1)):
        piece = (_random_piece(rng),)
        radius = rng.uniform(0.06, 0.16) * min(height, width)
        _draw_icon(rng, canvas, owner, 0, ObjectSpec(piece, radius), rng.random(2) * (width, height), tilt=180)
    drawn_pixels = []
    for number, (spec, centre) in enumerate(zip(objects, _places(rng, height, width, objects), strict=True), 1):
        outside = _draw_icon(rng, canvas, owner, number, spec, centre, tilt=20)
        drawn_pixels.append((int((owner == number).sum()), outside))
    drawn = []
    for number, (pixels, outside) in enumerate(drawn_pixels, 1):
        mask = owner == number
        drawn.append(DrawnObject(_bounds(mask), float(mask.sum()) / max(pixels, 1), outside))
    return _expose(rng, canvas), drawn


def _places(
    rng: np.random.Generator, height: int, width: int, objects: Sequence[ObjectSpec]
) -> list[tuple[float, float]]:
    """A centre (x, y) for each object: the first of a few random ones that leaves the others enough room."""
    chosen: list[tuple[float, float]] = []
    for spec in objects:
        margin_x, margin_y = (min(0.85 * spec.radius, side / 2) for side in (width, height))
        best, most_room = (width / 2, height / 2), -math.inf
        for x, y in rng.random((20, 2)).tolist():
            centre = (margin_x + x * (width - 2 * margin_x), margin_y + y * (height - 2 * margin_y))
            room = min(
                (math.dist(centre, other) / (spec.radius + objects[i].radius) for i, other in enumerate(chosen)),
                default=math.inf,
            )
            if room > most_room:
                best, most_room = centre, room
            if most_room > 0.9:  # they may touch or overlap a little
                break
        chosen.append(best)
    return chosen


def _draw_icon(
    rng: np.random.Generator,
    canvas: Floats,
    owner: NDArray[np.uint8],
    number: int,
    spec: ObjectSpec,
    centre: Sequence[float],
    tilt: float,
) -> bool:
    """Draws one icon; returns whether it reaches beyond the picture."""
    angle, shear = math.radians(rng.uniform(-tilt, tilt)), rng.uniform(-0.15, 0.15)
    wide, high = spec.radius * rng.uniform(0.85, 1.15), spec.radius * rng.uniform(0.85, 1.15)
    mirror = -1.0 if rng.random() < 0.5 else 1.0
    cos, sin = math.cos(angle), math.sin(angle)
    pose = (
        (mirror * wide * cos, high * (shear * cos - sin)),
        (mirror * wide * sin, high * (shear * sin + cos)),
    )
    palette = _palette(rng, canvas, centre)
    frequency, phase = rng.uniform(0.8, 1.25), rng.uniform(0, 2 * math.pi)
    outside = False
    for part in spec.icon:
        wobble = rng.uniform(-0.05, 0.05, 4).tolist()
        part = part._replace(
            x=part.x + wobble[0] * part.w,
            y=part.y + wobble[1] * part.h,
            w=part.w * (1 + 2 * wobble[2]),
            h=part.h * (1 + 2 * wobble[3]),
        )
        outside |= _paint(canvas, owner, number, part, pose, centre, palette, frequency, phase, spec.opacity)
    return outside


def _paint(
    canvas: Floats,
    owner: NDArray[np.uint8],
    number: int,
    part: Part,
    pose: Matrix,
    centre: Sequence[float],
    palette: dict[str, Floats],
    frequency: float,
    phase: float,
    opacity: float,
) -> bool:
    """Draws one part in place, its edges smooth; returns whether it reaches beyond the picture."""
    (a, b), (c, d) = pose
    cos, sin = math.cos(math.radians(part.angle)), math.sin(math.radians(part.angle))
    # The part's own unit square to pixels: a matrix ((ux, vx), (uy, vy)) and a place.
    ux, uy = (a * cos + b * sin) * part.w, (c * cos + d * sin) * part.w
    vx, vy = (b * cos - a * sin) * part.h, (d * cos - c * sin) * part.h
    x, y = centre[0] + a * part.x + b * part.y, centre[1] + c * part.x + d * part.y
    height, width = owner.shape
    (x0, x1), (y0, y1) = _extent(part.shape, x, ux, vx), _extent(part.shape, y, uy, vy)
    left, right = max(0, math.floor(x0 - 1)), min(width, math.ceil(x1 + 1))
    top, bottom = max(0, math.floor(y0 - 1)), min(height, math.ceil(y1 + 1))
    outside = x0 < -0.5 or y0 < -0.5 or x1 > width + 0.5 or y1 > height + 0.5
    if left >= right or top >= bottom:
        return outside
    determinant = ux * vy - uy * vx
    columns = np.arange(left, right, dtype=np.float32)[None, :] + np.float32(0.5 - x)
    rows = np.arange(top, bottom, dtype=np.float32)[:, None] + np.float32(0.5 - y)
    u = columns * (vy / determinant) - rows * (vx / determinant)
    v = rows * (ux / determinant) - columns * (uy / determinant)
    w, h = abs(determinant) / math.hypot(vx, vy), abs(determinant) / math.hypot(ux, uy)  # half sides in pixels
    alpha = np.clip(_inside(part.shape, u, v, w, h) + 0.5, 0, 1)
    size = math.hypot(a, c)
    marks = _texture(part.texture, u * (w / size), v * (h / size), 9.0 * frequency, phase)
    colour, other = palette[part.tone], palette["body" if part.tone == "trim" else "trim"]
    paint = colour if marks is None else colour + marks[:, :, None] * (other - colour)
    shade = 1 - 0.15 * (u + v)  # light comes from the part's upper left: rounder than flat
    window = canvas[top:bottom, left:right]
    window += (opacity * alpha)[:, :, None] * (paint * shade[:, :, None] - window)
    if number:
        owner[top:bottom, left:right][alpha > 0.5] = number
    return outside


def _extent(shape: str, centre: float, u: float, v: float) -> tuple[float, float]:
    """Where a primitive starts and ends along one axis, in pixels; u and v are its half sides along that axis."""
    if shape in ("ellipse", "ring"):
        return centre - math.hypot(u, v), centre + math.hypot(u, v)
    if shape == "triangle":
        return centre + min(-v, v - abs(u)), centre + max(-v, v + abs(u))
    return centre - abs(u) - abs(v), centre + abs(u) + abs(v)


def _inside(shape: str, u: Floats, v: Floats, w: float, h: float) -> Floats:
    """How many pixels deep a point is inside a primitive (negative: outside), `[h, w]`."""
    if shape == "box":
        return np.minimum((1 - np.abs(u)) * w, (1 - np.abs(v)) * h)
    if shape == "triangle":
        slope = 2 * h * w / math.hypot(w, 2 * h)
        return np.minimum((1 - v) * h, ((v + 1) / 2 - np.abs(u)) * slope)
    radius = np.sqrt(u * u + v * v)
    if shape == "ellipse":
        return (1 - radius) * min(w, h)
    return (np.float32(0.17) - np.abs(radius - np.float32(0.83))) * min(w, h)  # ring


def _texture(name: str, u: Floats, v: Floats, frequency: float, phase: float) -> Floats | None:
    """How much of the second colour a point has, in `[0, 1]`, or None for none anywhere."""
    if name == "plain":
        return None
    if name == "stripes":
        wave = np.sin(u * (1.4 * frequency) + phase)
    elif name == "bars":
        wave = np.sin(v * (1.4 * frequency) + phase)
    elif name == "checks":
        wave = 2 * np.sin(u * frequency + phase) * np.sin(v * frequency + phase)
    elif name == "dots":
        wave = np.sin(u * (1.5 * frequency) + phase) + np.sin(v * (1.5 * frequency) + phase) - 0.8
    elif name == "hoops":
        wave = np.sin(np.sqrt(u * u + v * v) * (1.6 * frequency) + phase)
    elif name == "waves":
        wave = np.sin(v * (1.5 * frequency) + 1.5 * np.sin(u * frequency) + phase)
    else:  # patches
        wave = np.sin(u * (0.7 * frequency) + 2 * np.sin(v * (0.5 * frequency) + phase)) + np.sin(
            v * (0.8 * frequency) + 1.5 * np.sin(u * (0.6 * frequency) - phase)
        )
    return np.clip(0.5 + 2 * wave, 0, 1)


def _palette(rng: np.random.Generator, canvas: Floats, centre: Sequence[float]) -> dict[str, Floats]:
    """Four colours; `body` stands out from the background at `centre`, and `trim` from `body`."""
    height, width = canvas.shape[:2]
    behind = canvas[min(int(max(centre[1], 0)), height - 1), min(int(max(centre[0], 0)), width - 1)]
    body, trim = rng.random((2, 3), np.float32) * 255
    body += _push(float(body.mean()), float(behind.mean()), 60)
    trim += _push(float(trim.mean()), float(body.mean()), 95)
    tint = rng.random((2, 3), np.float32) * 50
    return {"body": body, "trim": trim, "dark": 5 + tint[0], "light": 245 - tint[1]}


def _push(brightness: float, other: float, distance: float) -> float:
    """What to add to `brightness` to bring it `distance` away from `other`, within 0..255."""
    gap = brightness - other
    if abs(gap) >= distance:
        return 0.0
    up = other + distance <= 230 if gap >= 0 else other - distance < 25
    return (other + distance if up else other - distance) - brightness


def _background(rng: np.random.Generator, height: int, width: int) -> Floats:
    """Soft blobs of two related colours, often with a faint texture, `[H, W, 3]`."""
    cells = int(rng.integers(2, 9))
    middle, spread = rng.uniform(40, 215, 3), rng.uniform(5, 45)
    coarse = middle + spread * rng.standard_normal((cells, cells + 1, 3))
    coarse = (coarse + coarse.mean(-1, keepdims=True)) / 2  # calmer colours than the objects'
    blobs = Image.fromarray(np.clip(coarse, 0, 255).astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
    canvas = np.asarray(blobs, np.float32).copy()
    if rng.random() < 0.6:
        cos, sin = math.cos(angle := rng.uniform(0, math.pi)), math.sin(angle)
        x = np.arange(width, dtype=np.float32)[None, :] / width
        y = np.arange(height, dtype=np.float32)[:, None] / width
        name = TEXTURES[rng.integers(1, len(TEXTURES))]
        marks = _texture(name, x * cos + y * sin, y * cos - x * sin, rng.uniform(15, 60), rng.uniform(0, 6))
        assert marks is not None
        canvas += marks[:, :, None] * rng.uniform(-35, 35, 3).astype(np.float32)
    return canvas


def _random_piece(rng: np.random.Generator) -> Part:
    """A distracting piece: any shape, any proportions, any texture."""
    shape = SHAPES[rng.integers(len(SHAPES))]
    texture = TEXTURES[rng.integers(len(TEXTURES))] if rng.random() < 0.5 else "plain"
    tone = ("body", "trim", "dark", "light")[rng.integers(4)]
    return Part(shape, 0, 0, 1, rng.uniform(0.12, 1), tone=tone, texture=texture)


def _bounds(mask: NDArray[np.bool_]) -> tuple[int, int, int, int] | None:
    """The smallest box `(left, top, right, bottom)`, ends exclusive, around the true pixels."""
    columns, rows = mask.any(0).nonzero()[0], mask.any(1).nonzero()[0]
    if not len(columns):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _expose(rng: np.random.Generator, canvas: Floats) -> NDArray[np.uint8]:
    """Uneven light, exposure and sensor noise, then 8 bits."""
    height, width = canvas.shape[:2]
    slope_x, slope_y = rng.uniform(-0.25, 0.25, 2)
    light = rng.uniform(0.75, 1.15) * (1 + slope_x * np.linspace(-1, 1, width, dtype=np.float32))[None, :] * (
        1 + slope_y * np.linspace(-1, 1, height, dtype=np.float32)
    )[:, None]
    noise = rng.standard_normal((height, width, 1), np.float32) * rng.uniform(2, 8)
    return np.clip(canvas * light[:, :, None] + noise, 0, 255).astype(np.uint8)
