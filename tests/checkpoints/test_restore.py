"""`slim.restore`: what gets which value is computed by hand here."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import torchslim as slim
from torchslim.checkpoints import CheckpointError, load, restore, save, save_checkpoint

KEYS = ["net.conv1.weight", "net.conv1.bias", "net.fc2.weight", "net.fc2.bias"]
NAMES = ["net/conv1/weights", "net/conv1/biases", "net/fc2/weights", "net/fc2/biases"]


def small_net(images: slim.Symbol, classes: int = 5) -> slim.Symbol:
    with slim.variable_scope("net"):
        net = slim.conv2d(images, 4, [3, 2], scope="conv1", weights_initializer=slim.ones_initializer())
        return slim.fully_connected(net, classes, activation_fn=None, scope="fc2")


def build(device: str = "cpu", function: Any = small_net, **kwargs: Any) -> torch.nn.Module:
    with torch.device(device):
        return slim.build(function, slim.InputSpec((None, 3, 4, 6)), **kwargs)


@pytest.fixture
def values() -> dict[str, torch.Tensor]:
    """The values of another model, by state_dict key."""
    shapes = [(4, 3, 3, 2), (4,), (5, 96), (5,)]
    return {key: torch.randn(shape) for key, shape in zip(KEYS, shapes, strict=True)}


def assert_values(model: torch.nn.Module, wanted: dict[str, torch.Tensor]) -> None:
    found = model.state_dict()
    for key, tensor in wanted.items():
        torch.testing.assert_close(found[key], tensor, rtol=0, atol=0)


def initial(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {key: tensor.clone() for key, tensor in model.state_dict().items()}


# Sources and targets.


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("kind", ["mapping", "safetensors", "pt", "training state", "slim names"])
def test_every_source(device: str, kind: str, values: dict[str, torch.Tensor], tmp_path: Path) -> None:
    source: Any = values
    if kind == "safetensors":
        save(source := tmp_path / "a.safetensors", values)
    elif kind == "pt":
        torch.save(values, source := tmp_path / "a.pt")
    elif kind == "training state":
        source = save_checkpoint(tmp_path, {"model": values, "optimizer": {"state": {0: torch.ones(3)}}}, 7)
    elif kind == "slim names":
        source = dict(zip(NAMES, values.values(), strict=True))
    model = build(device)
    report = restore(model, source)
    assert_values(model, values)
    assert report.restored == NAMES
    assert [report.missing, report.mismatched, report.excluded, report.initialized, report.unused] == [[]] * 5
    model(torch.ones(2, 3, 4, 6)).sum().backward()


def test_wrapped_modules(values: dict[str, torch.Tensor]) -> None:
    for wrap in (torch.compile, torch.nn.DataParallel):
        model = build()
        restore(wrap(model), values)
        assert_values(model, values)


def test_a_graph_and_a_list_of_variables(values: dict[str, torch.Tensor]) -> None:
    with slim.Graph() as graph:
        output = small_net(slim.placeholder((None, 3, 4, 6)))
    by_name = dict(zip(NAMES, values.values(), strict=True))
    report = restore([graph.variables[NAMES[0]]], by_name)
    assert report.restored == NAMES[:1]
    assert graph.variables[NAMES[2]].is_meta
    assert restore(graph, values).restored == NAMES
    assert_values(graph.module(output), values)


def test_ordinary_modules_have_slim_names() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    other = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    other[1].running_mean.fill_(7)
    report = restore(model, other.state_dict())
    assert_values(model, {key: value for key, value in other.state_dict().items() if "num_batches" not in key})
    assert report.unused == ["1.num_batches_tracked"]


def test_what_is_no_model() -> None:
    with pytest.raises(TypeError, match="Got 'a'"):
        restore("a.pt", {})  # type: ignore[arg-type]


# TensorFlow's layout.


def test_tf_layout_computes_what_tensorflow_would() -> None:
    tf = {
        "net/conv1/weights": np.random.randn(3, 2, 3, 4).astype(np.float32),  # HWIO
        "net/conv1/biases": np.random.randn(4).astype(np.float32),
        "net/fc2/weights": np.random.randn(96, 5).astype(np.float32),  # rows: H, W, C
        "net/fc2/biases": np.random.randn(5).astype(np.float32),
    }
    image = np.random.randn(4, 6, 3).astype(np.float32)
    padded = np.zeros((6, 7, 3), np.float32)
    padded[1:5, :6] = image  # SAME, 3x2: one row above and below, one column on the right
    net = np.stack([[padded[i : i + 3, j : j + 2] for j in range(6)] for i in range(4)])
    net = np.maximum(np.einsum("ijhwc,hwco->ijo", net, tf["net/conv1/weights"]) + tf["net/conv1/biases"], 0)
    wanted = net.reshape(-1) @ tf["net/fc2/weights"] + tf["net/fc2/biases"]

    model = build("meta")
    restore(model, tf, layout="tf")
    found = model(torch.from_numpy(image).permute(2, 0, 1)[None])[0]
    torch.testing.assert_close(found, torch.from_numpy(wanted), rtol=1e-4, atol=1e-4)


def test_shapes_are_named_in_the_layout_of_the_checkpoint(values: dict[str, torch.Tensor]) -> None:
    with pytest.raises(ValueError, match=re.escape("[4, 3, 3, 2] in the checkpoint, [3, 2, 3, 4] in the model")):
        restore(build(), values, layout="tf")
    with pytest.raises(ValueError, match="Got 'nhwc'"):
        restore(build(), values, layout="nhwc")


# Which variables.


@pytest.mark.parametrize(
    ("chosen", "restored"),
    [
        ({"include": ["net/conv1"]}, NAMES[:2]),
        ({"include": "conv1"}, NAMES[:2]),
        ({"exclude": ["fc2"]}, NAMES[:2]),
        ({"include": ["net"], "exclude": ["biases", "fc2"]}, NAMES[:1]),
        ({"exclude": NAMES}, []),
    ],
)
def test_include_and_exclude(chosen: dict[str, Any], restored: list[str], values: dict[str, torch.Tensor]) -> None:
    for device in ("cpu", "meta"):
        model = build(device)
        before = initial(model)
        report = restore(model, values, **chosen)
        assert report.restored == restored
        assert report.excluded == [name for name in NAMES if name not in restored]
        assert report.initialized == (report.excluded if device == "meta" else [])
        assert report.unused == []
        for name, key in zip(NAMES, KEYS, strict=True):
            if name in restored:
                assert_values(model, {key: values[key]})
            elif device == "cpu":
                assert_values(model, {key: before[key]})


def test_a_pattern_that_finds_nothing(values: dict[str, torch.Tensor]) -> None:
    with pytest.raises(ValueError, match=r"`exclude`: 'fc9' names no variable\. Did you mean 'fc2'"):
        restore(build(), values, exclude=["fc9"])


def test_the_rest_is_filled_by_its_own_initializers(values: dict[str, torch.Tensor]) -> None:
    model = build("meta")
    report = restore(model, values, exclude=["conv1"])
    assert report.initialized == NAMES[:2]
    assert_values(model, {KEYS[0]: torch.ones(4, 3, 3, 2), KEYS[1]: torch.zeros(4), KEYS[2]: values[KEYS[2]]})
    assert not any(tensor.is_meta for tensor in model.state_dict().values())


# What does not fit.


def assert_nothing_changes(model: torch.nn.Module, source: Any, message: str, **options: Any) -> None:
    before = initial(model)
    with pytest.raises(ValueError, match=f"(?s)nothing was changed.*{message}"):
        restore(model, source, **options)
    for key, tensor in model.state_dict().items():
        assert tensor.is_meta == before[key].is_meta
        assert tensor.is_meta or torch.equal(tensor, before[key])


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_missing_variables(device: str, values: dict[str, torch.Tensor]) -> None:
    del values["net.fc2.bias"]
    message = r"Not in the checkpoint:\n  net/fc2/biases\n.*exclude=\['net/fc2/biases'\]"
    assert_nothing_changes(build(device), values, message)


def test_missing_variables_may_be_ignored(values: dict[str, torch.Tensor], caplog: pytest.LogCaptureFixture) -> None:
    del values["net.conv1.weight"]
    model = build("meta")
    with caplog.at_level(logging.INFO, "torchslim"):
        report = restore(model, values, ignore_missing=True)
    assert report.missing == report.initialized == NAMES[:1]
    assert_values(model, values | {KEYS[0]: torch.ones(4, 3, 3, 2)})
    assert caplog.records[0].levelno == logging.WARNING
    assert "not in the checkpoint (1): net/conv1/weights" in caplog.text


def test_other_shapes(values: dict[str, torch.Tensor]) -> None:
    message = (
        r"net/fc2/weights \('net.fc2.weight' in the checkpoint\): \[5, 96\] in the checkpoint, "
        r"\[7, 96\] in the model.*\[5\] in the checkpoint, \[7\] in the model.*exclude=\['conv1/biases', 'net/fc2'\]"
    )
    assert_nothing_changes(build(classes=7), values, message, exclude=["conv1/biases"], ignore_missing=True)
    report = restore(build(classes=7), values, exclude=["conv1/biases", "net/fc2"])
    assert report.restored == NAMES[:1]


@pytest.mark.parametrize(
    ("renamed", "proposal"),
    [
        ({key: f"module.{key}" for key in KEYS}, ("module", "")),
        ({key: key.removeprefix("net.") for key in KEYS}, ("", "net")),
        ({key: key.replace("net.", "old.model.") for key in KEYS}, ("old.model", "net")),
        (dict(zip(KEYS, [f"tower/{name}" for name in NAMES], strict=True)), ("tower", "")),
    ],
)
def test_the_prefix_that_differs_is_proposed(
    renamed: dict[str, str], proposal: tuple[str, str], values: dict[str, torch.Tensor]
) -> None:
    source = {renamed[key]: tensor for key, tensor in values.items()}
    assert_nothing_changes(build(), source, re.escape(f"With names={proposal}, 4 of these 4 are found."))
    model = build()
    restore(model, source, names=proposal)
    assert_values(model, values)


def test_nothing_in_common() -> None:
    with pytest.raises(ValueError, match=r"The checkpoint has nothing\.$"):
        restore(build(), {})


def test_a_damaged_tensor_changes_nothing(values: dict[str, torch.Tensor], tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save(path, values)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    model = build()
    before = initial(model)
    with pytest.raises(CheckpointError, match=r"tensor 'net\.fc2\.bias'"):
        restore(model, path)
    assert_values(model, before)


def test_what_nothing_could_fill() -> None:
    with torch.device("meta"):
        model = torch.nn.Linear(3, 2)
    message = "Neither restored nor with an initializer to fill them: biases"
    assert_nothing_changes(model, {"weight": torch.ones(2, 3)}, message, ignore_missing=True)


def test_the_global_step_may_be_missing(values: dict[str, torch.Tensor]) -> None:
    with slim.Graph() as graph:
        small_net(slim.placeholder((None, 3, 4, 6)))
        step = slim.get_or_create_global_step()
    assert restore(graph, values).missing == []
    restore(graph, {**values, "global_step": 12})
    assert step.tensor.item() == 12


# Types and memory.


def test_types_are_converted_and_reported(values: dict[str, torch.Tensor]) -> None:
    for device in ("cpu", "meta"):
        model = build(device)
        source = {**values, KEYS[1]: values[KEYS[1]].to(torch.float64), KEYS[3]: torch.arange(5, dtype=torch.int32)}
        report = restore(model, source)
        assert report.converted == {NAMES[1]: "float64 -> float32", NAMES[3]: "int32 -> float32"}
        assert_values(model, values | {KEYS[3]: torch.arange(5.0)})


def test_types_that_would_lose_meaning_are_refused(values: dict[str, torch.Tensor]) -> None:
    with pytest.raises(
        ValueError, match=r"'net\.fc2\.bias' in the checkpoint is complex64, .* float32 of 'net/fc2/biases'"
    ):
        restore(build(), {**values, KEYS[3]: torch.zeros(5, dtype=torch.complex64)})


@pytest.mark.parametrize("name", ["a.safetensors", "a.pt"])
def test_files_are_mapped_and_training_never_reaches_them(
    name: str, values: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    path = tmp_path / name
    save(path, values) if path.suffix == ".safetensors" else torch.save(values, path)
    before = path.read_bytes()
    models = [build("meta"), build("meta")]
    for model in models:
        restore(model, path)
    mapped = [line for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith(str(path))]
    areas = [[int(end, 16) for end in line.split()[0].split("-")] for line in mapped]
    for tensor in models[0].state_dict().values():
        assert any(start <= tensor.data_ptr() < end for start, end in areas)
    optimizer = torch.optim.SGD(models[0].parameters(), lr=1.0)
    models[0](torch.ones(2, 3, 4, 6)).sum().backward()
    optimizer.step()
    assert not torch.equal(models[0].state_dict()[KEYS[3]], values[KEYS[3]])
    assert path.read_bytes() == before
    assert_values(models[1], values)
    path.unlink()
    optimizer.step()


@pytest.mark.parametrize("layout", ["torch", "tf"])
def test_models_share_no_memory_with_the_source(layout: str, values: dict[str, torch.Tensor]) -> None:
    model = build("meta")
    source = dict(zip(NAMES, values.values(), strict=True))
    if layout == "tf":
        variables = slim.get_variables(module=build())
        source = {variable.op.name: variable.to_tf(source[variable.op.name]) for variable in variables}
    wanted = {name: tensor.clone() for name, tensor in source.items()}
    restore(model, source, layout=layout)
    for parameter in model.parameters():
        parameter.data.zero_()
    for name, tensor in wanted.items():
        assert torch.equal(source[name], tensor)


def test_variables_share_no_memory_with_each_other(tmp_path: Path) -> None:
    def twins(inputs: slim.Symbol) -> slim.Symbol:
        return slim.stack(inputs, slim.fully_connected, [6, 6], scope="fc", biases_initializer=None)

    for name in ("a.safetensors", "a.pt"):
        path = tmp_path / name
        save(path, {"w": torch.ones(6, 6)}) if name == "a.safetensors" else torch.save({"w": torch.ones(6, 6)}, path)
        with torch.device("meta"):
            model = slim.build(twins, slim.InputSpec((None, 6)))
        restore(model, path, names=lambda variable: "w")
        first, second = model.parameters()
        first.data.zero_()
        assert second.sum() == 36
        assert load(tmp_path / "a.safetensors")["w"].sum() == 36


def test_parameters_stay_what_they_were(values: dict[str, torch.Tensor]) -> None:
    model = build("meta")
    model.net.conv1.weight.requires_grad_(False)
    parameters = list(model.parameters())
    restore(model, values)
    assert all(found is known for found, known in zip(model.parameters(), parameters, strict=True))
    assert [parameter.requires_grad for parameter in parameters] == [False, True, True, True]


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_variables_on_cuda_receive_a_copy_there(values: dict[str, torch.Tensor], tmp_path: Path) -> None:
    save(tmp_path / "a.safetensors", values)
    model = build().cuda()
    restore(model, tmp_path / "a.safetensors")
    assert all(tensor.is_cuda for tensor in model.state_dict().values())
    assert_values(model.cpu(), values)


def test_the_report_reads_well(values: dict[str, torch.Tensor]) -> None:
    source = {**values, KEYS[1]: values[KEYS[1]].half(), **{f"slot{i}": 0 for i in range(9)}}
    report = restore(build("meta"), source, include=["net"], exclude=["fc2/biases"])
    assert str(report).splitlines() == [
        "restored 3 of 4 variables from the given mapping",
        f"  include 'net' chose 4: {', '.join(NAMES)}",
        "  exclude 'fc2/biases' chose 1: net/fc2/biases",
        "  left out (1): net/fc2/biases",
        "  filled by their initializers (1): net/fc2/biases",
        "  converted (1): net/conv1/biases float16 -> float32",
        "  unused in the checkpoint (9): slot0, slot1, slot2, slot3, slot4, slot5, slot6, slot7, and 1 more",
    ]
