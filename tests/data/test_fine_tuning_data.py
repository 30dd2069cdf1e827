"""The tutorials' fine-tuning on Pascal VOC: the same from VOCdevkit and from records."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
import torch

import torchslim as slim
from torchslim.data import DatasetDataProvider
from torchslim.datasets import PascalVOC, get_dataset, sample_voc
from torchslim.datasets.record_conversion import convert_voc
from torchslim.preprocessing import get_preprocessing


@pytest.fixture(scope="module")
def voc(tmp_path_factory) -> Path:
    """A drawn VOCdevkit of 12 pictures, `train` of which are in records too."""
    root = sample_voc.create(tmp_path_factory.mktemp("voc"), num_images=12)
    convert_voc(root, root / "records", "train", shards=2)
    convert_voc(root, root / "records", "trainval")  # which is another one
    return root


def my_pascal_voc_data_loader(folder: Path, **options) -> tuple[slim.Symbol, slim.Symbol]:
    provider = DatasetDataProvider(get_dataset("pascal_voc", "train", folder), **options)
    image, label = provider.get(["image", "label"])
    return get_preprocessing("vgg_16", is_training=True)(image, 32, 32, resize_side_min=36, resize_side_max=48), label


def losses_of(folder: Path, logdir: Path, **options) -> list[float]:
    losses = []
    torch.manual_seed(0)
    with slim.Graph():
        image, label = my_pascal_voc_data_loader(folder, seed=3)
        images, labels = slim.data.batch([image, label], batch_size=4, **options)
        net = slim.conv2d(images, 8, [3, 3], stride=2, scope="conv1")
        logits = slim.fully_connected(net.mean((2, 3)), 20, activation_fn=None, scope="fc2")
        slim.losses.sigmoid_cross_entropy(logits, labels)
        train_op = slim.learning.create_train_op(
            slim.losses.get_total_loss(), functools.partial(torch.optim.SGD, lr=0.01)
        )

        def step(train_op, batch, *, should_log):
            result = slim.learning.train_step(train_op, batch, should_log=should_log)
            losses.append(float(result[0]))
            return result

        slim.learning.train(train_op, str(logdir), step, number_of_steps=4, device="cpu", precision="fp32")
    return losses


def test_records_and_vocdevkit_train_alike(voc, tmp_path):
    from_files = losses_of(voc, tmp_path / "files")
    assert len(from_files) == 4
    assert losses_of(voc / "records", tmp_path / "records", num_workers=2) == pytest.approx(from_files, rel=1e-6)


def test_the_loops_data_may_be_prefetched(voc):
    image, label = my_pascal_voc_data_loader(voc / "records", shuffle=False)
    batch_queue = slim.prefetch_queue.prefetch_queue(slim.data.batch([image, label], 4), capacity=2)
    images, labels = batch_queue.dequeue()
    found = list(slim.get_default_graph().batches([images, labels]))
    assert [len(batch[0]) for batch in found] == [4, 4]
    expected = [PascalVOC(voc, "train").target(index)[0] for index in range(8)]
    assert torch.equal(torch.cat([batch[1] for batch in found]), torch.stack(expected))
