"""Draws small pictures of icons in cluttered scenes: what `sample_voc` and `sample_shapes` are made of.

An *icon* is a tuple of `Part`s, each a textured primitive placed in the square `[-1, 1] x [-1, 1]` (x to the
right, y down). `draw_scene` puts icons into a picture with a random position, size, rotation, shear,
mirroring, colours and lighting, over a random background and between distracting pieces. Everything random
comes from the generator that is passed in, so a picture is a function of its seed.

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

Floats = NDArray[np.floating]

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
        box: the visible pixels, `(left, top, right, bottom)`, right and bottom exclusive; None if nothing
            shows.
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
    scene = _Scene(rng, _background(rng, height, width), np.zeros((height, width), np.uint8))
    for _ in range(rng.integers(clutter // 2, clutter * 3 // 2 + 1)):
        piece = ObjectSpec((_random_piece(rng),), radius=rng.uniform(0.06, 0.16) * min(height, width))
        _draw_icon(scene, piece, (rng.random() * width, rng.random() * height), tilt=180)
    drawn_pixels, truncated = [], []
    places = _places(rng, height, width, objects)
    for number, (spec, centre) in enumerate(zip(objects, places, strict=True), 1):
        truncated.append(_draw_icon(scene, spec, centre, tilt=20, number=number))
        drawn_pixels.append(int((scene.owner == number).sum()))
    drawn = []
    for number, pixels in enumerate(drawn_pixels, 1):
        mask = scene.owner == number
        visible = float(mask.sum()) / max(pixels, 1)
        drawn.append(DrawnObject(_bounds(mask), visible, truncated[number - 1]))
    return _expose(rng, scene.canvas), drawn


class _Scene(NamedTuple):
    """A picture being drawn: `canvas [H, W, 3]`, and in `owner [H, W]` which object is seen there, or 0."""

    rng: np.random.Generator
    canvas: Floats
    owner: NDArray[np.uint8]


class _Pose(NamedTuple):
    """Takes a point of an icon's square to pixels: `(xx * x + xy * y + x0, yx * x + yy * y + y0)`."""

    xx: float
    xy: float
    yx: float
    yy: float
    x0: float
    y0: float


class _Look(NamedTuple):
    """What the parts of one drawn icon have in common."""

    palette: dict[str, Floats]
    opacity: float
    frequency: float  # of textures, in radians over half of the icon's side
    phase: float


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


def _draw_icon(scene: _Scene, spec: ObjectSpec, centre: tuple[float, float], tilt: float, number: int = 0) -> bool:
    """Draws one icon, turned by up to `tilt` degrees; returns whether it reaches beyond the picture."""
    rng = scene.rng
    angle, shear = math.radians(rng.uniform(-tilt, tilt)), rng.uniform(-0.15, 0.15)
    wide, high = (spec.radius * rng.uniform(0.85, 1.15, 2)).tolist()
    wide = -wide if rng.random() < 0.5 else wide
    cos, sin = math.cos(angle), math.sin(angle)
    pose = _Pose(wide * cos, high * (shear * cos - sin), wide * sin, high * (shear * sin + cos), *centre)
    look = _Look(
        _palette(rng, scene.canvas, centre),
        spec.opacity,
        9 * rng.uniform(0.8, 1.25),
        rng.uniform(0, 2 * math.pi),
    )
    outside = False
    for part in spec.icon:
        dx, dy, dw, dh = rng.uniform(-0.05, 0.05, 4).tolist()
        part = part._replace(
            x=part.x + dx * part.w, y=part.y + dy * part.h, w=part.w * (1 + 2 * dw), h=part.h * (1 + 2 * dh)
        )
        outside |= _paint(scene, part, pose, look, number)
    return outside


def _paint(scene: _Scene, part: Part, pose: _Pose, look: _Look, number: int) -> bool:
    """Draws one part in place, its edges smooth; returns whether it reaches beyond the picture."""
    # The part's own unit square (u, v) to pixels: two vectors, in pixels, and a place.
    cos, sin = math.cos(math.radians(part.angle)), math.sin(math.radians(part.angle))
    ux, uy = (pose.xx * cos + pose.xy * sin) * part.w, (pose.yx * cos + pose.yy * sin) * part.w
    vx, vy = (pose.xy * cos - pose.xx * sin) * part.h, (pose.yy * cos - pose.yx * sin) * part.h
    x = pose.xx * part.x + pose.xy * part.y + pose.x0
    y = pose.yx * part.x + pose.yy * part.y + pose.y0
    height, width = scene.owner.shape
    (x0, x1), (y0, y1) = _extent(part.shape, x, ux, vx), _extent(part.shape, y, uy, vy)
    left, right = max(0, math.floor(x0 - 1)), min(width, math.ceil(x1 + 1))
    top, bottom = max(0, math.floor(y0 - 1)), min(height, math.ceil(y1 + 1))
    outside = x0 < -0.5 or y0 < -0.5 or x1 > width + 0.5 or y1 > height + 0.5
    if left >= right or top >= bottom:
        return outside
    area = ux * vy - uy * vx
    columns = np.arange(left, right, dtype=np.float32)[None, :] + np.float32(0.5 - x)
    rows = np.arange(top, bottom, dtype=np.float32)[:, None] + np.float32(0.5 - y)
    u, v = columns * (vy / area) - rows * (vx / area), rows * (ux / area) - columns * (uy / area)
    w, h = abs(area) / math.hypot(vx, vy), abs(area) / math.hypot(ux, uy)  # half sides in pixels
    alpha = np.clip(_inside(part.shape, u, v, w, h) + 0.5, 0, 1)
    unit = math.hypot(pose.xx, pose.yx)
    marks = _texture(part.texture, u * (w / unit), v * (h / unit), look.frequency, look.phase)
    colour = look.palette[part.tone]
    if marks is not None:
        other = look.palette["body" if part.tone == "trim" else "trim"]
        colour = colour + marks[:, :, None] * (other - colour)
    shade = 1 - 0.15 * (u + v)  # light comes from the part's upper left: rounder than flat
    window = scene.canvas[top:bottom, left:right]
    window += (look.opacity * alpha)[:, :, None] * (colour * shade[:, :, None] - window)
    if number:
        scene.owner[top:bottom, left:right][alpha > 0.5] = number
    return outside


def _extent(shape: str, centre: float, u: float, v: float) -> tuple[float, float]:
    """Where a primitive starts and ends along an axis, in pixels; u and v are its half sides along it."""
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


def _palette(rng: np.random.Generator, canvas: Floats, centre: tuple[float, float]) -> dict[str, Floats]:
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
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    if not len(columns):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _expose(rng: np.random.Generator, canvas: Floats) -> NDArray[np.uint8]:
    """Uneven light, exposure and sensor noise, then 8 bits."""
    height, width = canvas.shape[:2]
    slope_x, slope_y = rng.uniform(-0.25, 0.25, 2).tolist()
    light = (
        rng.uniform(0.75, 1.15)
        * (1 + slope_x * np.linspace(-1, 1, width, dtype=np.float32))[None, :]
        * (1 + slope_y * np.linspace(-1, 1, height, dtype=np.float32))[:, None]
    )
    noise = rng.standard_normal((height, width, 1), np.float32) * rng.uniform(2, 8)
    return np.clip(canvas * light[:, :, None] + noise, 0, 255).astype(np.uint8)
