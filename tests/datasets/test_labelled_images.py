"""Data sets of labelled pictures, from tiny files in their original formats."""

from __future__ import annotations

import gzip
import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from torchslim.data import DataError
from torchslim.datasets import CIFAR10, MNIST, Flowers, ImageFolder, ImageNet, dataset_utils, get_dataset


def write_picture(path: Path, value: int, size: tuple[int, int] = (5, 4)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value, value)).save(path)


def cifar_batch(labels: list[int]) -> bytes:
    """The version for C programs: a label, 1024 reds, 1024 greens, 1024 blues."""
    return b"".join(bytes([label]) + bytes([label, 100, 200] * 1024)[::3] * 3 for label in labels)


def idx(array: np.ndarray) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()


@pytest.fixture
def cifar(tmp_path) -> Path:
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for number in range(1, 6):
        (folder / f"data_batch_{number}.bin").write_bytes(cifar_batch([number, 0]))
    (folder / "test_batch.bin").write_bytes(cifar_batch([9, 3, 1]))
    return tmp_path


@pytest.fixture
def mnist(tmp_path) -> Path:
    digits = np.arange(3 * 28 * 28).reshape(3, 28, 28) % 256
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(digits))
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(np.array([7, 0, 3]))))
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    (raw / "t10k-images-idx3-ubyte").write_bytes(idx(digits[:1]))
    (raw / "t10k-labels-idx1-ubyte").write_bytes(idx(np.array([5])))
    return tmp_path


def test_cifar10_for_c_programs(cifar):
    train = CIFAR10(cifar, "train")
    assert train.labels == [1, 0, 2, 0, 3, 0, 4, 0, 5, 0]
    image, label = train[2]
    assert (image.shape, image.dtype, label) == ((3, 32, 32), torch.uint8, 2)
    assert image.unique().tolist() == [2]
    test = get_dataset("cifar10", "test", cifar / "cifar-10-batches-bin", transform=torch.sum)
    assert [int(total) for total, _ in test] == [9 * 3072, 3 * 3072, 3072]
    assert (test.num_classes, test.class_names[9], test.labels_to_names[3]) == (10, "truck", "cat")


def test_cifar10_for_python_is_torchvisions(tmp_path, monkeypatch):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    pixels = np.arange(2 * 3072).reshape(2, 3072).astype(np.uint8)
    files = {
        "test_batch": pickle.dumps({"data": pixels, "labels": [4, 6]}),
        "batches.meta": pickle.dumps({"label_names": ["a", "b"]}),
    }
    sums = {name: hashlib.md5(data).hexdigest() for name, data in files.items()}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    source = torchvision.datasets.CIFAR10
    monkeypatch.setattr(source, "train_list", [])
    monkeypatch.setattr(source, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(source, "meta", {**source.meta, "filename": "batches.meta", "md5": sums["batches.meta"]})
    test = CIFAR10(tmp_path, "test")
    assert test.labels == [4, 6]
    assert torch.equal(test[1][0], torch.from_numpy(pixels[1].reshape(3, 32, 32)))


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: b"", lambda data: b"\xff" + data[1:]])
def test_a_cifar_file_that_is_not_whole_is_named(cifar, damage):
    path = cifar / "cifar-10-batches-bin" / "data_batch_3.bin"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=r"data_batch_3\.bin' must be labels and pictures of 3073 bytes. Got \d+ bytes"):
        CIFAR10(cifar)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"data_batch_3\.bin' must be there"):
        CIFAR10(cifar)


def test_mnist(mnist):
    train = MNIST(mnist)
    image, label = train[1]
    assert (image.shape, image.dtype, label) == ((1, 28, 28), torch.uint8, 0)
    assert image[0, 0, :3].tolist() == [784 % 256, 785 % 256, 786 % 256]
    assert train.labels == [7, 0, 3]
    assert train.class_names[7] == "seven"
    assert MNIST(mnist, "test").labels == [5]  # where torchvision puts it


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (idx(np.zeros((3, 28, 28)))[:-1], r"Got 2367 bytes that begin with 00000803, for \[3, 28, 28\] values"),
        (idx(np.zeros(5)), "begin with 00000801"),
        (b"", "Got 0 bytes"),
        (bytes([0, 0, 8, 3]) + b"\xff" * 12, "Got 16 bytes"),
    ],
)
def test_an_mnist_file_that_is_not_whole_is_named(mnist, data, message):
    (mnist / "train-images-idx3-ubyte").write_bytes(data)
    with pytest.raises(DataError, match=rf"train-images-idx3-ubyte' must be an IDX file of 3 dimensions. .*{message}"):
        MNIST(mnist)


def test_mnist_files_must_fit_together(mnist):
    path = mnist / "train-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(idx(np.array([1, 2]))))
    with pytest.raises(DataError, match=r"a label for each picture. Got 2 for 3"):
        MNIST(mnist)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"labels-idx1-ubyte.gz' cannot be decompressed"):
        MNIST(mnist)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"must hold train-labels-idx1-ubyte or train-labels-idx1-ubyte.gz"):
        MNIST(mnist)


def test_folders_are_classes(tmp_path):
    for place, name in enumerate(("dog", "cat", "emu")):
        for number in range(2):
            write_picture(tmp_path / "train" / name / f"{number}.png", 10 * place + number)
    pictures = get_dataset("imagefolder", "train", tmp_path)
    assert pictures.class_names == ("cat", "dog", "emu")
    assert [(int(image[0, 0, 0]), label) for image, label in pictures] == [
        *((10, 0), (11, 0)),
        *((0, 1), (1, 1)),
        *((20, 2), (21, 2)),
    ]
    assert pictures[0][0].shape == (3, 4, 5)
    assert ImageFolder(tmp_path / "train").labels == pictures.labels
    assert Path(pictures.images[2]) == tmp_path / "train" / "dog" / "0.png"


def test_a_label_file_says_which_label_a_folder_has(tmp_path):
    for name in ("cat", "dog"):
        write_picture(tmp_path / "val" / name / "1.png", 0)
    dataset_utils.write_label_file({0: "background", 1: "dog", 2: "cat"}, tmp_path)
    pictures = ImageFolder(tmp_path, "val")
    assert (pictures.labels, pictures.class_names) == ([2, 1], ("background", "dog", "cat"))
    shifted = ImageFolder(tmp_path, "val", labels_offset=1)
    assert (shifted.labels, shifted.class_names, shifted.num_classes) == ([1, 0], ("dog", "cat"), 2)
    with pytest.raises(ValueError, match=r"`labels_offset` must be 0 to 1, the smallest label. Got 2"):
        ImageFolder(tmp_path, "val", labels_offset=2)
    dataset_utils.write_label_file({0: "cat"}, tmp_path)
    with pytest.raises(ValueError, match=r"must be in labels.txt. Got 'dog', too"):
        ImageFolder(tmp_path, "val")


def test_imagenet_has_a_background(tmp_path):
    for name in ("n01440764", "n01443537"):
        write_picture(tmp_path / "train" / name / f"{name}_1.JPEG", 0)
    write_picture(tmp_path / "val" / "n01440764" / "1.JPEG", 0)
    train = ImageNet(tmp_path)
    assert (train.labels, train.class_names) == ([1, 2], ("background", "n01440764", "n01443537"))
    assert ImageNet(tmp_path, labels_offset=1).labels == [0, 1]
    assert len(ImageNet(tmp_path, "validation")) == len(get_dataset("imagenet", "val", tmp_path)) == 1


def test_all_of_imagenets_classes_have_names(tmp_path):
    for number in range(1000):
        folder = tmp_path / "train" / f"n{number:08d}"
        folder.mkdir(parents=True)
        (folder / "1.JPEG").touch()  # not read yet
    names = ImageNet(tmp_path).class_names
    assert (len(names), names[0], names[1], names[1000]) == (1001, "background", "tench", "toilet tissue")
    assert ImageNet(tmp_path, labels_offset=1).class_names[0] == "tench"


def test_flowers_are_split_by_their_names(tmp_path):
    for name in ("daisy", "tulips"):
        for number in range(6):
            write_picture(tmp_path / "flower_photos" / name / f"{number}.jpg", 0)
    train, validation = (Flowers(tmp_path, split, num_validation=4) for split in ("train", "validation"))
    assert (len(train), len(validation)) == (8, 4)
    assert not set(train.images) & set(validation.images)
    assert len(set(train.images) | set(validation.images)) == 12
    assert Flowers(tmp_path / "flower_photos", "train", num_validation=4).images == train.images
    assert all(train.class_names[label] in image for image, label in zip(train.images, train.labels, strict=True))


def test_a_picture_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "1.jpg").write_bytes(b"not a picture")
    with pytest.raises(DataError, match=r"1.jpg' is not a readable picture. decode_image"):
        ImageFolder(tmp_path)[0]


@pytest.mark.parametrize("suffix", ["png", "bmp", "gif", "jpg"])
def test_pictures_of_all_kinds_are_read(tmp_path, suffix):
    write_picture(tmp_path / "cat" / f"1.{suffix}", 120)
    if suffix == "gif":  # torchvision does not count it among pictures, by its name
        (tmp_path / "cat" / "1.gif").rename(tmp_path / "cat" / "1.png")
    image, _ = ImageFolder(tmp_path)[0]
    assert image.shape == (3, 4, 5)
    assert image.unique().tolist() == [120]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda path: CIFAR10(path, "val"), ValueError, "CIFAR10: `split` must be one of train, test. Got 'val'"),
        (lambda path: MNIST(path, "dev"), ValueError, "Got 'dev'"),
        (lambda path: Flowers(path, "test"), ValueError, "one of train, validation. Got 'test'"),
        (lambda path: ImageNet(path, "test"), ValueError, "ImageNet: `split`.*Got 'test'"),
        (lambda path: CIFAR10(path), FileNotFoundError, "must hold cifar-10-batches-bin"),
        (lambda path: MNIST(path), FileNotFoundError, "must hold train-images-idx3-ubyte"),
        (lambda path: ImageFolder(path, "train"), FileNotFoundError, r"must be there. Got '.*train'"),
        (lambda path: ImageFolder(path), FileNotFoundError, "must have pictures in a folder for each class"),
    ],
)
def test_what_is_not_there_is_refused(tmp_path, make, error, message):
    with pytest.raises(error, match=message):
        make(tmp_path)


def test_label_files(tmp_path):
    assert not dataset_utils.has_labels(tmp_path)
    dataset_utils.write_label_file({0: "daisy", 7: "lily: white"}, tmp_path)
    assert (tmp_path / "labels.txt").read_text() == "0:daisy\n7:lily: white\n"
    assert dataset_utils.has_labels(tmp_path)
    assert dataset_utils.read_label_file(tmp_path) == {0: "daisy", 7: "lily: white"}
    (tmp_path / "labels.txt").write_text("0:daisy\n\nrose\n")
    with pytest.raises(ValueError, match=r"line 3 of '.*labels.txt' must be `label:name`. Got 'rose'"):
        dataset_utils.read_label_file(tmp_path)
