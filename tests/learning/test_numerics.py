from __future__ import annotations

import re

import pytest
import torch

from torchslim.learning.numerics import LARGEST_ON_CPU, NumericsCheck

CPU = torch.device("cpu")
NAN, INF = torch.nan, torch.inf


def look(check: NumericsCheck, step: int, loss: float = 1.0, gradient: float = 1.0, pixel: float = 1.0) -> torch.Tensor:
    losses = {
        "the loss": torch.tensor(loss + 2.0),
        "loss term 'a'": torch.tensor(loss),
        "loss term 'b'": torch.tensor(2.0),
    }
    gradients = [torch.ones(2, 2), None, torch.tensor([1.0, gradient])]
    check.look(step, losses, gradients, (torch.tensor([pixel, 0.0]), torch.tensor([3])))
    return gradients[2]


def new(at_once: bool) -> NumericsCheck:
    return NumericsCheck(["fc/weights", "fc/unused", "fc/biases"], CPU, ["images", "labels"], at_once=at_once)


@pytest.mark.parametrize(
    ("bad", "first"),
    [
        ({"loss": NAN}, "the loss is not finite at step 3, nor is loss term 'a'"),
        ({"loss": INF, "pixel": -INF}, "input 'images' is not finite at step 3, nor are the loss, ..."),
        ({"gradient": -INF}, "the gradient of 'fc/biases' is not finite at step 3"),
    ],
)
@pytest.mark.parametrize("at_once", [True, False])
def test_names_what_is_not_finite(at_once: bool, bad: dict[str, float], first: str) -> None:
    check = new(at_once)
    look(check, 2)
    check.raise_if_bad()
    first = re.escape(first)
    if at_once:
        with pytest.raises(
            FloatingPointError, match=first.replace("...", r"\.\.\.") + r"\. The variables are as before"
        ):
            look(check, 3, **bad)
    else:
        assert look(check, 3, **bad).tolist() == [0, 0]
        assert look(check, 4).tolist() == [1, 1]
        look(check, 5, loss=NAN, gradient=NAN)  # the first counts
        for _ in range(2):
            with pytest.raises(
                FloatingPointError, match=first.replace("...", r"\.\.\.") + r"\. The variables are finite"
            ):
                check.raise_if_bad()


@pytest.mark.parametrize("at_once", [True, False])
def test_large_values_are_finite(at_once: bool) -> None:
    check = NumericsCheck(["w"], CPU, at_once=at_once)
    gradient = torch.full((8,), 3e38)
    check.look(1, {"the loss": torch.tensor(3e38)}, [gradient], ())
    check.raise_if_bad()
    assert gradient[0] == 3e38


@pytest.mark.parametrize("at_once", [True, False])
def test_a_bad_input_that_nothing_uses_is_no_error(at_once: bool) -> None:
    check = new(at_once)
    look(check, 1, pixel=NAN)
    check.raise_if_bad()


def test_half_precision_integers_structures_and_empty_tensors() -> None:
    check = NumericsCheck(["w", "empty"], CPU, at_once=False)
    batch = ({"a": torch.tensor([1.0, NAN], dtype=torch.float16)}, "text", torch.tensor([2**40]), torch.zeros(0))
    check.look(0, {"the loss": torch.tensor(INF, dtype=torch.bfloat16)}, [torch.ones(2).half(), torch.zeros(0)], batch)
    with pytest.raises(FloatingPointError, match="input '0' is not finite at step 0, nor is the loss"):
        check.raise_if_bad()


def test_what_the_cpu_looks_at() -> None:
    check = NumericsCheck(["large", "small"], CPU)
    large = torch.zeros(LARGEST_ON_CPU + 1)
    large[0] = NAN
    check.look(0, {"the loss": torch.tensor(1.0)}, [large, torch.zeros(2)], ())
    with pytest.raises(FloatingPointError, match="gradient of 'large' is not finite at step 1, nor is the gradient"):
        check.look(1, {"the loss": torch.tensor(1.0)}, [large, torch.full((2,), NAN)], ())
