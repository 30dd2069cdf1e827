"""What every network can: compiled, exported, in bfloat16, saved and loaded, with other batches and sizes.

Graphs are captured without memory, on `meta`; the small networks also compute. The others of a family differ from
the one that always runs in the number of their blocks or channels: they are marked `nightly`.
"""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from torch.nn import functional

import torchslim as slim
from torchslim import nets
from torchslim.nets.nets_factory import networks_map

# The networks that compute: the size that they are built for, another one that they take, and their other arguments.
SMALL: dict[str, tuple[int, int | None, dict[str, Any]]] = {
    "cifarnet": (32, None, {}),
    "inception_v1": (64, 96, {"global_pool": True}),
    "lenet": (28, None, {}),
    "mobilenet_v1_025": (64, 96, {"global_pool": True}),
    "mobilenet_v2_035": (64, 96, {}),
    "mobilenet_v3_small": (64, 96, {}),
    "resnet_v1_50": (64, 97, {"depth_multiplier": 0.125}),
    "resnet_v2_50": (64, 97, {}),
}
QUICK = {"cifarnet", "inception_v1", "lenet", "mobilenet_v1_025", "mobilenet_v3_small", "resnet_v1_50", "vgg_a"}
ALL = [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.nightly]) for name in networks_map]
COMPUTED = [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.nightly]) for name in SMALL]


def on_meta(name: str, classes: int = 5) -> tuple[slim.Model, torch.Tensor]:
    with torch.device("meta"):
        return nets.get(name, classes).eval(), torch.empty(2, *nets.card(name).input_shape)


def small(name: str, classes: int = 5, seed: int = 0) -> tuple[slim.Model, torch.Tensor]:
    torch.manual_seed(seed)
    size, _, options = SMALL[name]
    model = nets.get(name, classes, image_size=size, **options)
    return model, torch.randn(2, *nets.card(name).input_shape[:-2], size, size)


@pytest.mark.parametrize("name", ALL)
def test_compiled_in_one_graph(name: str) -> None:
    model, images = on_meta(name)
    torch._dynamo.reset()
    with torch.no_grad():
        assert torch.compile(model, fullgraph=True, backend="eager")(images).shape == (2, 5)
    torch._dynamo.reset()


@pytest.mark.parametrize("name", ALL)
def test_exported(name: str) -> None:
    model, images = on_meta(name)
    exported = torch.export.export(model, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    assert set(exported.state_dict) == set(model.state_dict())
    assert exported.module()(images.new_empty(3, *images.shape[1:])).shape == (3, 5)


@pytest.mark.parametrize("name", ALL)
def test_state_dict_and_other_batches(name: str) -> None:
    model, images = on_meta(name)
    with torch.device("meta"):
        other = nets.get(name, 5)
    assert list(model.state_dict()) == list(other.state_dict())
    other.load_state_dict(model.state_dict(), assign=True)
    for batch in (1, 5):
        assert model(images.new_empty(batch, *images.shape[1:])).shape == (batch, 5)


@pytest.mark.parametrize("name", COMPUTED)
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
    assert found.isfinite().all()
    assert (found.float() - wanted).norm() < 0.15 * wanted.norm()


@pytest.mark.parametrize("name", COMPUTED)
def test_a_training_step(name: str) -> None:
    model, images = small(name)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    before = {key: value.clone() for key, value in model.named_parameters()}
    loss = functional.cross_entropy(model.train()(images), torch.tensor([1, 3]))
    loss.backward()
    optimizer.step()
    assert loss.isfinite()
    changed = [key for key, value in model.named_parameters() if not torch.equal(value, before[key])]
    assert len(changed) > 0.8 * len(before)


@pytest.mark.parametrize("name", [name for name, (_, other, _) in SMALL.items() if other])
def test_another_image_size(name: str) -> None:
    size, other, options = SMALL[name]
    with torch.device("meta"):
        model = nets.get(name, 5, image_size=size, **options)
        found = model(torch.empty(2, 3, other, other))
    assert found.shape[:2] == (2, 5)


def test_distributed_data_parallel(tmp_path: Any) -> None:
    model, images = small("mobilenet_v1_025")
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        torch.nn.parallel.DistributedDataParallel(model)(images).sum().backward()
    finally:
        torch.distributed.destroy_process_group()
    assert all(parameter.grad is not None for parameter in model.parameters())
