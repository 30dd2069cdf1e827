"""The drawn pretraining task."""

from __future__ import annotations

import pytest
import torch

from torchslim.datasets import SampleShapes
from torchslim.datasets.icons import ICONS
from torchslim.datasets.sample_shapes import _form


def test_a_picture_is_a_function_of_seed_and_index():
    first, other = SampleShapes(10, size=32), SampleShapes(10, size=32, seed=1)
    assert torch.equal(first[3][0], SampleShapes(50, size=32)[3][0])
    assert not torch.equal(first[3][0], first[4][0])
    assert not torch.equal(first[3][0], other[3][0])


def test_all_classes_come_up_about_equally():
    shapes = SampleShapes(800, num_forms=2, size=16)
    counts = torch.bincount(torch.tensor([shapes[index][1] for index in range(len(shapes))]), minlength=16)
    assert len(counts) == shapes.num_classes == 16
    assert (counts - 50).abs().max() < 5 * 50**0.5


def test_forms_differ_from_each_other_and_from_the_icons_of_sample_voc():
    forms = [_form(number) for number in range(40)]
    assert len(set(forms)) == 40
    assert not set(forms) & set(ICONS.values())


@pytest.mark.parametrize("index", [-1, 10])
def test_index_out_of_range(index):
    with pytest.raises(IndexError, match=rf"must be in 0..9. Got {index}"):
        SampleShapes(10)[index]


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"`num_forms` must be positive\. Got 0"):
        SampleShapes(10, num_forms=0)
