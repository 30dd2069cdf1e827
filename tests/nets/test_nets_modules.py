"""What every network can: compiled, exported, in bfloat16, saved and loaded, with other batches and sizes, trained.

Graphs are captured without memory, on `meta`, of the networks as they are published; a small version of each computes.
One of each family always runs; the others, of the same code with more blocks or channels, are marked `nightly`.
"""

from __future__ import annotations

import functools
import io
import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
import torch

import torchslim as slim
from torchslim import nets
from torchslim.nets import cyclegan, dcgan, pix2pix
from torchslim.nets.nets_factory import networks_map
from torchslim.nets.pix2pix import Block


class Network(NamedTuple):
    """A network, and what is small enough to compute with.

    Attributes:
        build: makes it for examples of a shape, with more arguments.
        shape: of an example for the published one.
        small: the side of the images of the small one.
        options: more arguments of the small one.
        other: the shape of an example of another size that the published one takes; None: it takes no other.
        trained: whether it learns in a moment.
    """

    build: Callable[..., slim.Model]
    shape: tuple[int, ...]
    small: int
    options: dict[str, Any]
    other: tuple[int, ...] | None
    trained: bool = False

    @property
    def small_shape(self) -> tuple[int, ...]:
        """The shape of an example for the small one."""
        return (*self.shape[:-2], self.small, self.small) if len(self.shape) > 1 else self.shape


def of_factory(shape: tuple[int, ...], *, name: str, **options: Any) -> slim.Model:
    return nets.get(name, 5, image_size=shape[-1], **options)


def of_images(shape: tuple[int, ...], *, function: Callable[..., Any], **options: Any) -> slim.Model:
    return slim.build(function, slim.InputSpec((None, *shape)), **options)


# By the beginning of a name, the first that fits: the side of small images, and what else the small network needs.
POOLED = {"global_pool": True}
ONE_HEAD = {"create_aux_logits": False}
SMALL: dict[str, tuple[int, dict[str, Any]]] = {
    "alexnet": (224, {}),
    "cifarnet": (32, {}),
    "overfeat": (231, {}),
    "vgg": (64, {"fc_conv_padding": "SAME"} | POOLED),
    "inception_v1": (64, POOLED),
    "inception_v2": (64, POOLED),
    "inception_v3": (96, POOLED | ONE_HEAD),
    "inception": (96, ONE_HEAD),
    "i3d": (32, {}),
    "s3dg": (32, {}),
    "lenet": (28, {}),
    "resnet_v1_50": (64, {"depth_multiplier": 0.125}),
    "resnet": (64, {}),
    "mobilenet_v1": (64, POOLED),
    "mobilenet": (64, {}),
    "nasnet_cifar": (32, {"is_training": False}),
    "nasnet": (64, {"is_training": False}),
    "pnasnet": (64, {"is_training": False}),
}
DENSE = ("cifarnet", "lenet")  # their dense layers fix the size
TRAINED = {
    "inception_v1", "mobilenet_v1_025", "mobilenet_v2_035", "mobilenet_v3_small", "resnet_v1_50", "resnet_v2_50", *DENSE
}  # fmt: skip


def factory_network(name: str) -> Network:
    shape = nets.card(name).input_shape
    other = None if name in DENSE else (*shape[:-2], shape[-2] + 32, shape[-1] + 33)
    small = next(row for prefix, row in SMALL.items() if name.startswith(prefix))
    return Network(functools.partial(of_factory, name=name), shape, *small, other, name in TRAINED)


def image_network(function: Callable[..., Any], shape: tuple[int, ...], *rest: Any) -> Network:
    return Network(functools.partial(of_images, function=function), shape, *rest)


NETWORKS: dict[str, Network] = {
    **{name: factory_network(name) for name in networks_map},
    "dcgan.generator": image_network(dcgan.generator, (64,), 0, {"depth": 8}, None, True),
    "dcgan.discriminator": image_network(dcgan.discriminator, (3, 32, 32), 16, {"depth": 8}, None, True),
    "cyclegan_generator_resnet": image_network(
        cyclegan.cyclegan_generator_resnet, (3, 256, 256), 16, {"num_filters": 8}, (3, 128, 192), True
    ),
    "pix2pix_generator": image_network(
        functools.partial(pix2pix.pix2pix_generator, num_outputs=3),
        (3, 256, 256), 16, {"blocks": [Block(8, 0), Block(16, 0), Block(16, 0)]}, (3, 256, 512), True,
    ),
    "pix2pix_discriminator": image_network(
        functools.partial(pix2pix.pix2pix_discriminator, num_filters=[64, 128, 256, 512]),
        (6, 256, 256), 32, {"num_filters": [8, 16]}, (6, 192, 320), True,
    ),
}  # fmt: skip
QUICK = {
    "alexnet_v2", "cifarnet", "overfeat", "vgg_a", "inception_v1", "inception_v2", "i3d", "lenet", "resnet_v1_50",
    "resnet_v2_50", "mobilenet_v1_025", "mobilenet_v3_small", *(name for name in NETWORKS if name not in networks_map),
}  # fmt: skip
COMPUTED_QUICKLY = QUICK - {"alexnet_v2", "overfeat", "vgg_a", "i3d", "resnet_v2_50"}


def marked(names: Any, quick: set[str]) -> list[Any]:
    return [pytest.param(name, marks=[] if name in quick else [pytest.mark.nightly]) for name in names]


@pytest.fixture(scope="module", params=marked(NETWORKS, QUICK))
def published(request: pytest.FixtureRequest) -> tuple[slim.Model, Network, torch.Tensor]:
    """A network as it is published, on `meta`, and two examples."""
    network = NETWORKS[request.param]
    with torch.device("meta"):
        return network.build(network.shape).eval(), network, torch.empty(2, *network.shape)


def small(name: str, seed: int = 0) -> tuple[slim.Model, torch.Tensor]:
    torch.manual_seed(seed)
    network = NETWORKS[name]
    return network.build(network.small_shape, **network.options), torch.randn(2, *network.small_shape)


@pytest.fixture
def fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def test_all_are_here() -> None:
    assert len(NETWORKS) == 40 + 5
    assert [name for name, network in NETWORKS.items() if network.other is None] == [
        "cifarnet", "lenet", "dcgan.generator", "dcgan.discriminator"
    ]  # fmt: skip


@pytest.mark.usefixtures("fresh_compiler")
def test_compiled_in_one_graph(published: Any) -> None:
    model, _, images = published
    with torch.no_grad():
        found = torch.compile(model, fullgraph=True, backend="eager")(images)
        assert found.shape == model(images).shape


def test_exported(published: Any) -> None:
    model, _, images = published
    exported = torch.export.export(model, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    assert set(exported.state_dict) == set(model.state_dict())
    three = images.new_empty(3, *images.shape[1:])
    assert exported.module()(three).shape == model(three).shape


def test_state_dict_and_other_batches(published: Any) -> None:
    model, network, images = published
    with torch.device("meta"):
        other = network.build(network.shape)
    assert list(model.state_dict()) == list(other.state_dict())
    other.load_state_dict(model.state_dict(), assign=True)
    for batch in (1, 5):
        assert other.eval()(images.new_empty(batch, *images.shape[1:])).shape == (batch, *model(images).shape[1:])


def test_another_image_size(published: Any) -> None:
    model, network, images = published
    if network.other is None:
        pytest.skip("dense layers fix the size")
    assert model(images.new_empty(2, *network.other)).shape[:2] == model(images).shape[:2]


@pytest.mark.parametrize("name", marked(NETWORKS, COMPUTED_QUICKLY))
def test_values_survive_a_file_and_bfloat16(name: str) -> None:
    model, images = small(name)
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other, _ = small(name, seed=1)
    other.load_state_dict(torch.load(file, weights_only=True))
    with torch.no_grad():
        wanted = model.eval()(images)
        torch.testing.assert_close(other.eval()(images), wanted)
        with torch.autocast("cpu", torch.bfloat16):
            found = model(images)
    assert found.dtype == torch.bfloat16
    assert found.isfinite().all()
    assert (found.float() - wanted).norm() < 0.15 * wanted.norm()


@pytest.mark.parametrize("name", marked((name for name, net in NETWORKS.items() if net.trained), COMPUTED_QUICKLY))
def test_a_training_step(name: str) -> None:
    model, images = small(name)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    before = {key: value.clone() for key, value in model.named_parameters()}
    output = model.train()(images)
    loss = (output - torch.linspace(-1, 1, output.numel()).view_as(output)).square().mean()
    loss.backward()
    optimizer.step()
    assert loss.isfinite()
    changed = [key for key, value in model.named_parameters() if not torch.equal(value, before[key])]
    assert len(changed) > 0.8 * len(before)


@pytest.mark.nightly
@pytest.mark.skipif(shutil.which(os.environ.get("CXX", "g++")) is None, reason="needs a C++ compiler")
@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize("name", ["cifarnet", "lenet", "mobilenet_v1_025"])
def test_compiled_to_machine_code(name: str) -> None:
    model, images = small(name)
    with torch.no_grad():
        wanted = model.eval()(images)
        torch.testing.assert_close(torch.compile(model, fullgraph=True)(images), wanted, rtol=1e-4, atol=1e-5)


def test_distributed_data_parallel(tmp_path: Any) -> None:
    model, images = small("mobilenet_v1_025")
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        torch.nn.parallel.DistributedDataParallel(model)(images).sum().backward()
    finally:
        torch.distributed.destroy_process_group()
    assert all(parameter.grad is not None for parameter in model.parameters())
