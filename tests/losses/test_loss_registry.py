"""What holds for every loss: precision, derivatives, compilation, `meta`, Symbols, and how weights and batches act."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import torchslim as slim
from torchslim import losses
from torchslim.losses import tf_losses

Loss = Callable[..., torch.Tensor]
Inputs = dict[str, Any]

BATCH = 6
COLLECTION = {"add_loss", "add_n", "get_losses", "get_regularization_loss", "get_regularization_losses"}
COLLECTION |= {"get_total_loss"}
ALIASES = {"sum_of_squares", "sum_of_pairwise_squares"}
CLASSES = torch.tensor([0, 2, 1, 1, 0, 2])


def numbers() -> Inputs:
    return {"predictions": torch.randn(BATCH, 3), "labels": torch.randn(BATCH, 3)}


def embeddings() -> Inputs:
    return {"labels": CLASSES, "embeddings": torch.randn(BATCH, 4)}


def embedding_pairs(labels: Any = CLASSES) -> Inputs:
    first, second = torch.randn(BATCH, 4), torch.randn(BATCH, 4)
    return {"labels": labels, "embeddings_anchor": first, "embeddings_positive": second}


def multilabel() -> Inputs:
    pairs = embedding_pairs()
    sets = torch.randint(2, (BATCH, 5)) | torch.nn.functional.one_hot(CLASSES, 5)
    return {"sparse_labels": [slim.dense_to_sparse(labels) for labels in sets]} | {
        name: pairs[name] for name in ("embeddings_anchor", "embeddings_positive")
    }


INPUTS: dict[str, Callable[[], Inputs]] = {
    "absolute_difference": numbers,
    "cluster_loss": lambda: {
        "labels": CLASSES,
        "embeddings": torch.randn(BATCH, 4) + torch.eye(4)[CLASSES],
        "margin_multiplier": 0.5,
    },
    "compute_weighted_loss": lambda: {"losses": torch.rand(BATCH, 3)},
    "contrastive_loss": lambda: embedding_pairs(torch.tensor([1, 0, 0, 1, 0, 1])) | {"margin": 3.0},
    "cosine_distance": lambda: numbers() | {"axis": 1},
    "hinge_loss": lambda: {"logits": torch.randn(BATCH, 3), "labels": torch.randint(2, (BATCH, 3))},
    "huber_loss": numbers,
    "lifted_struct_loss": embeddings,
    "log_loss": lambda: {"predictions": torch.rand(BATCH, 3) * 0.8 + 0.1, "labels": torch.rand(BATCH, 3)},
    "mean_pairwise_squared_error": numbers,
    "mean_squared_error": numbers,
    "npairs_loss": embedding_pairs,
    "npairs_loss_multilabel": multilabel,
    "sigmoid_cross_entropy": lambda: {
        "logits": torch.randn(BATCH, 3),
        "multi_class_labels": torch.randint(2, (BATCH, 3)),
    },
    "softmax_cross_entropy": lambda: {
        "logits": torch.randn(BATCH, 3),
        "onehot_labels": torch.nn.functional.one_hot(CLASSES, 3),
    },
    "sparse_softmax_cross_entropy": lambda: {"logits": torch.randn(BATCH, 3), "labels": CLASSES},
    "triplet_semihard_loss": embeddings,
}
# TensorFlow's names, where they are not those of the functions.
SCOPES = {"compute_weighted_loss": "weighted_loss"} | {
    name: f"{name}_loss" for name in INPUTS if name == "cosine_distance" or name.endswith("cross_entropy")
}
SLIM = [getattr(losses, name) for name in sorted({*losses.__all__} & INPUTS.keys())]
TENSORFLOW = [getattr(tf_losses, name) for name in sorted({*tf_losses.__all__} & INPUTS.keys())]
LOSSES = SLIM + TENSORFLOW
WEIGHTED = [loss for loss in LOSSES if "weights" in inspect.signature(loss).parameters]
# How many steps the search of a clustering takes depends on the labels; torch.compile has no sparse tensors.
NOT_COMPILED = [losses.cluster_loss, losses.npairs_loss_multilabel]


def identify(loss: Loss) -> str:
    return f"{'slim' if loss in SLIM else 'tf'}-{loss.__name__}"


every_loss = pytest.mark.parametrize("loss", LOSSES, ids=identify)
weighted = pytest.mark.parametrize("loss", WEIGHTED, ids=identify)


def inputs_of(loss: Loss) -> Inputs:
    return INPUTS[loss.__name__]()


def differentiable(inputs: Inputs) -> list[str]:
    """The inputs that the losses differentiate: floating point, and no labels."""
    floats = [name for name, value in inputs.items() if isinstance(value, torch.Tensor) and value.is_floating_point()]
    return [name for name in floats if "labels" not in name]


def cast(inputs: Inputs, dtype: torch.dtype) -> Inputs:
    return inputs | {name: inputs[name].to(dtype) for name in differentiable(inputs)}


def per_example(loss: Loss, weights: torch.Tensor) -> torch.Tensor:
    """Weights `[B]` in the shape that the loss wants: TensorFlow's have the rank of what they weigh."""
    one_each = loss in SLIM or loss.__name__ in ("softmax_cross_entropy", "sparse_softmax_cross_entropy")
    return weights if one_each else weights[:, None]


def test_the_registry_is_complete() -> None:
    assert {*losses.__all__} - COLLECTION - ALIASES - {"metric_learning", "tf_losses"} == INPUTS.keys()
    assert {*tf_losses.__all__} - COLLECTION - {"Reduction"} == {loss.__name__ for loss in TENSORFLOW}
    assert (len(LOSSES), len(WEIGHTED)) == (28, 21)


# Precision


@every_loss
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(loss: Loss, dtype: torch.dtype) -> None:
    inputs = cast(inputs_of(loss), dtype)
    got = loss(**inputs)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, loss(**cast(inputs, torch.float32)), rtol=0, atol=0)


@every_loss
def test_under_autocast(loss: Loss) -> None:
    inputs = inputs_of(loss)
    expected = loss(**inputs)
    with torch.autocast("cpu", torch.bfloat16):
        got = loss(**inputs)
    assert torch.equal(got, expected)


@every_loss
def test_float64_stays(loss: Loss) -> None:
    inputs = inputs_of(loss)
    got = loss(**cast(inputs, torch.float64))
    assert got.dtype == torch.float64
    torch.testing.assert_close(got.float(), loss(**inputs))


@every_loss
@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_finite_at_all_scales(loss: Loss, scale: float) -> None:
    inputs = inputs_of(loss)
    names = differentiable(inputs)
    if loss.__name__ != "log_loss":  # which takes probabilities
        inputs |= {name: inputs[name] * scale for name in names}
    inputs |= {name: inputs[name].requires_grad_() for name in names}
    result = loss(**inputs)
    gradients = torch.autograd.grad(result.sum(), [inputs[name] for name in names])
    assert result.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in gradients)


# Derivatives


@every_loss
def test_differentiable_twice(loss: Loss) -> None:
    inputs = cast(inputs_of(loss), torch.float64)
    names = differentiable(inputs)

    def of_tensors(*tensors: torch.Tensor) -> torch.Tensor:
        return loss(**inputs | dict(zip(names, tensors, strict=True)))

    tensors = [inputs[name].requires_grad_() for name in names]
    assert torch.autograd.gradcheck(of_tensors, tensors)
    assert torch.autograd.gradgradcheck(of_tensors, tensors)


# Other ways to run


@pytest.mark.parametrize("loss", [loss for loss in LOSSES if loss not in NOT_COMPILED], ids=identify)
def test_compiles_into_one_graph(loss: Loss) -> None:
    inputs = inputs_of(loss)
    if loss in WEIGHTED:
        inputs["weights"] = per_example(loss, torch.rand(BATCH))
    torch.compiler.reset()
    compiled = torch.compile(lambda inputs: loss(**inputs), fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(inputs), loss(**inputs))


@every_loss
def test_runs_on_meta(loss: Loss) -> None:
    inputs = inputs_of(loss)
    on_meta = {name: v.to("meta") if isinstance(v, torch.Tensor) else v for name, v in inputs.items()}
    got = loss(**on_meta)
    assert got.is_meta
    assert got.shape == loss(**inputs).shape


@every_loss
def test_is_one_node_and_is_collected(loss: Loss) -> None:
    graph = slim.get_default_graph()
    inputs = inputs_of(loss)
    tensors = {name: value for name, value in inputs.items() if isinstance(value, torch.Tensor)}
    symbols = {name: slim.placeholder((None, *t.shape[1:]), t.dtype, name=name) for name, t in tensors.items()}
    result = loss(**inputs | symbols)

    assert [node for node in graph.fx_graph.nodes if node.op == "call_function"] == [result.node]
    assert result.node.target is loss
    torch.testing.assert_close(graph.run(result, {symbols[name]: tensors[name] for name in symbols}), loss(**inputs))
    assert losses.get_losses() == ([result] if loss in WEIGHTED else [])
    assert result.aliases == [SCOPES.get(loss.__name__, loss.__name__)]


# Weights


@weighted
def test_a_number_weighs_like_a_tensor(loss: Loss) -> None:
    inputs = inputs_of(loss)
    expected = 0.7 * loss(**inputs)
    for weights in (0.7, torch.tensor(0.7)):
        torch.testing.assert_close(loss(**inputs, weights=weights), expected)


@weighted
@pytest.mark.parametrize("number", [True, False], ids=["number", "tensor"])
def test_without_weight_there_is_neither_loss_nor_gradient(loss: Loss, number: bool) -> None:
    inputs = inputs_of(loss)
    names = differentiable(inputs)
    weights = 0.0 if number else per_example(loss, torch.zeros(BATCH)).requires_grad_()
    inputs |= {name: inputs[name].requires_grad_() for name in names}
    result = loss(**inputs, weights=weights)
    result.backward()
    assert result.item() == 0
    assert not any(inputs[name].grad.any() for name in names)
    assert number or not weights.grad.any()


@weighted
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**20), factor=st.floats(0.1, 10))
def test_linear_in_weights(loss: Loss, seed: int, factor: float) -> None:
    torch.manual_seed(seed)
    inputs, weights = inputs_of(loss), per_example(loss, torch.rand(BATCH) + 0.1)
    torch.testing.assert_close(loss(**inputs, weights=factor * weights), factor * loss(**inputs, weights=weights))


@weighted
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**20), kept=st.lists(st.integers(0, BATCH - 1), min_size=1, unique=True))
def test_a_weight_of_zero_is_an_absent_example(loss: Loss, seed: int, kept: list[int]) -> None:
    torch.manual_seed(seed)
    inputs, weights = inputs_of(loss), torch.rand(BATCH) + 0.1
    there = torch.zeros(BATCH)
    there[kept] = 1
    fewer = {name: v[kept] if isinstance(v, torch.Tensor) else v for name, v in inputs.items()}
    expected = loss(**fewer, weights=per_example(loss, weights[kept]))
    torch.testing.assert_close(loss(**inputs, weights=per_example(loss, weights * there)), expected)


# Of two clusterings that are equally good, `cluster_loss` takes the first.
@pytest.mark.parametrize("loss", [loss for loss in LOSSES if loss is not losses.cluster_loss], ids=identify)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**20), order=st.permutations(range(BATCH)))
def test_the_order_of_the_batch_does_not_matter(loss: Loss, seed: int, order: list[int]) -> None:
    torch.manual_seed(seed)
    inputs = cast(inputs_of(loss), torch.float64)
    shuffled = {
        name: [v[i] for i in order] if isinstance(v, list) else v[order] if isinstance(v, torch.Tensor) else v
        for name, v in inputs.items()
    }
    expected = loss(**inputs)
    torch.testing.assert_close(loss(**shuffled), expected if expected.ndim == 0 else expected[order])
