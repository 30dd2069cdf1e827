"""images_to_sequence and sequence_to_images, element by element."""

from __future__ import annotations

import pytest
import torch

import torchslim as slim


@pytest.mark.parametrize("data_format", ["NCHW", "NHWC"])
def test_there_and_back(data_format) -> None:
    images = torch.randn(2, 3, 4, 5) if data_format == "NCHW" else torch.randn(2, 4, 5, 3)
    sequence = slim.images_to_sequence(images, data_format=data_format)
    assert sequence.shape == (5, 2 * 4, 3)
    first = images if data_format == "NCHW" else images.permute(0, 3, 1, 2)
    for n, h, w in [(0, 0, 0), (1, 0, 4), (0, 3, 2), (1, 2, 1)]:
        assert torch.equal(sequence[w, n * 4 + h], first[n, :, h, w])
    output_data_format = {"NCHW": "channels_first", "NHWC": "channels_last"}[data_format]
    assert torch.equal(slim.sequence_to_images(sequence, 4, output_data_format), images)


def test_formats_follow_the_arg_scope() -> None:
    sequence = torch.zeros(5, 8, 3)
    assert slim.sequence_to_images(sequence, 4).shape == (2, 3, 4, 5)
    with slim.arg_scope(slim.layers.DATA_FORMAT_LAYERS, data_format="NHWC"):
        assert slim.sequence_to_images(sequence, 4).shape == (2, 4, 5, 3)
        assert slim.images_to_sequence(torch.zeros(2, 4, 5, 3)).shape == (5, 8, 3)


def test_symbols_keep_the_batch_open() -> None:
    with slim.Graph():
        sequence = slim.images_to_sequence(slim.placeholder((None, 3, 4, 5)))
        assert sequence.shape == (5, None, 3)
        assert slim.sequence_to_images(sequence, 4).shape == (None, 3, 4, 5)


@pytest.mark.parametrize(("call", "given"), [
    (lambda: slim.images_to_sequence(torch.zeros(2, 3, 4)), r"rank 4. Got shape \(2, 3, 4\)"),
    (lambda: slim.images_to_sequence(torch.zeros(2, 3, 4, 5), "NWC"), "Got 'NWC'"),
    (lambda: slim.sequence_to_images(torch.zeros(5, 8), 4), r"rank 3. Got shape \(5, 8\)"),
    (lambda: slim.sequence_to_images(torch.zeros(5, 8, 3), 3), r"Got 3 and shape \(5, 8, 3\)"),
    (lambda: slim.sequence_to_images(torch.zeros(5, 8, 3), 0), "Got 0 and shape"),
    (lambda: slim.sequence_to_images(torch.zeros(5, 8, 3), 4, "NCHW"), "Got 'NCHW'"),
])  # fmt: skip
def test_refuses(call, given) -> None:
    with pytest.raises(ValueError, match=given):
        call()
