"""Data sets as records: TF-Slim's schema, written here and read by a provider."""

from __future__ import annotations

import io
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

import torchslim as slim
from torchslim.data import DatasetDataProvider, RecordWriter, make_example
from torchslim.datasets import dataset_utils, flowers, get_dataset, imagenet, mnist, visualwakewords
from torchslim.datasets.record_splits import RECORDS


def encoded(value: int, mode: str = "RGB", size: tuple[int, int] = (8, 6)) -> bytes:
    file = io.BytesIO()
    Image.new(mode, size, value if mode == "L" else (value, 0, 0)).save(file, "PNG")
    return file.getvalue()


def write(path, examples) -> None:
    with RecordWriter(path) as writer:
        for features in examples:
            writer.write(make_example(features).SerializeToString())


def first_of(dataset, *items):
    return next(DatasetDataProvider(dataset, shuffle=False).iterate(list(items)))


@pytest.mark.parametrize(
    ("name", "split", "file", "mode"),
    [
        ("cifar10", "test", "cifar10_test.tfrecord", "RGB"),
        ("flowers", "validation", "flowers_validation_00000-of-00005.tfrecord", "RGB"),
        ("mnist", "train", "mnist_train.tfrecord", "L"),
        ("imagenet", "validation", "validation-00000-of-00128", "RGB"),
    ],
)
def test_records_that_are_there_are_read(tmp_path, name, split, file, mode):
    features = {"image/encoded": encoded(77, mode), "image/format": "png", "image/class/label": 3}
    write(tmp_path / file, [features])
    dataset = get_dataset(name, split, tmp_path)
    image, label = first_of(dataset, "image", "label")
    channels = 1 if mode == "L" else 3
    assert (image.shape, image.dtype) == ((channels, 6, 8), torch.uint8)
    assert image[0].unique().tolist() == [77]
    assert (label.item(), label.dtype) == (3, torch.int64)
    assert dataset.num_samples == RECORDS[name].splits_to_sizes[split]
    assert dataset.num_classes == RECORDS[name].num_classes == len(dataset.labels_to_names)


def test_labels_offset_leaves_the_background_out(tmp_path):
    write(tmp_path / "train-00000", [{"image/encoded": encoded(1), "image/class/label": 1}])
    dataset = get_dataset("imagenet", "train", tmp_path, labels_offset=1)
    assert first_of(dataset, "label")[0].item() == 0
    assert (dataset.num_classes, dataset.labels_to_names[0]) == (1000, "tench")
    assert imagenet.get_split("train", tmp_path).labels_to_names[0] == "background"


def test_imagenets_boxes_come_along(tmp_path):
    features = {
        "image/encoded": encoded(1),
        "image/class/label": 4,
        "image/class/text": "tench",
        "image/object/bbox/xmin": [0.1, 0.2],
        "image/object/bbox/ymin": [0.3, 0.4],
        "image/object/bbox/xmax": [0.5, 0.6],
        "image/object/bbox/ymax": [0.7, 0.8],
        "image/object/class/label": [4, 4],
    }
    write(tmp_path / "train-0", [features])
    text, boxes, labels = first_of(imagenet.get_split("train", tmp_path), "label_text", "object/bbox", "object/label")
    assert text == b"tench"
    np.testing.assert_allclose(boxes, [[0.3, 0.1, 0.7, 0.5], [0.4, 0.2, 0.8, 0.6]], rtol=1e-6)
    assert labels.tolist() == [4, 4]


def test_pascal_voc_says_which_classes_are_there(tmp_path):
    features = {
        "image/encoded": encoded(1),
        "image/object/bbox/xmin": [0.1, 0.2],
        "image/object/bbox/ymin": [0.3, 0.4],
        "image/object/bbox/xmax": [0.5, 0.6],
        "image/object/bbox/ymax": [0.7, 0.8],
        "image/object/class/label": [12, 8],
        "image/object/difficult": [0, 1],
    }
    write(tmp_path / "pascal_voc_train.tfrecord", [features, {"image/encoded": encoded(2)}])
    dataset = get_dataset("pascal_voc", "train", tmp_path)
    samples = DatasetDataProvider(dataset, shuffle=False, num_epochs=1).iterate(["label", "object/label"])
    (label, objects), (no_label, no_objects) = samples
    assert [dataset.class_names[i] for i in label.nonzero()] == ["cat", "dog"]
    assert [dataset.class_names[i] for i in objects] == ["dog", "cat"]
    assert (no_label.sum(), len(no_objects)) == (0, 0)


def test_a_label_file_beside_the_records_counts(tmp_path):
    dataset_utils.write_label_file({0: "rose", 1: "lily"}, tmp_path)
    split = flowers.get_split("train", tmp_path, file_pattern="other_%s-*", reader=list)
    assert split.labels_to_names == {0: "rose", 1: "lily"}
    assert (split.num_classes, split.reader) == (2, list)
    assert split.data_sources == str(tmp_path / "other_train-*")


def test_records_are_batched_as_in_tf_slim(tmp_path):
    examples = [{"image/encoded": encoded(10 * n), "image/format": "png", "image/class/label": n} for n in range(4)]
    write(tmp_path / "cifar10_train.tfrecord", examples)
    provider = DatasetDataProvider(get_dataset("cifar10", "train", tmp_path), shuffle=False)
    image, label = provider.get(["image", "label"])
    label -= 1
    images, labels = slim.data.batch([image, label], batch_size=4)
    ((images, labels),) = slim.get_default_graph().batches([images, labels])
    assert labels.tolist() == [-1, 0, 1, 2]
    assert images[:, 0, 0, 0].tolist() == [0, 10, 20, 30]


def test_visual_wake_words_have_boxes(tmp_path):
    example = dataset_utils.image_to_tfexample(encoded(5), "png", 6, 8, 1)
    sides = {"ymin": 0.25, "xmin": 0.5, "ymax": 0.75, "xmax": 1.0}
    for side, value in sides.items():
        example.features.feature[f"image/object/bbox/{side}"].CopyFrom(dataset_utils.float_feature(value))
    with RecordWriter(tmp_path / "val.record-00000-of-00010") as writer:
        writer.write(example.SerializeToString())
    dataset = get_dataset("visualwakewords", "val", tmp_path)
    image, label, boxes = first_of(dataset, "image", "label", "object/bbox")
    assert (image.shape, label.item(), boxes.tolist()) == ((3, 6, 8), 1, [list(sides.values())])
    assert (dataset.num_samples, visualwakewords.num_classes) == (40_504, 2)


@pytest.mark.parametrize("make", [dataset_utils.int64_feature, dataset_utils.float_feature])
@pytest.mark.parametrize("values", [3, [3, 4], (), np.array([[1, 2]])])
def test_numbers_become_features(make, values):
    feature = make(values)
    kind = "int64_list" if make is dataset_utils.int64_feature else "float_list"
    assert feature.WhichOneof("kind") == kind
    assert list(getattr(feature, kind).value) == np.ravel(values).tolist()


def test_strings_become_features_and_fractions_are_no_integers():
    assert dataset_utils.bytes_feature(b"a\0").bytes_list.value == [b"a\0"]
    assert dataset_utils.bytes_feature("ä").bytes_list.value == ["ä".encode()]
    with pytest.raises(TypeError, match=r"`values` must be integers\. Got 1\.5"):
        dataset_utils.int64_feature(1.5)


def tarball(path, name):
    with tarfile.open(path, "w:gz") as archive:
        file = tarfile.TarInfo(name)
        file.size = 3
        archive.addfile(file, io.BytesIO(b"abc"))
    return path.as_uri()


def test_archives_are_fetched_and_unpacked(tmp_path):
    folder = tmp_path / "flowers"
    dataset_utils.download_and_uncompress_tarball(tarball(tmp_path / "a.tar.gz", "photos/1.jpg"), folder)
    assert (folder / "photos" / "1.jpg").read_bytes() == b"abc"
    with pytest.raises(tarfile.OutsideDestinationError, match=r"outside"):
        dataset_utils.download_and_uncompress_tarball(tarball(tmp_path / "b.tar.gz", "../1.jpg"), folder)
    assert not (tmp_path / "1.jpg").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("coco", "train"), r"one of cifar10, .*, visualwakewords\. Got 'coco'"),
        (("imagefolder", "train", "{}-*"), r"are for cifar10, .* Got 'imagefolder'"),
        (("mnist", "val", "{}-*"), r"mnist\.get_split: `split_name` must be one of train, test\. Got 'val'"),
    ],
)
def test_unknown_ones_are_refused(tmp_path, arguments, message):
    name, split, *pattern = arguments
    with pytest.raises(ValueError, match=message):
        get_dataset(name, split, tmp_path, *pattern)


def test_the_facts_of_a_data_set_are_public():
    assert mnist.splits_to_sizes == {"train": 60_000, "test": 10_000}
    assert (mnist.file_pattern, mnist.class_names[7]) == ("mnist_{}.tfrecord", "seven")
