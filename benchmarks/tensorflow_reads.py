"""TensorFlow's own reader on what `save_tf` writes: every network of `slim.nets` and every type, bit for bit.

    python benchmarks/tensorflow_reads.py --tensorflow-python ENVIRONMENT/bin/python

torchslim writes here; TensorFlow, in the other environment, answers with type, shape and SHA-256 of what it read.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import inspect
import json
import pkgutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch

import torchslim as slim
from torchslim import nets
from torchslim.checkpoints import StoredTensor, open_checkpoint, save_tf
from torchslim.checkpoints.store import bytes_of
from torchslim.checkpoints.tensorflow.messages import TORCH_DTYPES
from torchslim.checkpoints.tensorflow.writer import write_bundle

SHAPES = ((), (0,), (3,), (2, 0, 3), (2, 3))
READ = """
import hashlib, json, os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np
import tensorflow as tf
prefix = tf.train.latest_checkpoint(sys.argv[1])
reader, found = tf.train.load_checkpoint(prefix), {}
for name, dtype in reader.get_variable_to_dtype_map().items():
    value = reader.get_tensor(name)
    content = b"|".join(np.array(value, object).flat) if dtype == tf.string else np.asarray(value).tobytes()
    found[name] = [dtype.name, list(np.shape(value)), hashlib.sha256(content).hexdigest()]
print(json.dumps(found))
"""


def describe(tensors: Mapping[str, StoredTensor]) -> dict[str, list[Any]]:
    """What `READ` is to answer: type, shape and SHA-256 of each tensor."""
    found = {}
    for name, stored in tensors.items():
        value = stored.read()
        kind = "string" if stored.dtype is bytes else str(stored.dtype).removeprefix("torch.")
        content = b"|".join(value.flat) if stored.dtype is bytes else bytes_of(value)
        found[name] = [kind, list(stored.shape), hashlib.sha256(content).hexdigest()]
    return found


def networks() -> dict[str, Callable[..., Any]]:
    """The functions of `slim.nets` that build a network for images of a default size."""
    found: dict[str, Callable[..., Any]] = {}
    for module in pkgutil.iter_modules(nets.__path__, f"{nets.__name__}."):
        functions = inspect.getmembers(importlib.import_module(module.name), inspect.isfunction)
        found |= {f.__name__: f for _, f in functions if hasattr(f, "default_image_size")}
    return found


def save_network(function: Callable[..., Any], prefix: Path) -> dict[str, list[Any]]:
    """Writes a network with random weights; describes them, turned by PyTorch from the modules."""
    size = function.default_image_size  # type: ignore[attr-defined]
    with slim.Graph():
        model = slim.build(function, slim.InputSpec((None, 3, size, size)))
    save_tf(model, prefix, global_step=2**40)
    variables = {v.op.name: v.to_tf(v.tensor.detach()) for v in slim.get_variables(module=model)}
    return describe(open_checkpoint({**variables, "global_step": torch.tensor(2**40)}))


def save_types(prefix: Path) -> dict[str, list[Any]]:
    """Writes tensors of every type and of several shapes; describes them."""
    tensors = {}
    for shape in SHAPES:
        for dtype in TORCH_DTYPES.values():
            value = (torch.arange(prod(shape)) + 1).to(dtype).reshape(shape)
            tensors[f"{dtype}/{shape}"] = StoredTensor(shape, dtype, partial(torch.clone, value))
        strings = np.full(shape, b"\xff\0text" * 50, object)
        tensors[f"string/{shape}"] = StoredTensor(shape, bytes, strings.copy)
    write_bundle(prefix, tensors)
    return describe(tensors)


def main() -> None:
    """Writes one checkpoint after the other and has TensorFlow read it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tensorflow-python", required=True, help="a Python that can import tensorflow")
    parser.add_argument("--only", help="the name of one network, or 'types'")
    arguments = parser.parse_args()
    cases: dict[str, Callable[[Path], dict[str, list[Any]]]] = {"types": save_types}
    cases |= {name: partial(save_network, function) for name, function in networks().items()}
    for name, case in cases.items():
        if arguments.only in (None, name):
            with tempfile.TemporaryDirectory() as folder:
                wanted = case(Path(folder, f"{name}.ckpt"))
                command = [arguments.tensorflow_python, "-c", READ, folder]
                found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            wrong = sorted(key for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key))
            print(f"{name}: {len(wanted)} tensors, {f'DIFFERENT: {wrong}' if wrong else 'all equal'}", flush=True)
            if wrong:
                raise SystemExit(1)


if __name__ == "__main__":
    main()
