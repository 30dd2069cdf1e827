"""Files with bytes changed, cut off and moved: what is read is right, or there is an error of ours."""

from __future__ import annotations

import contextlib
import json
import random
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from torchslim.checkpoints import CheckpointError, StoredTensor
from torchslim.checkpoints.tensorflow.bundle import BundleReader
from torchslim.checkpoints.tensorflow.sliced import SlicedReader

GOLDENS = Path(__file__).parents[2] / "goldens" / "checkpoints"
# Mutations of each; 10,000 in all.
FIXTURES = {
    "dtypes_v1": 1000,
    "dtypes_v2": 1000,
    "object_keras_seq": 1500,
    "partitioned_v1": 1500,
    "partitioned_v2": 1500,
    "sharded2_v1": 1250,
    "sharded2_v2": 1250,
    "snappy3_v1": 1000,
}


def read_all(paths: list[Path], verify: str) -> dict[str, Any]:
    """The bytes of every tensor, or the error of reading it; the error of opening the files is under no name."""
    index = next((path for path in paths if path.suffix == ".index"), None)
    try:
        reader = BundleReader(index.with_suffix(""), verify=verify) if index else SlicedReader(paths, verify=verify)
    except CheckpointError as error:
        return {"": error}
    return {name: read(stored) for name, stored in reader.items()}


def read(stored: StoredTensor) -> Any:
    try:
        value = stored.read()
    except CheckpointError as error:
        return error
    return value.flatten().view(torch.uint8).tolist() if isinstance(value, torch.Tensor) else value.tolist()


def mutate(data: bytearray, chance: random.Random) -> None:
    """Damages `data` in one of the ways in which files are."""
    at, length = chance.randrange(len(data)), chance.choice([1, 1, 2, 5, 40])
    match chance.randrange(8):
        case 0:
            del data[at:]
        case 1:
            del data[at : at + length]
        case 2:
            data[at:at] = chance.randbytes(length)
        case 3:
            data[at : at + length] = bytes(len(data[at : at + length]))
        case 4:
            data[at : at + length] = chance.choice([b"\xff", b"\x7f", b"\x80"]) * len(data[at : at + length])
        case 5:
            other = chance.randrange(len(data))
            data[at : at + length] = data[other : other + length]
        case _:
            data[at] ^= 1 << chance.randrange(8)


def write(path: Path, data: bytes | bytearray) -> None:
    path.unlink()  # a file that is written over would have to reach the disk
    path.write_bytes(data)


@contextlib.contextmanager
def little_memory() -> Iterator[None]:
    """Lets the process have 512 MB more than it has: nobody may trust the sizes in such files."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + (512 << 20), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.mark.parametrize("name", FIXTURES)
def test_damage_never_gives_a_wrong_value(name: str, tmp_path: Path) -> None:
    prefix = json.loads((GOLDENS / name / "expected.json").read_text())["prefix"]
    paths = [Path(shutil.copy(path, tmp_path)) for path in sorted((GOLDENS / name).glob(f"{prefix}*"))]
    intact = {path: path.read_bytes() for path in paths}
    truth = read_all(paths, "full")
    assert not any(isinstance(value, CheckpointError) for value in truth.values())
    chance = random.Random(name)
    unnoticed = 0
    with little_memory():
        for _ in range(FIXTURES[name]):
            path = chance.choice(paths)
            data = bytearray(intact[path])
            mutate(data, chance)
            write(path, data)
            # Without checksums damage gets as far as the parsers, and values may be wrong.
            verify = chance.choice(["full", "off"])
            found = read_all(paths, verify)
            errors = [value for value in found.values() if isinstance(value, CheckpointError)]
            assert all(str(tmp_path) in str(error) for error in errors)
            if verify == "full" and "" not in found:
                assert found.keys() == truth.keys()
                assert all(value == truth[tensor] or value in errors for tensor, value in found.items())
                unnoticed += not errors
            write(path, intact[path])
    # A change may hit what nobody reads, or put the bytes that were there.
    assert unnoticed < FIXTURES[name] / 4


def test_the_numbers_add_up() -> None:
    assert sum(FIXTURES.values()) == 10_000
