"""The renderer behind the drawn data sets."""

from __future__ import annotations

import numpy as np
import pytest

from torchslim.datasets.drawing import SHAPES, TEXTURES, ObjectSpec, Part, draw_scene

DISC = (Part("ellipse", 0, 0, 1, 1),)


def draw(seed: int, objects, height: int = 80, width: int = 90, **kwargs):
    return draw_scene(np.random.default_rng(seed), height, width, objects, **kwargs)


def test_same_seed_same_picture():
    first, _ = draw(3, [ObjectSpec(DISC, 20)])
    assert np.array_equal(first, draw(3, [ObjectSpec(DISC, 20)])[0])
    assert not np.array_equal(first, draw(4, [ObjectSpec(DISC, 20)])[0])


@pytest.mark.parametrize("shape", SHAPES)
def test_box_holds_the_pixels_that_the_object_changes(shape):
    spec = ObjectSpec((Part(shape, 0.1, -0.2, 0.8, 0.5, 25),), 25)
    for seed in range(4):
        # An invisible object draws from the generator as a visible one does: the rest of the picture is the same.
        image, (drawn,) = draw(seed, [spec], clutter=0)
        without, _ = draw(seed, [spec._replace(opacity=0.0)], clutter=0)
        rows, columns = np.nonzero((image != without).any(-1))
        left, top, right, bottom = drawn.box
        # The box ends where half of a pixel is covered: a pixel from where the edge fades out, two at a tip.
        margins = (left - columns.min(), top - rows.min(), columns.max() + 1 - right, rows.max() + 1 - bottom)
        assert all(0 <= margin <= 2 for margin in margins)


def test_every_texture_looks_different():
    pictures = {draw(1, [ObjectSpec((DISC[0]._replace(texture=name),), 30)])[0].tobytes() for name in TEXTURES}
    assert len(pictures) == len(TEXTURES)


def test_covered_objects_show_less():
    _, drawn = draw(0, [ObjectSpec(DISC, 30), ObjectSpec(DISC, 60)], height=64, width=64)
    assert drawn[0].visible < 0.2
    assert drawn[1].visible == 1
    assert drawn[1].truncated


def test_objects_keep_apart_where_there_is_room():
    for seed in range(20):
        _, drawn = draw(seed, [ObjectSpec(DISC, 12)] * 3, height=100, width=120)
        assert min(one.visible for one in drawn) > 0.8


def test_colour_tells_nothing():
    means = np.array([draw(seed, [ObjectSpec(DISC, 25)])[0].mean((0, 1)) for seed in range(60)])
    assert (means.std(0) > 25).all()
