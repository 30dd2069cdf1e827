"""Initializers against TF-Slim's statistics, and the one door that gives variables their first value."""

import copy
import functools
import json
import math
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from torchslim import initializers
from torchslim.initializers import (
    constant_initializer,
    fans,
    initialize_,
    ones_initializer,
    random_normal_initializer,
    random_uniform_initializer,
    truncated_normal_initializer,
    variance_scaling_initializer,
    xavier_initializer,
    xavier_initializer_conv2d,
    zeros_initializer,
)

CASES = json.loads((Path(__file__).parent / "goldens" / "initreg.json").read_text())
CASES = {case["name"]: case for case in CASES if case["kind"] == "initializer"}

RANDOM = [
    random_normal_initializer(1.0, 0.5, seed=3),
    truncated_normal_initializer(stddev=0.1, seed=3),
    random_uniform_initializer(-2.0, 2.0, seed=3),
    variance_scaling_initializer(mode="FAN_OUT", seed=3),
    xavier_initializer(seed=3),
]
ALL = [
    zeros_initializer(),
    ones_initializer(),
    constant_initializer(0.5),
    constant_initializer([1.0, 2.0]),
    *RANDOM,
]


def made_by(code):
    scope = {"slim": initializers, **vars(initializers)}
    exec(code, scope)
    return scope["init"]


def assert_distributed_as(values: np.ndarray, stats: dict) -> None:
    """TF-Slim's mean, spread, bounds and quantiles, as closely as two finite samples allow."""
    n = values.size
    if stats["distribution"] == "constant":
        assert np.array_equal(values, np.full(values.shape, stats["value"], np.float32))
        return
    assert abs(values.std() / stats["std"] - 1) < 6 / math.sqrt(n) + 6 / math.sqrt(stats["n"])
    assert abs(values.mean() - stats["mean"]) < 6 * stats["std"] * (1 / math.sqrt(n) + 1 / math.sqrt(stats["n"]))
    for probability, quantile in stats["quantiles"]:
        below = (values < quantile).mean()
        assert abs(below - probability) < 6 * math.sqrt(probability * (1 - probability)) * (
            1 / math.sqrt(n) + 1 / math.sqrt(stats["n"])
        )
    if stats["distribution"] != "normal":
        spread = stats["max"] - stats["min"]
        assert abs(values.min() - stats["min"]) < 2e-3 * spread
        assert abs(values.max() - stats["max"]) < 2e-3 * spread


@pytest.mark.parametrize("name", CASES)
def test_golden_statistics(name):
    case = CASES[name]
    init = made_by(case["code"])
    draws = math.ceil(100_000 / math.prod(case["shape"]))
    values = torch.stack([init(case["shape"]) for _ in range(draws)])
    assert values.dtype == torch.float32
    assert fans(case["shape"]) == (case["fan_in"], case["fan_out"])
    assert_distributed_as(values.numpy(), case["stats"])


@pytest.mark.parametrize("name", CASES)
def test_golden_statistics_filling_pytorchs_layout(name):
    case = CASES[name]
    init = made_by(case["code"])
    shape = case["shape"]
    torch_shape = [*shape[:-2:-1], *shape[-2:-1], *shape[:-2]]  # out, in, space
    draws = math.ceil(100_000 / math.prod(shape))
    values = torch.stack([init.fill_(torch.empty(torch_shape), shape) for _ in range(draws)])
    assert_distributed_as(values.numpy(), case["stats"])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_truncated_normal_stays_within_two_deviations_in_every_dtype(dtype):
    values = truncated_normal_initializer(0.25, 0.5)([50_000], dtype)
    assert values.dtype == dtype
    assert -0.75 <= values.min() < -0.7
    assert 1.2 < values.max() <= 1.25
    assert abs(values.double().std() / 0.5 - 0.8796) < 0.02


def test_uniform_defaults_to_tensorflows_bounds():
    values = random_uniform_initializer()([10_000])
    assert 0 <= values.min() < 0.01
    assert 0.99 < values.max() <= 1


# As values


@pytest.mark.parametrize("init", ALL, ids=repr)
def test_compares_hashes_copies_and_pickles(init):
    for again in (copy.deepcopy(init), pickle.loads(pickle.dumps(init))):
        assert again == init
        assert hash(again) == hash(init)
        assert torch.equal(again([1, 2]), init([1, 2]))
    assert sum(init == other for other in ALL) == 1


def test_constants_compare_by_what_they_hold():
    assert constant_initializer([[1, 2]]) == constant_initializer(np.array([[1.0, 2.0]]))
    assert constant_initializer([1, 2]) != constant_initializer([1, 3])
    assert constant_initializer([1, 2]) != constant_initializer([[1, 2]])
    assert constant_initializer(1) != ones_initializer()


def test_cannot_be_changed():
    with pytest.raises(AttributeError, match="cannot assign to field 'stddev'"):
        truncated_normal_initializer(stddev=0.1).stddev = 0.2


@pytest.mark.parametrize(
    ("init", "text"),
    [
        (zeros_initializer(), "zeros_initializer()"),
        (truncated_normal_initializer(0.0, 0.01), "truncated_normal_initializer(stddev=0.01)"),
        (constant_initializer(0.2), "constant_initializer(value=0.2)"),
        (variance_scaling_initializer(mode="FAN_AVG"), "variance_scaling_initializer(mode='FAN_AVG')"),
        (
            xavier_initializer_conv2d(seed=1),
            "variance_scaling_initializer(factor=1.0, mode='FAN_AVG', uniform=True, seed=1)",
        ),
    ],
)
def test_prints_as_it_is_written(init, text):
    assert repr(init) == text
    assert eval(text, vars(initializers)) == init


@pytest.mark.parametrize("init", RANDOM, ids=repr)
def test_seed_gives_the_same_values_each_time(init):
    before = torch.get_rng_state()
    assert torch.equal(init([4, 5]), init([4, 5]))
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(init([4, 5], generator=torch.Generator().manual_seed(4)), init([4, 5]))


def test_without_a_seed_pytorchs_generator_decides():
    init = xavier_initializer()
    first, second = init([4, 5]), init([4, 5])
    assert not torch.equal(first, second)
    torch.manual_seed(7)
    first = init([4, 5])
    torch.manual_seed(7)
    assert torch.equal(init([4, 5]), first)


@pytest.mark.parametrize("init", ALL[:3] + RANDOM, ids=repr)
def test_makes_the_dtype_and_device_that_are_asked_for(init):
    assert init([2, 3]).dtype == torch.float32
    assert init([2, 3], torch.float64).dtype == torch.float64
    assert type(init)(dtype=torch.bfloat16)([2, 3]).dtype == torch.bfloat16
    assert init([2, 3], device="meta").is_meta
    with torch.device("meta"):
        assert init([2, 3]).shape == (2, 3)


@pytest.mark.parametrize("shape", [[], [0, 3]])
@pytest.mark.parametrize("init", ALL[:3] + RANDOM, ids=repr)
def test_scalars_and_empty_variables(init, shape):
    assert init(shape).shape == tuple(shape)


def test_fills_a_parameter_without_recording():
    parameter = torch.nn.Parameter(torch.empty(3, 4))
    assert xavier_initializer().fill_(parameter) is parameter
    assert parameter.requires_grad
    assert parameter.grad_fn is None


@pytest.mark.parametrize(
    "make",
    [
        xavier_initializer,
        variance_scaling_initializer,
        truncated_normal_initializer,
        random_normal_initializer,
        random_uniform_initializer,
    ],
)
def test_refuses_integer_types(make):
    with pytest.raises(TypeError, match=r"floating point type\. Got torch\.int32"):
        make(dtype=torch.int32)


def test_refuses_an_unknown_mode():
    with pytest.raises(TypeError, match=r"'FAN_AVG'\. Got 'FAN'"):
        variance_scaling_initializer(mode="FAN")


# initialize_

KERNEL = np.arange(2 * 3 * 4 * 5.0).reshape(2, 3, 4, 5)  # height, width, in, out


def from_hwio(kernel):
    assert kernel.shape == (2, 3, 4, 5)
    return kernel.permute(3, 2, 0, 1)


def kernel_from(initializer):
    parameter = torch.nn.Parameter(torch.full((5, 4, 2, 3), math.nan))
    assert initialize_(parameter, initializer, (2, 3, 4, 5), from_hwio) is parameter
    return parameter.detach().numpy()


@pytest.mark.parametrize(
    "initializer",
    [
        KERNEL,
        KERNEL.tolist(),
        torch.tensor(KERNEL),
        lambda shape: KERNEL.reshape(shape),
        constant_initializer(KERNEL),
        constant_initializer(KERNEL.ravel()),
    ],
    ids=["array", "list", "tensor", "function", "constant", "flat constant"],
)
def test_values_are_given_in_tensorflows_layout(initializer):
    np.testing.assert_array_equal(kernel_from(initializer), np.moveaxis(KERNEL, (3, 2), (0, 1)))


@pytest.mark.parametrize(
    "number", [2.5, np.float32(2.5), torch.tensor(2.5), constant_initializer(2.5), lambda shape: 2.5]
)
def test_a_number_fills(number):
    assert (kernel_from(number) == 2.5).all()


def test_fans_are_those_of_the_tensorflow_shape():
    # 6 * 5 outputs and not, as the PyTorch shape read as TensorFlow's would say, 20 * 3.
    largest = max(abs(kernel_from(variance_scaling_initializer(1.0, "FAN_OUT", uniform=True))).max() for _ in range(5))
    assert 0.97 * math.sqrt(3 / 30) < largest <= math.sqrt(3 / 30)


def test_uncalled_initializer_is_called():
    assert (kernel_from(zeros_initializer) == 0).all()


@pytest.mark.parametrize(
    ("function", "reference"),
    [
        (torch.nn.init.ones_, torch.nn.init.ones_),
        (torch.nn.init.kaiming_normal_, torch.nn.init.kaiming_normal_),
        (
            functools.partial(torch.nn.init.kaiming_uniform_, a=2.0),
            lambda w: torch.nn.init.kaiming_uniform_(w, a=2.0),
        ),
    ],
)
def test_functions_of_torch_fill_pytorchs_layout_in_place(function, reference):
    torch.manual_seed(1)
    expected = reference(torch.empty(5, 4, 2, 3))
    torch.manual_seed(1)
    np.testing.assert_array_equal(kernel_from(function), expected.numpy())


def test_own_function_that_fills_in_place():
    def halves_(tensor):
        tensor.fill_(0.5)

    assert (kernel_from(halves_) == 0.5).all()


@pytest.mark.parametrize("initializer", [*ALL, KERNEL, 1.0, torch.nn.init.ones_])
def test_meta_stays_meta(initializer):
    tensor = torch.empty(5, 4, 2, 3, device="meta")
    assert initialize_(tensor, initializer, (2, 3, 4, 5), from_hwio) is tensor


def test_given_values_are_checked_on_meta_too():
    tensor = torch.empty(5, 4, 2, 3, device="meta")
    with pytest.raises(ValueError, match=re.escape("[2, 3, 4, 5]. Got [5, 4, 2, 3].")):
        initialize_(tensor, np.zeros((5, 4, 2, 3)), (2, 3, 4, 5), from_hwio)
    with pytest.raises(TypeError, match=re.escape("Got None.")):
        initialize_(tensor, None, (2, 3, 4, 5), from_hwio)


@pytest.mark.parametrize(
    "initializer", [np.zeros((5, 4, 2, 3)), lambda shape: np.zeros((5, 4, 2, 3))], ids=["array", "function"]
)
def test_wrong_shape_names_both(initializer):
    with pytest.raises(ValueError, match=re.escape("[2, 3, 4, 5]. Got [5, 4, 2, 3].")):
        kernel_from(initializer)


def test_constant_with_another_number_of_values():
    with pytest.raises(ValueError, match=re.escape("[2, 3, 4, 5], 120 elements. Got 6, of shape [2, 3].")):
        kernel_from(constant_initializer(np.zeros((2, 3))))


@pytest.mark.parametrize("wrong", [None, "zeros", {"mean": 0}])
def test_neither_initializer_nor_values(wrong):
    with pytest.raises(TypeError, match=re.escape(f"Got {wrong!r}.")):
        kernel_from(wrong)


def test_uncalled_factory_is_named():
    with pytest.raises(TypeError, match=r"xavier_initializer.*, which gives variance_scaling_initializer"):
        kernel_from(xavier_initializer)
