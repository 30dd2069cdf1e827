"""The list of TF-Slim's public names: what is there has its signature and an example, what is not has a reason.

`tf_slim.json` holds TF-Slim's signatures as `inspect.signature` shows them; a default that is no literal is written as
`<its name>`. A difference has to be listed there with its reason, so that each one is a decision.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch

import torchslim as slim

LIST = json.loads((Path(__file__).parent / "tf_slim.json").read_text())
NAMES = {(module, name): entry for module, names in LIST["modules"].items() for name, entry in names.items()}
PRESENT = {place: entry["present"] for place, entry in NAMES.items() if "present" in entry}
ABSENT = {place: entry["absent"] for place, entry in NAMES.items() if "absent" in entry}
EVERYWHERE = LIST["differences"]["everywhere"]


def find(module: str, name: str) -> Any:
    """What torchslim has under this name of TF-Slim's, or None."""
    found: Any = slim
    for part in module.split(".")[1:]:
        try:
            found = importlib.import_module(f"{found.__name__}.{part}")
        except ModuleNotFoundError:
            found = getattr(found, part, None)
    return getattr(found, name, None)


def written(value: Any) -> str:
    """A default as the list has it."""
    if value is None or isinstance(value, bool | int | float | str | tuple | list):
        return repr(value)
    if isinstance(value, torch.dtype):
        return f"<{str(value).removeprefix('torch.')}>"
    kind = type(value).__name__
    return f"<{getattr(value, '__name__', {'VarianceScaling': 'xavier_initializer'}.get(kind, kind))}>"


def signature_of(function: Any) -> list[str]:
    """The parameters of a function as the list has them, with `*` before those that are keyword-only."""
    stars = {inspect.Parameter.VAR_KEYWORD: "**", inspect.Parameter.VAR_POSITIONAL: "*"}
    result: list[str] = []
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and "*" not in result:
            result.append("*")
        default = "" if parameter.default is inspect.Parameter.empty else f"={written(parameter.default)}"
        result.append(f"{stars.get(parameter.kind, '')}{name}{default}")
    return result


def different(theirs: list[str], ours: list[str]) -> set[str]:
    """The names of the parameters in which two signatures differ; `'order'` if a position does not mean the same."""
    result = {parameter.partition("=")[0] for parameter in ({*theirs} ^ {*ours}) - {"*"}}
    positional = [parameter.partition("=")[0] for parameter in itertools.takewhile(lambda name: name != "*", ours)]
    common = [name for name in (parameter.partition("=")[0] for parameter in theirs) if name in positional]
    return result if positional[: len(common)] == common else {*result, "order"}


def test_the_list_is_whole() -> None:
    assert len(NAMES) == 275
    assert PRESENT.keys() | ABSENT.keys() == NAMES.keys()
    assert all(set(entry) in ({"present"}, {"absent"}) for entry in NAMES.values())


@pytest.mark.parametrize(("module", "name"), PRESENT)
def test_what_is_present_is_documented(module: str, name: str) -> None:
    function = find(module, name)
    assert function is not None, f"{module}.{name} does not exist: list it as absent, with the reason"
    while isinstance(function, functools.partial):
        function = function.func
    assert ">>>" in (inspect.getdoc(function) or ""), f"{module}.{name} has no example"


@pytest.mark.parametrize(("module", "name"), PRESENT)
def test_signatures_are_tf_slims(module: str, name: str) -> None:
    own = LIST["differences"].get(f"{module}.{name}", {})
    found = different(PRESENT[module, name], signature_of(find(module, name)))
    assert found - EVERYWHERE.keys() == own.keys(), f"{signature_of(find(module, name))}"


@pytest.mark.parametrize(("module", "name"), ABSENT)
def test_what_is_absent_has_a_reason(module: str, name: str) -> None:
    assert find(module, name) is None, f"{module}.{name} exists: list it as present, with TF-Slim's signature"
    assert len(ABSENT[module, name].removeprefix("planned: ")) > 20


def test_differences_have_reasons_and_are_of_present_names() -> None:
    places = {f"{module}.{name}" for module, name in PRESENT} | {"everywhere"}
    assert LIST["differences"].keys() <= places
    reasons = [reason for differences in LIST["differences"].values() for reason in differences.values()]
    assert all(len(reason) > 20 for reason in reasons)
    used = set().union(*(different(theirs, signature_of(find(*place))) for place, theirs in PRESENT.items()))
    assert used >= EVERYWHERE.keys()


@pytest.mark.parametrize(
    ("ours", "expected"),
    [
        (["a", "b=1", "c=None"], set()),
        (["a", "b=2", "c=None"], {"b"}),
        (["a", "c=None"], {"b"}),
        (["a", "b=1", "c=None", "d=3"], {"d"}),
        (["a", "*", "d=3", "c=None", "b=1"], {"d"}),
        (["a", "d=3", "b=1", "c=None"], {"d", "order"}),
        (["a", "c=None", "b=1"], {"order"}),
        (["a", "b=1", "c=None", "**others"], {"**others"}),
    ],
)
def test_differences_are_seen(ours: list[str], expected: set[str]) -> None:
    assert different(["a", "b=1", "c=None"], ours) == expected
