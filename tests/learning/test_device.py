"""Where a training runs, and what 'auto' means."""

from __future__ import annotations

import pytest
import torch

from torchslim.learning import device as devices
from torchslim.learning.device import place_tensors, resolve_channels_last, resolve_device, resolve_precision

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def set_bfloat16(monkeypatch: pytest.MonkeyPatch, *, amx: bool, avx512: bool) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512, raising=False)


@pytest.mark.parametrize("name", ["cpu", "/CPU:0", "/cpu:0", "/device:CPU:0", CPU])
def test_cpu_by_any_name(name: str | torch.device) -> None:
    assert resolve_device(name).type == "cpu"


def test_auto_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == CPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    assert resolve_device("auto") == torch.device("cuda:1")


@pytest.mark.parametrize("name", ["cuda", "cuda:1", "/gpu:0"])
def test_cuda_where_there_is_none(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=f"no CUDA device here. Got '{name}'"):
        resolve_device(name)


@pytest.mark.parametrize(
    ("amx", "avx512", "expected"),
    [
        (True, False, torch.bfloat16),
        (False, True, torch.bfloat16),
        (False, False, torch.float32),
    ],
)
def test_auto_precision_on_the_cpu(
    monkeypatch: pytest.MonkeyPatch, amx: bool, avx512: bool, expected: torch.dtype
) -> None:
    set_bfloat16(monkeypatch, amx=amx, avx512=avx512)
    assert resolve_precision("auto", CPU) == expected


def test_auto_precision_with_an_older_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        monkeypatch.delattr(torch.cpu, name, raising=False)
    assert resolve_precision("auto", CPU) == torch.float32


@pytest.mark.parametrize(("native", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_precision_on_cuda_means_no_emulation(
    monkeypatch: pytest.MonkeyPatch, native: bool, expected: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or native)
    assert resolve_precision("auto", CUDA) == expected


def test_precision_that_is_not_taken() -> None:
    with pytest.raises(ValueError, match=r"'fp16' needs a CUDA device\. Got 'cpu'"):
        resolve_precision("fp16", CPU)
    with pytest.raises(ValueError, match="Got 'half'"):
        resolve_precision("half", CPU)


def test_channels_last() -> None:
    convolution, dense = torch.nn.Conv2d(3, 4, 3), torch.nn.Linear(3, 4)
    assert resolve_channels_last("auto", CPU, convolution)
    assert not resolve_channels_last("auto", CPU, dense)
    assert not resolve_channels_last("auto", torch.device("mps"), convolution)
    assert resolve_channels_last(True, torch.device("mps"), convolution)
    with pytest.raises(ValueError, match="Got 'yes'"):
        resolve_channels_last("yes", CPU, convolution)


def test_placing_keeps_the_objects() -> None:
    parameter, buffer = torch.nn.Parameter(torch.randn(2, 3, 4, 5)), torch.randn(3)
    before = parameter.detach().clone()
    place_tensors([parameter, buffer, parameter], CPU, True)
    assert parameter.is_contiguous(memory_format=torch.channels_last)
    assert parameter.equal(before)


def test_autocast_only_where_asked() -> None:
    a = torch.randn(2, 2)
    with devices.autocast(CPU, torch.float32):
        assert (a @ a).dtype == torch.float32
    with devices.autocast(CPU, torch.bfloat16):
        assert (a @ a).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("convolution", "dtype"),
    [((3, 1), torch.bfloat16), ((1, 2), torch.bfloat16), ((3, 2), torch.float32)],
)
def test_auto_avoids_bf16_where_its_gradients_are_wrong(
    convolution: tuple[int, int], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "has_bfloat16", lambda device: True)
    kernel, stride = convolution
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 3, kernel, stride))
    assert resolve_precision("auto", torch.device("cpu"), net) == dtype
    assert resolve_precision("auto", torch.device("meta"), net) == torch.bfloat16
    assert resolve_precision("bf16", torch.device("cpu"), net) == torch.bfloat16
