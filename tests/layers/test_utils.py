"""`slim.utils`: names of outputs, collections, conditions, shapes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import torchslim as slim
from torchslim.layers import utils


def test_all_of_tf_slims_utils_are_there() -> None:
    path = Path(__file__).parents[2] / ".." / "shared" / "tf_slim_api.json"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    assert [name for name in json.loads(path.read_text())["slim.utils"] if not hasattr(utils, name)] == []


@pytest.mark.parametrize("value", [3, True, 0.0, "x"])
def test_constant_value_of_python_values(value) -> None:
    assert utils.constant_value(value) == value


def test_constant_value_of_tensors_symbols_and_variables() -> None:
    with slim.Graph():
        assert utils.constant_value(torch.tensor(2.0), torch.float32) == 2
        assert utils.constant_value(slim.placeholder(())) is None
        assert utils.constant_value(slim.variable("v", [1])) is None
        with pytest.raises(ValueError, match=r"torch.int64. Got torch.float32"):
            utils.constant_value(slim.placeholder(()), torch.int64)
    with pytest.raises(ValueError, match="Got None"):
        utils.constant_value(None)


def test_static_cond() -> None:
    assert utils.static_cond(0, lambda: 1, lambda: 2) == 2
    with pytest.raises(TypeError, match=r"`fn2` must be a function without arguments. Got 7"):
        utils.static_cond(True, lambda: 1, 7)


@pytest.mark.parametrize("pred", [True, 1, torch.tensor(True)])
def test_smart_cond_that_is_known_runs_one_function(pred) -> None:
    assert utils.smart_cond(pred, lambda: "first", lambda: 1 / 0) == "first"


def test_smart_cond_when_the_module_runs() -> None:
    def net(x, training):
        def normalized():
            return slim.batch_norm(x, decay=0.5, scope="bn")

        return utils.smart_cond(training, normalized, lambda: slim.linear(x, 3, scope="fc"))

    x = torch.randn(4, 3)
    model = slim.build(net, x, slim.InputSpec((), torch.bool))
    assert sorted(model.state_dict()) == ["bn.bias", "bn.running_mean", "bn.running_var", "fc.bias", "fc.weight"]
    torch.testing.assert_close(model(x, torch.tensor(False)), model.fc(x))
    assert not model.bn.running_mean.any()  # only the chosen one runs
    torch.testing.assert_close(model(x, torch.tensor(True)).mean(0), torch.zeros(3), atol=1e-6, rtol=0)
    assert model.bn.running_mean.all()
    model(x, torch.tensor(False)).sum().backward()
    assert model.fc.weight.grad.any()
    assert model.bn.bias.grad is None


@pytest.mark.parametrize("how", ["compile", "export"])
def test_smart_cond_becomes_that_of_torch(how: str) -> None:
    def net(x):
        return utils.smart_cond(x.sum() > 0, lambda: slim.batch_norm(slim.linear(x, 3, scope="fc")), lambda: x)

    x = torch.tensor([[1.0, 2.0, 3.0]])
    model = slim.build(net, x).eval()
    if how == "compile":
        captured = torch.compile(model, fullgraph=True, backend="aot_eager")
    else:
        captured = torch.export.export(model, (x,)).module()
    for given in (x, -x):
        torch.testing.assert_close(captured(given), model(given))
    assert captured(-x).equal(-x)


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # PyTorch asks it of what it has captured
def test_smart_cond_trains_statistics_where_it_is_compiled_in_parts() -> None:
    def net(x):
        return utils.smart_cond(x.sum() > 0, lambda: slim.batch_norm(x, scope="bn"), lambda: x)

    x = torch.tensor([[1.0, 2.0], [3.0, 5.0]])
    model = slim.build(net, x)
    torch.compile(model, backend="aot_eager")(x).sum().backward()
    assert model.bn.running_mean.all()


def test_smart_cond_errors() -> None:
    with slim.Graph():
        x = slim.placeholder((None, 2))
        pred = x.sum() > 0
        with pytest.raises(ValueError, match=r"Got \(None, 2\) and \(None,\)"):
            utils.smart_cond(pred, lambda: x + 1, lambda: x.sum(1))
        with pytest.raises(TypeError, match="Got None"):
            utils.smart_cond(pred, None, lambda: x)
        with pytest.raises(TypeError, match=r"must return a Symbol, or a tuple of them. Got \[3\]"):
            utils.smart_cond(pred, lambda: 3, lambda: x)


def test_dimensions() -> None:
    assert utils.channel_dimension((None, 3, 8, 9), "channels_last", min_rank=4) == 9
    assert utils.last_dimension(torch.zeros(2, 5).shape) == 5
    with pytest.raises(ValueError, match=r"at least 3 dimensions. Got \(4, 2\)"):
        utils.last_dimension((4, 2), min_rank=3)
    with pytest.raises(ValueError, match=r"dimension 1 of `shape` must be fixed. Got \(4, None\)"):
        utils.channel_dimension((4, None), "channels_first")


@pytest.mark.parametrize("wrong", [(1, 2, 3), "ab", None, 2.0])
def test_two_element_tuple_refuses(wrong) -> None:
    with pytest.raises(ValueError, match="Got "):
        utils.two_element_tuple(wrong)
