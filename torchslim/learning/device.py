"""Where a training runs, in which precision and memory layout; what `'auto'` means is decided here.

Measured with `torch` 2.14 on 2 cores with avx512_bf16 and without AMX, one training step (forward, backward, SGD
with momentum), seconds:

| | fp32 | fp32, channels last | bf16 | bf16, channels last |
| --- | --- | --- | --- | --- |
| VGG16, batch 8, 224 x 224 | 4.16 | 3.19 | 1.81 | 1.50 |
| 5 convolutions, batch 32, 64 x 64 | 0.101 | 0.103 | 0.065 | 0.040 |
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import distributed, nn
from torch.utils._pytree import tree_map

from torchslim.graph.devices import to_device

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def process() -> tuple[int, int]:
    """This process's number among those that train together, and how many they are.

    Example:
        >>> process()
        (0, 1)
    """
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def resolve_device(device: str | torch.device = "auto") -> torch.device:
    """The device that is meant.

    Args:
        device: `'auto'`: CUDA if there is a device, else the CPU; anything that `torch.device` takes; or TensorFlow's
            spelling, `'/CPU:0'` or `'/gpu:1'`.

    Raises:
        ValueError: if the name is unknown, or means CUDA where there is none.

    Example:
        >>> resolve_device('/CPU:0'), resolve_device('meta')
        (device(type='cpu', index=0), device(type='meta'))
    """
    if isinstance(device, str) and device == "auto":
        return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
    resolved = to_device(device)
    if resolved.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device: there is no CUDA device here. Got {device!r}. Use 'auto' or 'cpu'.")
    return resolved


def resolve_precision(precision: str, device: torch.device, module: nn.Module | None = None) -> torch.dtype:
    """The type in which convolutions and matrix products compute; parameters and losses stay in float32.

    Args:
        precision: `'auto'`: bf16 where the hardware computes in it (CUDA from Ampere on, CPUs with AMX or
            avx512_bf16), else fp32; or `'fp32'`, `'bf16'`, `'fp16'`.
        device: where the training runs.
        module: what is trained. On the CPU `'auto'` is fp32 for one with strided convolutions: in PyTorch 2.14
            (oneDNN 3.12) their bf16 weight gradient is garbage where the image is smaller than the kernel.

    Raises:
        ValueError: if `precision` is unknown, or `'fp16'` is asked for elsewhere than on CUDA: its range needs a
            gradient scaler, which only CUDA has.

    Example:
        >>> resolve_precision('fp32', torch.device('cpu'))
        torch.float32
    """
    if precision == "auto":
        safe = device.type != "cpu" or not _has_strided_kernels(module)
        return torch.bfloat16 if has_bfloat16(device) and safe else torch.float32
    if precision not in PRECISIONS:
        raise ValueError(f"precision: use 'auto', {', '.join(map(repr, PRECISIONS))}. Got {precision!r}.")
    if precision == "fp16" and device.type != "cuda":
        raise ValueError(f"precision: 'fp16' needs a CUDA device. Got {str(device)!r}. Use 'bf16' or 'fp32' there.")
    return PRECISIONS[precision]


def _has_strided_kernels(module: nn.Module | None) -> bool:
    convolutions = (m for m in module.modules() if isinstance(m, nn.modules.conv._ConvNd)) if module else ()
    return any(max(m.stride) > 1 and max(m.kernel_size) > 1 for m in convolutions)


def has_bfloat16(device: torch.device) -> bool:
    """Whether the hardware multiplies bfloat16 matrices itself; emulation would be slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    # Private names, which other versions of PyTorch may not have: no answer counts as no.
    asks = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(getattr(torch.cpu, ask, bool)() for ask in asks)


def resolve_channels_last(
    channels_last: bool | str, device: torch.device, module: nn.Module, *, divided: bool = False
) -> bool:
    """Whether kernels lie channels-last in memory, which makes feature maps follow; logical shapes stay as they are.

    Args:
        channels_last: True, False or `'auto'`: where it is faster, on CUDA and the CPU.
        device: where the training runs.
        module: without 2-D convolutions it makes no difference, and nothing is converted.
        divided: whether kernels are divided among processes (FSDP2), which takes no other than their own layout.

    Raises:
        ValueError: if `channels_last` is none of these, or True where kernels are divided.
    """
    if divided and channels_last == "auto":
        channels_last = False
    if divided and channels_last:
        raise ValueError(f"channels_last: parallel='fsdp' takes no other layout. Got {channels_last!r}; use 'auto'.")
    if channels_last not in (True, False, "auto"):
        raise ValueError(f"channels_last: use 'auto', True or False. Got {channels_last!r}.")
    wanted = device.type in ("cpu", "cuda") if channels_last == "auto" else bool(channels_last)
    return wanted and any(parameter.ndim == 4 for parameter in module.parameters())


def place_tensors(tensors: Iterable[torch.Tensor], device: torch.device, channels_last: bool = False) -> None:
    """Moves tensors in place, so that all who hold them (modules that share them, optimizers) see them move."""
    for tensor in tensors:
        moved = tensor.data.to(device)
        if channels_last and moved.ndim == 4:
            moved = moved.to(memory_format=torch.channels_last)
        tensor.data = moved


def place_batch(batch: Sequence[Any], device: torch.device) -> tuple[Any, ...]:
    """A batch (tensors, structures of tensors, other things) on the device; nothing waits for the copy."""

    def placed(value: Any) -> Any:
        # Asked first: `to` takes a microsecond even where there is nothing to do.
        stays = not isinstance(value, torch.Tensor) or value.device == device
        return value if stays else value.to(device, non_blocking=True)

    return tuple([placed(v) if isinstance(v, torch.Tensor) else tree_map(placed, v) for v in batch])


def autocast(device: torch.device, dtype: torch.dtype) -> contextlib.AbstractContextManager[Any]:
    """What the forward pass runs in."""
    return contextlib.nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype)
