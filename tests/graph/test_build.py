"""Built models are ordinary modules: compiled, exported, copied, pickled, distributed, at any batch and image size."""

from __future__ import annotations

import copy
import io
import os
import pickle

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import torchslim as slim


def net(images: slim.Symbol, classes: int = 10) -> slim.Symbol:
    with slim.arg_scope([slim.conv2d], normalizer_fn=slim.batch_norm):
        net = slim.repeat(images, 2, slim.conv2d, 8, [3, 3], scope="conv1")
        net = slim.max_pool2d(net, [2, 2], scope="pool1")
        branch = slim.conv2d(net, 8, [3, 3], stride=2, scope="branch/conv")
        net = torch.cat([slim.avg_pool2d(net, 3, padding="SAME"), branch], 1)
    net = slim.dropout(net, 0.5, scope="drop")
    net = slim.conv2d(net, classes, [1, 1], activation_fn=None, scope="logits")
    return net.mean((2, 3))


@pytest.fixture
def model() -> slim.Model:
    return slim.build(net, torch.empty(1, 3, 16, 16))


def assert_same(a: nn.Module, b: nn.Module, *inputs: torch.Tensor) -> None:
    torch.testing.assert_close(a.eval()(*inputs), b.eval()(*inputs))


def test_it_is_a_graph_module_with_real_sequentials(model: slim.Model) -> None:
    assert isinstance(model, torch.fx.GraphModule)
    assert type(model.conv1) is nn.Sequential
    assert list(model.conv1._modules) == ["conv1_1", "conv1_2"]
    x = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(model.eval().conv1(x), model.extract("conv1/conv1_2")(x))
    assert isinstance(model.conv1.conv1_1, nn.Conv2d)
    assert isinstance(model.conv1.conv1_1.BatchNorm, nn.BatchNorm2d)


def test_state_dict_keys_are_the_scopes(model: slim.Model) -> None:
    assert list(model.state_dict()) == [
        f"{conv}.{key}"
        for conv in ("conv1.conv1_1", "conv1.conv1_2", "branch.conv")
        for key in ("weight", "BatchNorm.bias", "BatchNorm.running_mean", "BatchNorm.running_var")
    ] + ["logits.weight", "logits.bias"]


def test_it_equals_the_hand_written_module(model: slim.Model) -> None:
    class ByHand(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convs = nn.ModuleList([nn.Conv2d(i, 8, 3, s, 1, bias=False) for i, s in ((3, 1), (8, 1), (8, 2))])
            self.norms = nn.ModuleList([nn.BatchNorm2d(8, eps=0.001, momentum=0.001) for _ in range(3)])
            self.logits = nn.Conv2d(16, 10, 1)

        def unit(self, i: int, x: torch.Tensor) -> torch.Tensor:
            if i == 2:  # SAME with stride 2 on an even size pads behind only
                x = nn.functional.pad(x, (0, 1, 0, 1))[:, :, :, :]
                return self.norms[i](nn.functional.conv2d(x, self.convs[i].weight, stride=2)).relu()
            return self.norms[i](self.convs[i](x)).relu()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = nn.functional.max_pool2d(self.unit(1, self.unit(0, x)), 2)
            pooled = nn.functional.avg_pool2d(x, 3, 2, ceil_mode=True)
            return self.logits(torch.cat([pooled, self.unit(2, x)], 1)).mean((2, 3))

    by_hand = ByHand()
    ours = [model.conv1.conv1_1, model.conv1.conv1_2, model.branch.conv]
    for theirs, conv in zip(by_hand.convs, ours, strict=True):
        theirs.load_state_dict({"weight": conv.weight})
    by_hand.logits.load_state_dict(model.logits.state_dict())
    assert_same(model, by_hand, torch.randn(3, 3, 16, 16))
    model.drop.p = 0.0
    x = torch.randn(3, 3, 16, 16)
    torch.testing.assert_close(model.train()(x), by_hand.train()(x))
    torch.testing.assert_close(ours[2].BatchNorm.running_var, by_hand.norms[2].running_var)


@pytest.mark.parametrize("batch", [1, 2, 7])
@pytest.mark.parametrize("size", [(16, 16), (15, 23), (64, 40)])
def test_any_batch_and_image_size(model: slim.Model, batch: int, size: tuple[int, int]) -> None:
    assert model(torch.randn(batch, 3, *size)).shape == (batch, 10)


def test_deepcopy_and_pickle(model: slim.Model) -> None:
    x = torch.randn(2, 3, 16, 16)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert_same(model, other, x)
        assert type(other.conv1) is nn.Sequential
        assert other.end_points == model.end_points
        torch.testing.assert_close(other.extract("pool1")(x), model.extract("pool1")(x))
        other.logits.weight.data.zero_()
        assert model.logits.weight.abs().sum() > 0
    again = copy.deepcopy(pickle.loads(pickle.dumps(copy.deepcopy(model))))
    assert_same(model, again, x)


def test_compile_in_one_graph(model: slim.Model) -> None:
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    x = torch.randn(2, 3, 16, 16)
    assert_same(model, compiled, x)
    compiled.train()(x).sum().backward()
    assert model.logits.weight.grad is not None
    torch._dynamo.reset()


def test_export(model: slim.Model) -> None:
    x = torch.randn(4, 3, 16, 16)
    batch = torch.export.Dim("batch")
    exported = torch.export.export(model.eval(), (x,), dynamic_shapes=({0: batch},))
    y = torch.randn(9, 3, 16, 16)
    torch.testing.assert_close(exported.module()(y), model(y))
    assert set(exported.state_dict) == set(model.state_dict())


def test_distributed_data_parallel(model: slim.Model, tmp_path) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        parallel = nn.parallel.DistributedDataParallel(model)
        parallel(torch.randn(2, 3, 16, 16)).sum().backward()
        assert all(p.grad is not None for p in model.parameters())
        assert [v.op.name for v in slim.get_variables(module=parallel)] == [
            v.op.name for v in slim.get_variables(module=model)
        ]
    finally:
        torch.distributed.destroy_process_group()


def test_state_dict_round_trip_in_a_file(model: slim.Model) -> None:
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other = slim.build(net, torch.empty(1, 3, 16, 16))
    other.load_state_dict(torch.load(file, weights_only=True))
    assert_same(model, other, torch.randn(2, 3, 16, 16))
    other.load_state_dict(dict(model.state_dict()))  # a plain dict carries no versions


def test_end_points_of_the_function() -> None:
    def with_ends(x: slim.Symbol):
        y = slim.fully_connected(x, 4, scope="fc1")
        return y, {"features": y, "predictions": y.softmax(1), "count": 3}

    model = slim.build(with_ends, torch.empty(1, 5))
    assert {name: end.shape for name, end in model.end_points.items()} == {
        "features": (None, 4),
        "predictions": (None, 4),
    }
    x = torch.randn(3, 5)
    features, predictions = model.extract("features", "predictions")(x)
    torch.testing.assert_close(features, model(x))
    torch.testing.assert_close(predictions, model(x).softmax(1))
    torch.testing.assert_close(model.extract("fc1")(x), model(x))
    with pytest.raises(ValueError, match=r"Got 'fc2'. There are \['fc1', 'features', 'predictions'\]"):
        model.extract("fc2")


def test_extract_computes_just_that_and_shares_parameters(model: slim.Model) -> None:
    part = model.extract("conv1/conv1_1", "branch/conv")
    assert set(dict(part.named_children())) == {"conv1", "branch", "pool1"}
    assert part.branch.conv is model.branch.conv
    assert next(iter(model.extract("conv1/conv1_1").state_dict())) == "conv1.conv1_1.weight"


def test_a_call_computes_only_what_comes_out() -> None:
    """A second head keeps its variables and its end point, and costs nothing until it is asked for."""

    def two_heads(x: slim.Symbol) -> tuple[slim.Symbol, dict[str, slim.Symbol]]:
        net = slim.fully_connected(x, 4, scope="first")
        return net, {"net": net, "second": slim.fully_connected(x, 4, scope="second")}

    model = slim.build(two_heads, torch.empty(1, 3))
    for copied in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        x = torch.randn(2, 3)
        with FlopCounterMode(display=False) as counter:
            copied(x)
        assert counter.get_total_flops() == 2 * 2 * 3 * 4
        torch.testing.assert_close(copied.extract("second")(x), copied.second(x))
        assert list(copied.state_dict()) == ["first.weight", "first.bias", "second.weight", "second.bias"]


@pytest.mark.parametrize("structure", [lambda a, b: (a, b), lambda a, b: [a, b], lambda a, b: {"a": a, "b": b}])
def test_structured_outputs(structure) -> None:
    model = slim.build(lambda x: structure(x + 1, x * 2), torch.empty(1, 2))
    assert str(model(torch.zeros(1, 2))) == str(structure(torch.ones(1, 2), torch.zeros(1, 2)))


def test_several_inputs_and_keywords() -> None:
    def two(a: slim.Symbol, b: slim.Symbol, factor: float) -> slim.Symbol:
        return slim.fully_connected(a, 3, scope="fc") * factor + b

    model = slim.build(two, torch.empty(1, 2), slim.InputSpec((None, 3), name="offset"), factor=2.0)
    assert model.inputs == ("inputs", "offset")
    assert model(torch.zeros(4, 2), torch.ones(4, 3)).shape == (4, 3)


def test_inputs_without_names_keep_their_order() -> None:
    model = slim.build(lambda a, b, c: a - 2 * b + 4 * c, *[torch.empty(1)] * 3)
    assert model(*torch.tensor([[1.0], [2.0], [3.0]])).item() == 9.0
    assert model.inputs == ("inputs", "inputs_1", "inputs_2")


def test_meta_needs_no_memory_and_makes_no_values() -> None:
    with torch.device("meta"):
        model = slim.build(net, torch.empty(1, 3, 16, 16))
    assert all(tensor.is_meta for tensor in model.state_dict().values())
    slim.get_variables(module=model)[0].initialize()
    assert not model.conv1.conv1_1.weight.is_meta


def test_the_seed_decides_the_values() -> None:
    models = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        models.append(slim.build(net, torch.empty(1, 3, 16, 16)))
    a, b, c = (m.conv1.conv1_2.weight for m in models)
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (lambda x: 3, TypeError, "Got 3"),
        (lambda x: None, TypeError, "must return a Symbol"),
        (lambda x: (x, 3), TypeError, r"Got \[3\]"),
    ],
)
def test_functions_that_give_no_symbols(function, error, message: str) -> None:
    with pytest.raises(error, match=message):
        slim.build(function, torch.empty(1, 2))


def test_inputs_are_checked() -> None:
    with pytest.raises(TypeError, match="Got none"):
        slim.build(net)
    with pytest.raises(TypeError, match=r"Got \(1, 3\)"):
        slim.build(net, (1, 3))


def test_errors_name_the_scope_once() -> None:
    def broken(x: slim.Symbol) -> slim.Symbol:
        with slim.variable_scope("vgg"):
            return slim.repeat(x, 2, slim.conv2d, 0, [3, 3], scope="conv3")

    with pytest.raises(ValueError, match="Got 0") as caught:
        slim.build(broken, torch.empty(1, 3, 8, 8))
    assert caught.value.__notes__.count("while building 'vgg/conv3/conv3_1'") == 1


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda() -> None:
    model = slim.build(net, torch.empty(1, 3, 16, 16, device="cuda"))
    assert model(torch.randn(2, 3, 16, 16, device="cuda")).device.type == "cuda"
    with torch.device("cuda"):
        assert next(slim.build(net, slim.InputSpec((None, 3, 16, 16))).parameters()).is_cuda


def test_fake_cuda_tensors_flow_through() -> None:
    """No line of the layers is for the host only: the model runs where tensors merely claim to be on a GPU."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    model = slim.build(net, torch.empty(1, 3, 16, 16))
    with FakeTensorMode():
        state = {
            key: torch.empty(value.shape, dtype=value.dtype, device="cuda")
            for key, value in [*model.named_parameters(), *model.named_buffers()]
        }
        out = torch.func.functional_call(model, state, (torch.empty(2, 3, 16, 16, device="cuda"),))
    assert out.device.type == "cuda"


def test_nothing_of_ours_runs_per_step(model: slim.Model) -> None:
    """The generated forward calls modules and torch functions only."""
    import sys

    seen = set()

    def profile(frame, event, _argument):
        if event == "call" and f"{os.sep}torchslim{os.sep}" in frame.f_code.co_filename:
            seen.add(os.path.basename(os.path.dirname(frame.f_code.co_filename)))

    sys.setprofile(profile)
    try:
        model(torch.zeros(1, 3, 16, 16))
    finally:
        sys.setprofile(None)
    assert seen == {"layers"}
