"""What the networks share."""

from __future__ import annotations

from torchslim.arg_scope import arg_scope_func_key, current_arg_scope
from torchslim.layers import conv2d


def spatial_dimensions() -> tuple[int, int]:
    """The dimensions of height and width: those of the `data_format` that an arg_scope gives to `conv2d`.

    Example:
        >>> import torchslim as slim
        >>> with slim.arg_scope(slim.layers.DATA_FORMAT_LAYERS, data_format='NHWC'):
        ...     spatial_dimensions()
        (1, 2)
    """
    setting = current_arg_scope().get(arg_scope_func_key(conv2d), {}).get("data_format")
    return (1, 2) if setting is not None and setting.value == "NHWC" else (2, 3)
