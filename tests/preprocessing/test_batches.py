"""Batches of pictures, each with random numbers of its own, against the pictures one by one."""

from __future__ import annotations

import functools
import itertools
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from torchslim.preprocessing import Resize, get_preprocessing, resize_images
from torchslim.preprocessing.bounding_boxes import draw_parts
from torchslim.preprocessing.image_ops import Draws, choose
from torchslim.preprocessing.resize import METHODS, resize_part

SIDES = {"resize_side_min": 30, "resize_side_max": 60}
OPTIONS = {
    "vgg": SIDES,
    "inception": {},
    "inception slow": {"fast_mode": False},
    "inception whole": {"crop_image": False},
    "inception gray": {"use_grayscale": True},
    "cifarnet": {},
    "cifarnet gray": {"use_grayscale": True},
    "lenet": {},
    "cyclegan": {},
    "cyclegan whole": {"crop_image": False},
    "torchvision": SIDES,
}
PREPARE = {
    f"{key} {mode}": functools.partial(
        get_preprocessing(key.split()[0], mode == "training"), output_height=24, output_width=28, **options
    )
    for key, options in OPTIONS.items()
    for mode in ("training", "evaluation")
}
TRAINING = [name for name in PREPARE if name.endswith("training") and not name.startswith("lenet")]
IMAGES = torch.randint(0, 256, (6, 3, 37, 45), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", PREPARE)
@settings(max_examples=5, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**31), height=st.integers(28, 50), width=st.integers(28, 50))
def test_a_batch_of_one_is_the_picture(name, seed, height, width):
    image = torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed))
    image = image if name.startswith("inception") else image * 255
    single = PREPARE[name](image, generator=torch.Generator().manual_seed(seed)) if name in TRAINING else None
    if name in TRAINING:
        batch = PREPARE[name](image[None], generator=torch.Generator().manual_seed(seed))
    else:
        single, batch = PREPARE[name](image), PREPARE[name](image[None])
    torch.testing.assert_close(batch[0], single, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", PREPARE)
def test_channels_last(name):
    torch.manual_seed(0)
    expected = PREPARE[name](IMAGES)
    torch.manual_seed(0)
    output = PREPARE[name](IMAGES.permute(0, 2, 3, 1), data_format="NHWC")
    torch.testing.assert_close(output.permute(0, 3, 1, 2), expected)


@pytest.mark.parametrize("name", TRAINING)
def test_each_picture_draws_for_itself(name):
    torch.manual_seed(0)
    pictures = PREPARE[name](IMAGES[:1].expand(600, -1, -1, -1))
    values = pictures.double().flatten(1)[:, 37]
    assert len(values.unique()) > 30
    half = torch.corrcoef(torch.stack([values[::2], values[1::2]]))[0, 1]
    assert abs(half) < 5 / 300**0.5, "neighbours in the batch have something in common"
    singles = torch.stack([PREPARE[name](IMAGES[0]) for _ in range(300)]).double()
    error = (singles.std(0) ** 2 / 300 + pictures.double().std(0) ** 2 / 600).sqrt()
    assert ((singles.mean(0) - pictures.double().mean(0)) / error).abs().max() < 7, "one by one it is another mean"


@pytest.mark.parametrize("name", PREPARE)
def test_nothing_looks_at_numbers(name):
    expected = PREPARE[name](IMAGES)
    with FakeTensorMode() as mode:
        assert PREPARE[name](mode.from_tensor(IMAGES)).shape == expected.shape
    before = torch.get_rng_state()
    for images in (IMAGES, IMAGES[0]):
        on_meta = PREPARE[name](images.to("meta"))
        assert (on_meta.shape, on_meta.dtype, on_meta.device.type) == (
            *(expected.shape[-images.ndim :], expected.dtype),
            "meta",
        )
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", [*TRAINING, "vgg evaluation", "torchvision evaluation"])
def test_compiles_whole(name):
    torch._dynamo.reset()
    torch.manual_seed(0)
    expected = PREPARE[name](IMAGES)
    torch.manual_seed(0)
    found = torch.compile(PREPARE[name], fullgraph=True, backend="eager")(IMAGES)
    torch.testing.assert_close(found, expected)


def test_resize_compiles_whole():
    resize = Resize((20, 31), "bicubic")
    torch.testing.assert_close(torch.compile(resize, fullgraph=True, backend="eager")(IMAGES), resize(IMAGES))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [(30, 41), IMAGES.shape[-2:]])
def test_a_picture_is_resized_as_a_batch_of_one(method, size):
    for offset, mirrored in itertools.product([None, (3, 5)], [None, False, True]):
        options = {"size": tuple(size), "offset": offset, "mirrored": mirrored}
        found = resize_part(IMAGES[0], 14, 13, method, **options)
        torch.testing.assert_close(found, resize_part(IMAGES[:1], 14, 13, method, **options)[0], rtol=0, atol=1e-4)
        top, left = offset or (0, 0)
        expected = resize_images(IMAGES[0], *size, method)[:, top : top + 14, left : left + 13]
        assert torch.equal(found, expected.flip(-1) if mirrored else expected)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", range(3))
def test_parts_are_resized_as_pictures_of_their_own(method, seed):
    torch.manual_seed(seed)
    parts = draw_parts(Draws(IMAGES), IMAGES.shape[-2:])
    sizes, offsets = torch.randint(20, 40, (6, 2)), torch.randint(0, 6, (6, 2))
    mirrored = torch.rand(6) < 0.5
    found = resize_part(IMAGES, 14, 13, method, part=parts, size=sizes, offset=offsets, mirrored=mirrored)
    for image, part, size, offset, is_mirrored, output in zip(
        IMAGES, parts.tolist(), sizes.tolist(), offsets.tolist(), mirrored.tolist(), found, strict=True
    ):
        top, left, h, w = part
        expected = resize_images(image[:, top : top + h, left : left + w], *size, method)
        expected = expected[:, offset[0] : offset[0] + 14, offset[1] : offset[1] + 13]
        torch.testing.assert_close(output, expected.flip(-1) if is_mirrored else expected, rtol=0, atol=1e-4)


def test_a_choice_for_each_picture():
    options = [lambda value=value: torch.full((4, 1, 1, 1), value) for value in (10.0, 20.0, 30.0)]
    assert choose(torch.tensor([2, 0, 1, 2]), options).flatten().tolist() == [30, 10, 20, 30]


def test_boxes_of_each_picture():
    nothing = [0.0, 0.0, 0.0, 0.0]
    boxes = torch.tensor([[[0.0, 0.0, 0.2, 0.2], nothing], [[0.8, 0.8, 1.0, 1.0], nothing], [nothing, nothing]])
    draws = Draws(torch.empty(300, 3, 100, 100))
    parts = draw_parts(draws, (100, 100), boxes.repeat(100, 1, 1), 1.0, area_range=(0.1, 0.4)).view(100, 3, 4)
    is_whole = (parts == torch.tensor([0, 0, 100, 100])).all(-1)
    top, left, h, w = parts.unbind(-1)
    shown = torch.stack([(top == 0) & (left == 0), (top + h == 100) & (left + w == 100), is_whole])
    assert (shown.diagonal(dim1=0, dim2=2) | is_whole).all()
    assert is_whole.float().mean(0)[0] < 1


def test_a_generator_is_all_that_counts():
    prepare = PREPARE["inception slow training"]
    first = prepare(IMAGES, generator=torch.Generator().manual_seed(3))
    torch.manual_seed(99)
    assert torch.equal(prepare(IMAGES, generator=torch.Generator().manual_seed(3)), first)
    assert not torch.equal(prepare(IMAGES, generator=torch.Generator().manual_seed(4)), first)


class Pictures:
    """A data set of pictures, prepared in its workers."""

    def __init__(self, transform):
        self.transform = transform

    def __len__(self):
        return len(IMAGES)

    def __getitem__(self, index):
        return self.transform(IMAGES[index])


@pytest.mark.parametrize("name", [name for name in PREPARE if " " not in name.replace(" training", "")])
def test_in_workers_and_in_torchvisions_compose(name):
    transform = v2.Compose([v2.RandomVerticalFlip(), PREPARE[name], v2.Identity()])
    image = v2.functional.to_image(IMAGES[0])
    assert pickle.loads(pickle.dumps(transform))(image).shape == PREPARE[name](IMAGES[0]).shape


def test_in_a_worker_then_on_the_device():
    transform = v2.Compose([Resize((40, 40), "nearest"), v2.RandomGrayscale()])
    for workers in (0, 1):
        (batch,) = DataLoader(Pictures(transform), batch_size=6, num_workers=workers)
        assert (batch.shape, batch.dtype) == ((6, 3, 40, 40), torch.uint8)
        assert PREPARE["vgg training"](batch).shape == (6, 3, 24, 28)
    for name in ("vgg training", "inception training"):
        (batch,) = DataLoader(Pictures(PREPARE[name]), batch_size=6, num_workers=1)
        assert batch.shape == (6, 3, 24, 28)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", PREPARE)
def test_the_host_does_not_wait(name):
    images, generator = IMAGES.cuda(), torch.Generator("cuda")
    options = {"generator": generator.manual_seed(0)} if name in TRAINING else {}
    before = PREPARE[name](images, **options)
    torch.cuda.set_sync_debug_mode("error")
    try:
        options = {"generator": generator.manual_seed(0)} if name in TRAINING else {}
        found, single = PREPARE[name](images, **options), PREPARE[name](images[0])
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(found, before)
    assert single.shape == found.shape[1:]
    if name not in TRAINING:
        torch.testing.assert_close(found.cpu(), PREPARE[name](IMAGES), rtol=1e-4, atol=2e-2)
