"""Names in checkpoints: torchvision's own networks say what the known namings must give."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
import torchvision

import torchslim as slim
from torchslim.checkpoints import known_names
from torchslim.checkpoints.fitting import arrangement
from torchslim.checkpoints.names import name_map
from torchslim.nets import vgg


@pytest.fixture(scope="module")
def variables() -> dict[str, slim.Variable]:
    with slim.Graph():
        for name in ("net/conv1/weights", "net/conv1/biases", "net/fc/weights", "other"):
            slim.variable(name, shape=[2])
        return {variable.op.name: variable for variable in slim.get_variables()}


def names_of(variables: dict[str, slim.Variable], names: Any) -> dict[str, str]:
    """Slim name -> the likeliest name in the checkpoint."""
    naming = name_map(names, list(variables.values()))
    return {name: next(iter(naming.candidates(variable)), "") for name, variable in variables.items()}


NETS = {"vgg11": vgg.vgg_a, "vgg16": vgg.vgg_16, "vgg19": vgg.vgg_19}


@pytest.mark.parametrize("name", NETS)
def test_torchvision_networks(name: str) -> None:
    with torch.device("meta"):
        theirs = getattr(torchvision.models, name)().state_dict()
        model = slim.build(NETS[name], slim.InputSpec((None, 3, 224, 224)))
    naming = name_map(f"torchvision/{name}", slim.get_variables(module=model))
    found = {naming.candidates(variable)[0]: variable for variable in slim.get_variables(module=model)}
    assert found.keys() == theirs.keys()
    for key, tensor in theirs.items():
        assert arrangement(found[key], tuple(tensor.shape), tf_layout=False, dense_as_convolution=True)
        assert found[key].op.name.rpartition("/")[2] == ("weights" if key.endswith("weight") else "biases")
    assert found["classifier.0.weight"].shape == (4096, 512, 7, 7)


def test_vgg13_has_no_net_but_a_naming() -> None:
    with slim.Graph():
        last = slim.variable("mine/conv5/conv5_2/weights", shape=[512, 512, 3, 3])
        beyond = slim.variable("mine/conv5/conv5_3/weights", shape=[512, 512, 3, 3])
    with torch.device("meta"):
        theirs = torchvision.models.vgg13().state_dict()
    naming = name_map("torchvision/vgg13", [last, beyond])
    assert naming.candidates(beyond) == []
    assert naming.candidates(last) == [[key for key in theirs if key.startswith("features.")][-2]]


def test_other_variables_have_no_name_in_torchvision(variables: dict[str, slim.Variable]) -> None:
    assert set(names_of(variables, "torchvision/vgg16").values()) == {""}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (None, ["net/conv1/weights", "net/conv1/biases", "net/fc/weights", "other"]),
        (("vgg16", ""), ["vgg16/net/conv1/weights", "vgg16/net/conv1/biases", "vgg16/net/fc/weights", "vgg16/other"]),
        (("", "net"), ["conv1/weights", "conv1/biases", "fc/weights", "other"]),
        (("a/b/", "net/"), ["a/b/conv1/weights", "a/b/conv1/biases", "a/b/fc/weights", "other"]),
        ({"a": "net", "b": "net/conv1"}, ["b/weights", "b/biases", "a/fc/weights", "other"]),
        ({"params1": "net/conv1/weights"}, ["params1", "net/conv1/biases", "net/fc/weights", "other"]),
        ({"p/q.r": "other:0"}, ["net/conv1/weights", "net/conv1/biases", "net/fc/weights", "p/q.r"]),
        (lambda v: f"x/{v.op.name}", ["x/net/conv1/weights", "x/net/conv1/biases", "x/net/fc/weights", "x/other"]),
        (lambda v: v.op.name if v.op.name == "other" else None, ["", "", "", "other"]),
    ],
)
def test_renaming(names: Any, expected: list[str], variables: dict[str, slim.Variable]) -> None:
    assert list(names_of(variables, names).values()) == expected


def test_a_dict_takes_variables(variables: dict[str, slim.Variable]) -> None:
    other = variables["other"]
    for names in ({"p": other}, {"p": [other]}):
        assert names_of(variables, names)["other"] == "p"


def test_state_dict_keys_are_renamed_too() -> None:
    model = slim.build(lambda x: slim.conv2d(x, 2, [1, 1], scope="net/conv1"), slim.InputSpec((None, 3, 4, 4)))
    weights = slim.get_variables(module=model)[0]
    assert name_map(("module.", ""), [weights]).candidates(weights) == [
        "module/net/conv1/weights",
        "module.net.conv1.weight",
    ]
    assert name_map(("backbone", "net.conv1"), [weights]).candidates(weights) == ["backbone/weights", "backbone.weight"]
    assert name_map({"w": "net.conv1.weight"}, [weights]).candidates(weights) == ["w"]


@pytest.mark.parametrize(
    ("names", "kind", "message"),
    [
        ("torchvision/vgg99", ValueError, f"one of {known_names()}. Got 'torchvision/vgg99'"),
        (
            {"a": "net/conv2"},
            ValueError,
            "maps 'a' to 'net/conv2', which the model does not have. Did you mean 'net/conv1'",
        ),
        (("a", "nett"), ValueError, "maps 'a' to 'nett'"),
        ({"a": 3}, TypeError, "Got 3"),
        (["a", "b", "c"], TypeError, "Got ['a', 'b', 'c']"),
        (lambda v: 7, TypeError, "Got 7 for 'net/conv1/weights'"),
    ],
)
def test_bad_names(names: Any, kind: type[Exception], message: str, variables: dict[str, slim.Variable]) -> None:
    with pytest.raises(kind, match=re.escape(message)):
        names_of(variables, names)
