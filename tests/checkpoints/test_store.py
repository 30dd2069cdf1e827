"""One file of tensors: round trips against safetensors itself, and every fault that a disk can have."""

from __future__ import annotations

import errno
import os
import random
import re
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
import safetensors.torch
import torch

from torchslim.checkpoints import CheckpointError, load, save
from torchslim.checkpoints.store import CHUNK, DTYPES, SafetensorsFile

TENSORS = {
    "conv.weight": torch.arange(24.0).reshape(2, 3, 2, 2),
    "half": torch.tensor([1.5, -2.0, 65504.0], dtype=torch.float16),
    "step": torch.tensor(7),
    "empty": torch.zeros(0, 3),
    "flag": torch.tensor([True, False]),
}


def assert_same_tensors(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=0)


def assert_only_file(folder: Path, path: Path, wanted: dict[str, torch.Tensor]) -> None:
    assert list(folder.iterdir()) == [path]
    assert_same_tensors(load(path), wanted)


def test_what_is_written_reads_back_and_safetensors_reads_it_too(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save(path, TENSORS, {"note": "für später"})
    assert_same_tensors(load(path), TENSORS)
    assert_same_tensors(safetensors.torch.load_file(path), TENSORS)
    assert SafetensorsFile(path).metadata["note"] == "für später"


def test_files_of_safetensors_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    safetensors.torch.save_file(TENSORS, path)
    assert_same_tensors(load(path), TENSORS)


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES.keys())
def test_every_type(dtype: torch.dtype, tmp_path: Path) -> None:
    tensor = torch.tensor([0, 1, 3, 96]).to(dtype)
    save(tmp_path / "a.safetensors", {"x": tensor})
    found = safetensors.torch.load_file(tmp_path / "a.safetensors")["x"]
    assert found.dtype == dtype
    assert torch.equal(found.view(torch.uint8), tensor.view(torch.uint8))


@pytest.mark.parametrize(
    "tensor",
    [
        torch.arange(24.0).reshape(1, 2, 3, 4).to(memory_format=torch.channels_last),
        torch.arange(12.0).reshape(3, 4).t(),
        torch.arange(10.0)[::3],
        torch.ones(2, 1).expand(2, 3),
        torch.tensor([1 + 2j]).conj(),
        torch.tensor([1 + 2j]).conj().imag,
        torch.nn.Parameter(torch.ones(3)),
    ],
    ids=["channels last", "transposed", "strided", "expanded", "conjugate", "negative", "parameter"],
)
def test_any_strides(tensor: torch.Tensor, tmp_path: Path) -> None:
    save(tmp_path / "a.safetensors", {"x": tensor})
    assert_same_tensors(safetensors.torch.load_file(tmp_path / "a.safetensors"), {"x": tensor.detach()})


def test_large_tensors_are_checked_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save(path, {"large": torch.arange(CHUNK // 4 + 3, dtype=torch.int32), "small": torch.ones(3)})
    assert int(load(path)["large"][-1]) == CHUNK // 4 + 2
    flip(path, path.stat().st_size - 12 - 4, 0)  # in the last element of the large tensor, behind its first piece
    with pytest.raises(CheckpointError, match=f"'large', bytes {CHUNK} to {CHUNK + 11}"):
        load(path)


def test_tensors_are_mapped_and_private(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save(path, TENSORS)
    tensor = load(path)["conv.weight"]
    mapped = [line for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith(str(path))]
    areas = [[int(end, 16) for end in line.split()[0].split("-")] for line in mapped]
    assert any(start <= tensor.data_ptr() < end for start, end in areas)
    assert load(path)["step"].data_ptr() % 64 == 0  # the first one
    tensor.zero_()
    assert_same_tensors(load(path), TENSORS)
    path.unlink()
    assert tensor.sum() == 0


def test_reading_twice_gives_what_the_file_has(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save(path, TENSORS)
    file = SafetensorsFile(path)
    first, other = file.read("conv.weight"), file.read("half")
    first.zero_()
    assert_same_tensors({"conv.weight": file.read("conv.weight")}, {"conv.weight": TENSORS["conv.weight"]})
    assert first.sum() == 0
    other.zero_()
    assert_same_tensors({name: file.read(name) for name in file.header}, TENSORS)


# Damage.


def flip(path: Path, offset: int, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1 << bit
    path.write_bytes(data)


@pytest.mark.parametrize("seed", range(60))
def test_a_flipped_bit_is_found(seed: int, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save(path, TENSORS, {"note": "x"})
    chance = random.Random(seed)
    flip(path, chance.randrange(path.stat().st_size), chance.randrange(8))
    with pytest.raises(CheckpointError, match=re.escape(repr(str(path)))):
        load(path)


def test_a_flipped_bit_names_the_tensor(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save(path, {"one": torch.ones(4), "two": torch.ones(4)})
    flip(path, path.stat().st_size - 1, 0)
    with pytest.raises(CheckpointError, match="'two', bytes 0 to 15, does not match its checksum"):
        load(path)
    assert_same_tensors({"one": load(path, verify=False)["one"]}, {"one": torch.ones(4)})


def test_a_changed_header_is_found_without_verifying_tensors(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save(path, {"one": torch.ones(4)})
    path.write_bytes(path.read_bytes().replace(b'"one": {"dtype"', b'"onf": {"dtype"'))
    with pytest.raises(CheckpointError, match=r"header .* does not match its checksum"):
        load(path, verify=False)


@pytest.mark.parametrize("seed", range(20))
def test_a_truncated_file_is_found(seed: int, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save(path, TENSORS)
    data = path.read_bytes()
    path.write_bytes(data[: random.Random(seed).randrange(len(data))])
    with pytest.raises(CheckpointError, match=re.escape(repr(str(path)))):
        load(path)


@pytest.mark.parametrize("data", [b"", b"\xff" * 100, b"\x02" + b"\0" * 7 + b"{}" + b"extra", b"[" * 70_000])
def test_other_files_are_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=re.escape(repr(str(path)))):
        load(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=re.escape(repr(str(tmp_path / "none")))):
        load(tmp_path / "none")


# What cannot be written.


@pytest.mark.parametrize(
    ("tensor", "named"),
    [
        (torch.ones(2, device="meta"), "'x' on the meta device"),
        (torch.ones(2, dtype=torch.complex128), "'x': torch.complex128"),
        (torch.ones(2).to_sparse(), "'x': torch.float32, torch.sparse_coo"),
    ],
)
def test_tensors_that_cannot_be_saved(tensor: torch.Tensor, named: str, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=named):
        save(tmp_path / "a.safetensors", {"good": torch.ones(2), "x": tensor})
    assert list(tmp_path.iterdir()) == []


def test_metadata_is_text(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=re.escape("Got {'step': 3}")):
        save(tmp_path / "a.safetensors", {}, {"note": "x", "step": 3})  # type: ignore[dict-item]
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "a.safetensors"
    save(path, TENSORS)
    return path


@pytest.fixture
def limited_file_size() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("limited_file_size")
def test_a_file_that_may_not_grow(saved: Path) -> None:
    with pytest.raises(OSError, match=re.escape(f"{str(saved)!r} (0.8 MB): File too large")) as caught:
        save(saved, {"x": torch.ones(200_000)})
    assert caught.value.errno == errno.EFBIG
    assert_only_file(saved.parent, saved, TENSORS)


def test_a_full_disk(small_disk: Path) -> None:
    path = small_disk / "a.safetensors"
    save(path, TENSORS)
    message = re.escape(f"save: cannot write {str(path)!r} (8.0 MB): No space left on device. No part of it")
    with pytest.raises(OSError, match=message):
        save(path, {"x": torch.ones(2_000_000)})
    assert_only_file(small_disk, path, TENSORS)


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_that_fails_late(call: str, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(*((os, "fsync") if call == "fsync" else (Path, "replace")), fail)
    with pytest.raises(OSError, match=re.escape(f"{str(saved)!r} (0.0 MB): Input/output error")):
        save(saved, {"x": torch.ones(3)})
    assert_only_file(saved.parent, saved, TENSORS)


def test_an_interrupt_leaves_nothing_behind(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt("by hand")

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt, match="by hand"):
        save(saved, {"x": torch.ones(3)})
    assert_only_file(saved.parent, saved, TENSORS)


def test_a_read_only_folder(read_only_folder: Path, saved: Path) -> None:
    with pytest.raises(PermissionError, match=re.escape(f"{str(saved)!r} (0.0 MB): Permission denied")):
        save(saved, {"x": torch.ones(3)})
    assert_only_file(read_only_folder, saved, TENSORS)


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "gone" / "a.safetensors"
    with pytest.raises(FileNotFoundError, match=re.escape(f"{str(path)!r} (0.0 MB): the folder does not exist")):
        save(path, TENSORS)


def test_bytes_are_on_disk_before_the_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, order = tmp_path / "a.safetensors", []
    fsync, replace = os.fsync, Path.replace

    def note_fsync(descriptor: int) -> None:
        order.append(("fsync", "folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file"))
        fsync(descriptor)

    def note_replace(source: Path, target: Path) -> Path:
        order.append(("rename", target.name))
        return replace(source, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(Path, "replace", note_replace)
    save(path, TENSORS)
    assert order == [("fsync", "file"), ("rename", path.name), ("fsync", "folder")]
