from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

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


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
@pytest.mark.parametrize(
    "of",
    [
        lambda value: torch.tensor([[1.0, value]]),
        lambda value: torch.cat([torch.ones(1 << 15), torch.tensor([value])]),
        lambda value: torch.tensor([[0.0, 1.0], [value, 0.0]]).double().t(),
        lambda value: torch.tensor(value).expand(3),
        lambda value: torch.tensor([1.0, value], dtype=torch.bfloat16),
    ],
    ids=["small", "medium", "transposed", "expanded", "bfloat16"],
)
def test_gradients_of_all_kinds_are_looked_at_and_stay_as_they_are(of: Callable[[float], Tensor], bad: float) -> None:
    check = NumericsCheck(["finite", "w"], CPU)
    finite, before = of(0.3), of(0.3)
    check.look(1, {"the loss": torch.tensor(1.0)}, [finite, of(2.0)], ())
    torch.testing.assert_close(finite, before, rtol=0, atol=0)
    with pytest.raises(FloatingPointError, match=r"^check_numerics: the gradient of 'w' is not finite at step 2"):
        check.look(2, {"the loss": torch.tensor(1.0)}, [finite, of(bad)], ())
