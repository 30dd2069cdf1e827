"""Names of devices, TensorFlow's and PyTorch's."""

from __future__ import annotations

import itertools
import re
from typing import Any

import torch


def to_device(device: str | torch.device) -> torch.device:
    """A `torch.device` of a name: PyTorch's (`'cuda:1'`) or TensorFlow's (`'/CPU:0'`, `'/device:GPU:1'`, `'/GPU:*'`).

    Raises:
        ValueError: if there is no such kind of device.

    Example:
        >>> to_device('/CPU:0'), to_device('/device:GPU:1')
        (device(type='cpu', index=0), device(type='cuda', index=1))
    """
    if isinstance(device, torch.device):
        return device
    name = re.sub(r"^(/job:\w+)?(/replica:\d+)?(/task:\d+)?/?(device:)?", "", device).lower().removesuffix(":*")
    try:
        return torch.device(re.sub(r"^gpu", "cuda", name))
    except RuntimeError as error:
        raise ValueError(
            "device: give a PyTorch device such as 'cpu' or 'cuda:0', or TensorFlow's '/CPU:0' or '/GPU:0'. "
            f"Got {device!r}."
        ) from error


class VariableDeviceChooser:
    """Chooses the devices of variables, for `slim.arg_scope([slim.variable], device=...)` (TF-Slim's class).

    TF-Slim: with `num_tasks`, variables go to as many parameter servers, one after the other. There are none here, and
    the task in a name says nothing about the device: `torchrun` and DistributedDataParallel take their place.

    Args:
        num_tasks: the number of parameter servers; 0: none.
        job_name: what their job is called.
        device_type: `'CPU'` or `'GPU'`.
        device_index: the number of the device; None: any.
        replica: the number of the replica, if the names shall have one.

    Example:
        >>> import torchslim as slim
        >>> with slim.Graph(), slim.arg_scope([slim.variable], device=slim.VariableDeviceChooser()):
        ...     slim.variable('weights', shape=[2, 3]).device
        device(type='cpu')
        >>> chooser = slim.VariableDeviceChooser(num_tasks=2, device_type='GPU')
        >>> chooser(), chooser()
        ('/job:ps/task:0/device:GPU:0', '/job:ps/task:1/device:GPU:0')
    """

    def __init__(
        self,
        num_tasks: int = 0,
        job_name: str = "ps",
        device_type: str = "CPU",
        device_index: int | None = 0,
        replica: int | None = None,
    ) -> None:
        job = f"/job:{job_name}" if num_tasks else ""
        self._before = job if replica is None else f"{job}/replica:{replica}"
        self._device = f"/device:{device_type}:{'*' if device_index is None else device_index}"
        self._tasks = itertools.cycle([f"/task:{task}" for task in range(num_tasks)] or [""])

    def __call__(self, op: Any = None) -> str:
        """The name of the next device; `op`, what is to be placed, makes no difference."""
        return f"{self._before}{next(self._tasks)}{self._device}"
