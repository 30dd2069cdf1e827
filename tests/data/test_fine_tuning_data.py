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

PHOTOGRAPHS = Path(__file__).parents[3] / "shared" / "data" / "voc"
needs_photographs = pytest.mark.skipif(not PHOTOGRAPHS.is_dir(), reason="no photographs at ../shared/data/voc")


@pytest.fixture(scope="module", params=["drawn", pytest.param("photographs", marks=needs_photographs)])
def folders(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A VOCdevkit, of 12 drawn pictures or of real ones, and the records of its `train`."""
    made = tmp_path_factory.mktemp("voc")
    root = PHOTOGRAPHS if request.param == "photographs" else sample_voc.create(made, num_images=12)
    convert_voc(root, made / "records", "train", shards=2)
    convert_voc(root, made / "records", "trainval")  # which is another one
    return root, made / "records"


def my_pascal_voc_data_loader(folder: Path, **options) -> tuple[slim.Symbol, slim.Symbol]:
    provider = DatasetDataProvider(get_dataset("pascal_voc", "train", folder), **options)
    image, label = provider.get(["image", "label"])
    return get_preprocessing("vgg_16", is_training=True)(image, 32, 32, resize_side_min=36, resize_side_max=48), label


def small_vgg(images, num_classes=20):
    with slim.variable_scope("vgg"):
        net = slim.conv2d(images, 8, [3, 3], stride=2, scope="conv1")
        net = slim.fully_connected(net.mean((2, 3)), 16, scope="fc6")
        net = slim.fully_connected(net, 16, scope="fc7")
        return slim.fully_connected(net, num_classes, activation_fn=None, scope="fc8")


def fine_tune(folder: Path, model_path: Path, log_dir: Path, **options) -> list[float]:
    """The tutorials' section, to the letter but for what they leave to their readers; the losses on its way."""
    found = []

    def train_step_fn(train_op, batch, *, should_log):
        result = slim.learning.train_step(train_op, batch, should_log=should_log)
        found.append(float(result[0]))
        return result

    torch.manual_seed(0)
    with slim.Graph():
        image, label = my_pascal_voc_data_loader(folder, seed=3)
        images, labels = slim.data.batch([image, label], batch_size=4, **options)
        predictions = small_vgg(images)
        slim.losses.sigmoid_cross_entropy(predictions, labels)
        train_op = slim.learning.create_train_op(
            slim.losses.get_total_loss(), functools.partial(torch.optim.SGD, lr=0.001)
        )
        variables_to_restore = slim.get_variables_to_restore(exclude=["fc6", "fc7", "fc8"])
        init_fn = slim.assign_from_checkpoint_fn(model_path, variables_to_restore)
        how = {"number_of_steps": 4, "device": "cpu", "precision": "fp32"}
        slim.learning.train(train_op, log_dir, train_step_fn, init_fn=init_fn, **how)
    return found


def test_records_and_vocdevkit_train_alike(folders: tuple[Path, Path], tmp_path: Path) -> None:
    devkit, records = folders
    imagenet = slim.build(small_vgg, torch.empty(1, 3, 32, 32), num_classes=1000)
    torch.nn.init.constant_(imagenet.vgg.conv1.bias, 5.0)
    model_path = tmp_path / "imagenet.ckpt"
    slim.checkpoints.save_tf(imagenet, model_path)
    from_files = fine_tune(devkit, model_path, tmp_path / "files")
    assert len(set(from_files)) == 4
    assert fine_tune(records, model_path, tmp_path / "records", num_workers=2) == pytest.approx(from_files, rel=1e-6)
    first, second = (slim.checkpoints.open_checkpoint(tmp_path / name) for name in ("files", "records"))
    for name in first:
        torch.testing.assert_close(first[name].read(), second[name].read())
    # It is the restored one, four small steps later.
    torch.testing.assert_close(first["vgg.conv1.bias"].read(), torch.full((8,), 5.0), rtol=0, atol=0.1)


def test_the_loops_data_may_be_prefetched(folders: tuple[Path, Path]) -> None:
    devkit, records = folders
    image, label = my_pascal_voc_data_loader(records, shuffle=False)
    batch_queue = slim.prefetch_queue.prefetch_queue(slim.data.batch([image, label], 4), capacity=2)
    images, labels = batch_queue.dequeue()
    found = list(slim.get_default_graph().batches([images, labels]))
    voc = PascalVOC(devkit, "train")
    assert [len(batch[0]) for batch in found] == [4] * (len(voc) // 4)
    expected = [voc.target(index)[0] for index in range(len(voc))]
    assert torch.equal(torch.cat([batch[1] for batch in found]), torch.stack(expected))
