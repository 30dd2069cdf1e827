"""Names of devices, TensorFlow's and PyTorch's."""

from __future__ import annotations

import re

import torch


def to_device(device: str | torch.device) -> torch.device:
    """A `torch.device` of a name: PyTorch's (`'cuda:1'`) or TensorFlow's (`'/CPU:0'`, `'/device:GPU:1'`).

    Raises:
        ValueError: if there is no such kind of device.

    Example:
        >>> to_device('/CPU:0'), to_device('/device:GPU:1')
        (device(type='cpu', index=0), device(type='cuda', index=1))
    """
    if isinstance(device, torch.device):
        return device
    name = re.sub(r"^(/job:\w+)?(/replica:\d+)?(/task:\d+)?/?(device:)?", "", device).lower()
    try:
        return torch.device(re.sub(r"^gpu", "cuda", name))
    except RuntimeError as error:
        raise ValueError(
            "device: give a PyTorch device such as 'cpu' or 'cuda:0', or TensorFlow's '/CPU:0' or '/GPU:0'. "
            f"Got {device!r}."
        ) from error
