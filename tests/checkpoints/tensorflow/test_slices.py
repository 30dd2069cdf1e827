"""Putting slices together: against cutting a tensor up."""

from __future__ import annotations

import re
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from torchslim.checkpoints import CheckpointError
from torchslim.checkpoints.tensorflow.slices import Extents, assemble, region_of

CUTS = st.lists(st.integers(0, 6), max_size=3).map(lambda cuts: sorted({0, *cuts, 6}))


@given(CUTS, CUTS, st.randoms(use_true_random=False))
def test_what_is_cut_up_is_put_together(rows: list[int], columns: list[int], chance: object) -> None:
    whole = torch.arange(36).reshape(6, 6)
    extents = [
        [(top, bottom - top), (left, right - left)]
        for top, bottom in pairwise(rows)
        for left, right in pairwise(columns)
    ]
    chance.shuffle(extents)  # type: ignore[attr-defined]
    regions = [region_of(extent, (6, 6)) for extent in extents]
    parts = [(region, partial(whole[region].flatten)) for region in regions]
    assert torch.equal(assemble((6, 6), torch.int64, parts), whole)


def test_strings_are_put_together() -> None:
    parts = [(region_of([(i, 1)], (2,)), partial(np.array, [text], object)) for i, text in enumerate([b"a", b"bc"])]
    assert assemble((2,), bytes, parts).tolist() == [b"a", b"bc"]


@pytest.mark.parametrize(
    ("extents", "shape"),
    [([(0, 3)], (2,)), ([(-1, 2)], (2,)), ([(0, -2)], (2,)), ([(1, -1)], (2, 2)), ([(3, -1)], (2,)), ([], (2,))],
)
def test_slices_outside(extents: Extents, shape: tuple[int, ...]) -> None:
    with pytest.raises(CheckpointError, match=re.escape(f"its slice {extents} does not fit the shape {shape}")):
        region_of(extents, shape)


def test_gaps_and_overlaps() -> None:
    first, middle = region_of([(0, 2)], (3,)), region_of([(1, 1)], (3,))
    with pytest.raises(CheckpointError, match=re.escape("its slices hold 2 values for the shape (3,)")):
        assemble((3,), torch.float32, [(first, partial(torch.ones, 2))])
    with pytest.raises(CheckpointError, match="its slices overlap"):
        assemble((3,), torch.float32, [(first, partial(torch.ones, 2)), (middle, partial(torch.ones, 1))])
