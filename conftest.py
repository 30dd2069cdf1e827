"""Every test and doctest starts from the same place: a seed, a graph and a share of the cores of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # the workers fill the cores; processes that tests start inherit this
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

import torchslim as slim

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def fresh_graph() -> Iterator[None]:
    torch.manual_seed(0)
    try:
        from torchslim.graph import Graph
    except ImportError:
        yield
        return
    with Graph():
        yield


@pytest.fixture(autouse=True)
def doctest_names(doctest_namespace: dict[str, Any]) -> None:
    doctest_namespace.update(torch=torch, slim=slim)
