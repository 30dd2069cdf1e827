"""What holds for the package as a whole: names, docstrings, who imports whom, and habits no linter checks."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import torchslim as slim

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "torchslim"
SOURCES = sorted(PACKAGE.rglob("*.py"))

# Imports run from right to left only.
LAYERS = (
    ("arg_scope", "initializers"),
    ("graph",),
    ("regularizers",),
    ("variables",),
    ("layers",),
    ("losses", "metrics"),
    ("checkpoints", "optimizers"),
    ("diagrams", "model_analyzer", "model_summary", "summaries", "learning", "training", "evaluation"),
    ("data", "datasets", "preprocessing", "queues"),
    ("nets",),
    ("cli",),
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def functions_of(path: Path) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(tree_of(path)) if isinstance(node, ast.FunctionDef)]


def public_modules() -> list[str]:
    paths = [path.relative_to(ROOT).with_suffix("") for path in SOURCES if path.stem != "__main__"]
    return [".".join(path.parts).removesuffix(".__init__") for path in paths]


def test_the_version_is_the_one_of_the_distribution() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert slim.__version__ == project["version"]
    assert f"## {slim.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_the_package_is_typed() -> None:
    assert (PACKAGE / "py.typed").is_file()


@pytest.mark.parametrize("name", public_modules())
def test_public_names_exist_and_are_documented(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__, f"{name} has no docstring"
    for public in getattr(module, "__all__", ()):
        value = getattr(module, public)
        if inspect.isclass(value) or inspect.isroutine(value):
            assert inspect.getdoc(value), f"{name}.{public} has no docstring"


def test_all_public_names_of_slim_are_documented() -> None:
    names = [name for name in dir(slim) if not name.startswith("_")]
    values = {name: getattr(slim, name) for name in names}
    assert [name for name, value in values.items() if callable(value) and not inspect.getdoc(value)] == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_downward(path: Path) -> None:
    own = path.relative_to(PACKAGE).with_suffix("").parts[0]
    if own == "__init__":
        return
    for node in tree_of(path).body:  # imports inside of functions and for type checkers may run upward
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module] if node.module != "torchslim" else [f"torchslim.{a.name}" for a in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "torchslim":
                assert len(parts) > 1, f"{path}:{node.lineno} imports all of torchslim"
                assert LEVEL[parts[1]] <= LEVEL[own], f"{path}:{node.lineno}: {own} is below {parts[1]}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_and_functions_stay_readable(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400
    for function in functions_of(path):
        docstring = ast.get_docstring(function, clean=False) or ""
        length = (function.end_lineno or 0) - function.lineno - docstring.count("\n")
        assert length <= 60, f"{path}:{function.lineno}: {function.name} has {length} lines"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_errors_have_whole_messages(path: Path) -> None:
    """`raise ValueError("... %s", x)` would show its reader a tuple."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name):
            function = node.exc.func.id
            takes_several = function == "OSError" or function.islower()  # a function that makes the error
            assert takes_several or len(node.exc.args) <= 1, f"{path}:{node.lineno}: the message is a tuple"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_is_left_undone(path: Path) -> None:
    assert not re.search(r"\b(TODO|FIXME|XXX|NotImplementedError)\b", path.read_text())


def test_importing_writes_and_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    importlib.reload(importlib.import_module("torchslim.nets.vgg"))
    assert capsys.readouterr() == ("", "")


# They take seconds to import: those who need them wait for them, nobody else.
HEAVY = {
    "matplotlib",
    "scipy",
    "sklearn",
    "sympy",
    "tensorboard",
    "torch._dynamo",
    "torchmetrics",
    "torchvision",
    "triton",
}


@pytest.mark.parametrize(
    "code",
    [
        "import torchslim",
        "from torchslim.cli import main; main(['models'])",
        "from torchslim.cli import main; main(['inspect', 'examples/small_vgg.safetensors'])",
        "from torchslim.cli import main; main(['convert', 'nowhere.safetensors', 'nowhere.pt'])",
    ],
)
def test_what_takes_long_to_import_waits_until_it_is_needed(code: str) -> None:
    script = f"import sys\n{code}\nprint('loaded', *{HEAVY} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.splitlines()[-1] == "loaded"


def test_lazy_packages_are_like_the_others() -> None:
    code = """
import torchslim as slim
assert {"datasets", "evaluation", "metrics"} <= set(dir(slim)) & set(slim.__all__)
assert slim.metrics.streaming_mean and slim.evaluation.evaluate_once
from torchslim import datasets, metrics
from torchslim.metrics import StreamingMean
assert metrics is slim.metrics and StreamingMean is metrics.StreamingMean
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_a_name_that_is_not_there_is_refused_with_the_nearest() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import torchslim as slim; slim.metric"], capture_output=True, text=True, cwd=ROOT
    )
    assert "module 'torchslim' has no attribute 'metric'. Did you mean: 'metrics'?" in done.stderr
