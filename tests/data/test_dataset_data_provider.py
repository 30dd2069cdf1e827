"""Providers: samples as Symbols that are batched, and one by one."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

import torchslim as slim
from torchslim.data import (
    DataError,
    DataProvider,
    Dataset,
    DatasetDataProvider,
    FixedLenFeature,
    RecordReader,
    RecordWriter,
    VarLenFeature,
    make_example,
    tfexample_decoder,
)
from torchslim.preprocessing import get_preprocessing


def pixels(number: int) -> np.ndarray:
    """Picture `number`, `[8 + number % 3, 10, 3]`."""
    return np.random.default_rng(number).integers(0, 256, (8 + number % 3, 10, 3), np.uint8)


@pytest.fixture
def records(tmp_path):
    for part in range(2):
        with RecordWriter(tmp_path / f"train-{part}") as writer:
            for number in range(part, 12, 2):
                image = pixels(number)
                features = {
                    "raw": image.tobytes(),
                    "height": len(image),
                    "label": number,
                    "name": f"picture {number}",
                    "tags": list(range(number % 4)),
                }
                writer.write(make_example(features).SerializeToString())
    return tmp_path


def picture(features):
    data = np.frombuffer(bytearray(features["raw"]), np.uint8)
    return torch.from_numpy(data.reshape(int(features["height"]), 10, 3)).permute(2, 0, 1)


class Decoder(tfexample_decoder.TFExampleDecoder):
    def __init__(self):
        scalar = FixedLenFeature([], torch.int64)
        super().__init__(
            {
                "raw": FixedLenFeature([], bytes),
                "height": scalar,
                "label": scalar,
                "name": FixedLenFeature([], bytes),
                "tags": VarLenFeature(torch.int64),
            },
            {
                "image": tfexample_decoder.ItemHandlerCallback(["raw", "height"], picture),
                "label": tfexample_decoder.Tensor("label"),
                "name": tfexample_decoder.Tensor("name"),
                "tags": tfexample_decoder.Tensor("tags"),
            },
        )


def make_dataset(folder) -> Dataset:
    return Dataset(str(folder / "train-*"), RecordReader, Decoder(), 12, {"image": "Noise."}, num_classes=12)


def batches_of(symbols):
    return list(slim.get_default_graph().batches(list(symbols)))


def test_symbols_know_what_varies(records):
    provider = DatasetDataProvider(make_dataset(records), shuffle=False)
    image, label, tags = provider.get(["image", "label", "tags"])
    assert (image.shape, image.dtype) == ((3, None, 10), torch.uint8)
    assert (label.shape, label.dtype) == ((), torch.int64)
    assert tags.shape == (None,)
    assert provider.list_items() == ["image", "label", "name", "tags", "record_key"]
    assert provider.num_samples() == 12
    assert provider.get(["image"])[0] is image  # of the same sample, asked for apart


@pytest.mark.parametrize("num_workers", [0, 1])
def test_samples_are_read_computed_and_batched(records, num_workers):
    provider = DatasetDataProvider(make_dataset(records), shuffle=False)
    [label] = provider.get(["label"])
    [image] = provider.get(["image"])
    image = get_preprocessing("lenet")(image, 9, 7)
    images, labels = slim.data.batch([image, label - 1], batch_size=5, num_workers=num_workers)
    assert (images.shape, labels.shape) == ((None, 3, 7, 9), (None,))
    found = batches_of([images, labels])
    assert [len(batch[0]) for batch in found] == [5, 5, 2]
    order = [*range(0, 12, 2), *range(1, 12, 2)]
    assert torch.cat([batch[1] for batch in found]).tolist() == [number - 1 for number in order]
    expected = [get_preprocessing("lenet")(torch.from_numpy(pixels(n)).permute(2, 0, 1), 9, 7) for n in order]
    assert torch.equal(torch.cat([batch[0] for batch in found]), torch.stack(expected))


def test_shuffled_batches_are_of_all_samples_and_the_same_for_a_seed(records):
    orders = []
    for _ in range(2):
        with slim.Graph():
            [label] = DatasetDataProvider(make_dataset(records), seed=5).get(["label"])
            labels = slim.data.batch(label, batch_size=4)
            orders.append([torch.cat([batch for (batch,) in batches_of([labels])]).tolist() for _ in range(2)])
    assert orders[0] == orders[1]
    first, second = orders[0]
    assert sorted(first) == sorted(second) == list(range(12))
    assert first != second


def test_a_dict_of_symbols_gives_a_dict_of_batches(records):
    provider = DatasetDataProvider(make_dataset(records), shuffle=False, num_epochs=2)
    names = ["label", "tags"]
    batches = slim.data.batch(dict(zip(names, provider.get(names), strict=True)), batch_size=24, dynamic_pad=True)
    assert list(batches) == names
    ((labels, tags),) = batches_of(batches.values())
    assert Counter(labels.tolist()) == dict.fromkeys(range(12), 2)  # two epochs are one pass
    assert tags.shape == (24, 3)
    for label, row in zip(labels.tolist(), tags.tolist(), strict=True):
        count = label % 4
        assert row == [*range(count), *[0] * (3 - count)]


def test_random_preprocessing_is_a_function_of_the_seed(records):
    found = []
    for num_workers in (0, 2):
        with slim.Graph():
            provider = DatasetDataProvider(make_dataset(records), seed=7)
            image = get_preprocessing("inception", is_training=True)(*provider.get(["image"]), 6, 6)
            images = slim.data.batch(image, 12, num_workers=num_workers)
            found.append(batches_of([images])[0][0])
    assert torch.equal(*found)
    assert not torch.equal(found[0][0], found[0][1])


def test_iterating_gives_samples_as_they_are(records):
    provider = DatasetDataProvider(make_dataset(records), shuffle=False, num_epochs=1)
    samples = list(provider.iterate(["name", "record_key", "image"]))
    assert [name for name, _, _ in samples][:2] == [b"picture 0", b"picture 2"]
    assert samples[0][1] == f"{records / 'train-0'}:0"
    assert np.array_equal(samples[1][2].permute(1, 2, 0).numpy(), pixels(2))
    shuffled = DatasetDataProvider(
        make_dataset(records), num_readers=2, num_epochs=3, common_queue_capacity=8, common_queue_min=4
    )
    assert Counter(int(label) for (label,) in shuffled.iterate(["label"])) == dict.fromkeys(range(12), 3)
    assert len(next(shuffled.iterate())) == 5


def test_data_sets_of_pytorch_are_provided_too():
    source = TensorDataset(torch.arange(12.0).reshape(6, 2), torch.arange(6))
    source.items_to_descriptions = {"point": "Two numbers.", "label": "One."}
    provider = DatasetDataProvider(source, shuffle=False, num_epochs=1)
    assert provider.num_samples() == 6
    label, point = provider.get(["label", "point"])
    labels, sums = slim.data.batch([label, point.sum()], 6)
    ((labels, sums),) = batches_of([labels, sums])
    assert labels.tolist() == list(range(6))
    assert sums.tolist() == [1, 5, 9, 13, 17, 21]
    assert [key for key, _ in provider.iterate(["record_key", "label"])] == list("012345")


def test_errors_name_file_and_offset(records):
    offset = RecordReader(records / "train-1").locate(3)[1]
    data = bytearray((records / "train-1").read_bytes())
    data[offset + 20] ^= 1
    (records / "train-1").write_bytes(data)
    provider = DatasetDataProvider(make_dataset(records), shuffle=False, num_epochs=1)
    with pytest.raises(DataError, match=rf"train-1' is damaged: record at byte {offset}"):
        list(provider.iterate(["label"]))
    labels = slim.data.batch(provider.get(["label"])[0], 12, num_workers=1)
    with pytest.raises(DataError, match=rf"train-1' is damaged: record at byte {offset}"):
        batches_of([labels])


def test_what_cannot_be_decoded_names_file_and_offset(tmp_path):
    with RecordWriter(tmp_path / "train-0") as writer:
        writer.write(make_example({"label": 1}).SerializeToString())
    provider = DatasetDataProvider(make_dataset(tmp_path))
    with pytest.raises(DataError, match=r"record '.*train-0:0' failed. DataError: .*'raw' must be there"):
        next(provider.iterate(["image"]))


def test_an_item_that_is_unlike_the_others_names_where_it_is(tmp_path):
    with RecordWriter(tmp_path / "train-0") as writer:
        for height in (4, 4, 4, 4, 4, 3):
            features = {"raw": bytes(height * 30), "height": height, "label": height, "name": "", "tags": [1]}
            writer.write(make_example(features).SerializeToString())
    provider = DatasetDataProvider(make_dataset(tmp_path), shuffle=False)
    [image] = provider.get(["image"])
    assert image.shape == (3, 4, 10)  # what the first ones have
    images = slim.data.batch(image, 2)
    offset = RecordReader(tmp_path / "train-0").locate(5)[1]
    where = rf"item 5 \(.*train-0, byte {offset}\) of Dataset"
    with pytest.raises(DataError, match=rf"{where}.* failed. Its field 0 is torch.uint8 \[3, 3, 10\]"):
        batches_of([images])
    assert [len(batch) for (batch,) in batches_of([slim.data.batch(image, 4, dynamic_pad=True)])] == [4, 2]


def test_sources_may_be_a_number_of_parts_for_batches_too(tmp_path):
    for part in range(2):
        with RecordWriter(tmp_path / f"train-{part:05d}-of-00002") as writer:
            features = {"raw": bytes(30), "height": 1, "label": part, "name": "", "tags": [1]}
            writer.write(make_example(features).SerializeToString())
    dataset = make_dataset(tmp_path)
    dataset.data_sources = str(tmp_path / "train@2")
    provider = DatasetDataProvider(dataset, shuffle=False, num_epochs=1)
    assert [label.item() for (label,) in provider.iterate(["label"])] == [0, 1]
    labels = slim.data.batch(provider.get(["label"]), 2)
    assert [batch.tolist() for (batch,) in batches_of(labels)] == [[0, 1]]


def test_strings_are_no_symbols(records):
    provider = DatasetDataProvider(make_dataset(records))
    for item in ("name", "record_key"):
        with pytest.raises(TypeError, match=rf"must be tensors or numbers. Got '{item}'.*provider.iterate"):
            provider.get([item])


def test_what_is_no_item_is_refused(records):
    provider = DataProvider({"image": torch.zeros(3)}, 1)
    assert provider.num_samples() == 1
    with pytest.raises(ValueError, match=r"among image. Got 'label'"):
        provider.get(["label"])
    with pytest.raises(ValueError, match=r"must be a list or tuple of names. Got 'image'"):
        provider.get("image")
    with pytest.raises(ValueError, match=r"`record_key` must be no item.*Got 'label'"):
        DatasetDataProvider(make_dataset(records), record_key="label")
    with pytest.raises(TypeError, match=r"must be a slim.data.Dataset, .*Got list"):
        DatasetDataProvider([1, 2, 3])


def test_batches_want_symbols_of_one_provider_with_known_sizes(records):
    first, second = (DatasetDataProvider(make_dataset(records)) for _ in range(2))
    [image], [label] = first.get(["image"]), second.get(["label"])
    with pytest.raises(ValueError, match=r"must have known sizes. Got Symbol\('image_of_sample'.*dynamic_pad"):
        slim.data.batch([image], 2)
    with pytest.raises(ValueError, match=r"of one provider.*from image_of_sample, label_of_sample"):
        slim.data.batch([image.sum() + label], 2)
    with pytest.raises(ValueError, match=r"from inputs"):
        slim.data.batch([slim.placeholder((3,))], 2)
    weights = slim.variable("weights", [3])
    with pytest.raises(ValueError, match=r"must have no variables. Got weights"):
        slim.data.batch([label * weights], 2)


def test_readers_without_numbers_cannot_be_batched(records):
    class Stream:
        def __init__(self, files):
            self.files = files

        def __iter__(self):
            return iter(RecordReader(self.files))

    dataset = make_dataset(records)
    dataset.reader = Stream
    provider = DatasetDataProvider(dataset, shuffle=False, num_epochs=1)
    assert len(list(provider.iterate(["label"]))) == 12
    with pytest.raises(TypeError, match=r"must have __len__ and __getitem__.*Got Stream: use `provider.iterate`"):
        slim.data.batch(provider.get(["label"]), 2)


def test_a_dataset_tells_what_it_has(records):
    dataset = make_dataset(records)
    assert (dataset.num_classes, dataset.num_samples) == (12, 12)
    with pytest.raises(AttributeError, match=r"there is no 'labels_to_names' in it. It has num_classes, data_sources"):
        dataset.labels_to_names  # noqa: B018 - the attribute that is missing
