"""DCGAN: a generator of images and its discriminator, convolutions all the way (arXiv:1511.06434).

Images: RGB between -1 and 1, square, the side a power of 2.
"""

from __future__ import annotations

from typing import Any

from torchslim.arg_scope import arg_scope
from torchslim.graph import Symbol, variable_scope
from torchslim.layers import batch_norm, conv2d, conv2d_transpose
from torchslim.nets.common import spatial_dimensions
from torchslim.nets.generative import leaky_relu


def discriminator(
    inputs: Symbol,
    depth: int = 64,
    is_training: bool | None = True,
    reuse: Any = None,
    scope: str = "Discriminator",
    fused_batch_norm: bool = False,
) -> tuple[Symbol, dict[str, Symbol]]:
    """The discriminator of DCGAN: 11,147,201 parameters for RGB images of 32x32.

    Args:
        inputs: square images `[N, C, H, W]` between -1 and 1; the side is a power of 2.
        depth: channels of the first layer; each further layer, half as large, has twice as many.
        is_training: of batch normalization; None or True: as the module's mode says, False: inference.
        reuse: share the variables of an earlier call.
        scope: name of the network.
        fused_batch_norm: store the unbiased variance, as TensorFlow's fused kernel does.

    Returns:
        The logits `[N, 1]` (positive: a real image), and the end points `conv1`, `conv2`, ... and `logits`.

    Raises:
        ValueError: if the images are not square, or their side is no power of 2.

    Example:
        >>> import torch, torchslim as slim
        >>> from torchslim.nets import dcgan
        >>> model = slim.build(dcgan.discriminator, torch.empty(1, 3, 32, 32, device='meta'))
        >>> sum(p.numel() for p in model.parameters()), model.end_points['conv5'].shape
        (11147201, (None, 1024, 1, 1))
    """
    sizes = [inputs.shape[dimension] for dimension in spatial_dimensions()] if len(inputs.shape) == 4 else []
    side = sizes[0] if sizes else None
    if side is None or sizes != [side, side] or not _is_power_of_2(side):
        raise ValueError(
            "discriminator: `inputs` must be square images whose side is a power of 2. "
            f"Got shape {tuple(inputs.shape)}."
        )
    end_points = {}
    with (
        variable_scope(scope, values=[inputs], reuse=reuse),
        arg_scope([batch_norm], is_training=is_training, zero_debias_moving_mean=True, fused=fused_batch_norm),
    ):
        net = inputs
        for number in range(1, side.bit_length()):
            name, normalizer = f"conv{number}", batch_norm if number > 1 else None
            net = end_points[name] = conv2d(
                net, depth, 4, stride=2, activation_fn=leaky_relu, normalizer_fn=normalizer, scope=name
            )
            depth *= 2
        logits = conv2d(net, 1, 1, stride=1, padding="VALID", normalizer_fn=None, activation_fn=None)
        logits = end_points["logits"] = logits.reshape(-1, 1)
        return logits, end_points


def generator(
    inputs: Symbol,
    depth: int = 64,
    final_size: int = 32,
    num_outputs: int = 3,
    is_training: bool | None = True,
    reuse: Any = None,
    scope: str = "Generator",
    fused_batch_norm: bool = False,
) -> tuple[Symbol, dict[str, Symbol]]:
    """The generator of DCGAN: 3,277,955 parameters for 64 random numbers and RGB images of 32x32.

    Args:
        inputs: random numbers `[N, Z]`.
        depth: channels of the last transposed convolution; each one in front, half as large, has twice as many.
        final_size: side of the images, a power of 2 from 8 on.
        num_outputs: channels of the images.
        is_training: of batch normalization; None or True: as the module's mode says, False: inference.
        reuse: share the variables of an earlier call.
        scope: name of the network.
        fused_batch_norm: store the unbiased variance, as TensorFlow's fused kernel does.

    Returns:
        The images `[N, num_outputs, final_size, final_size]` before an activation (the paper's is tanh), and the end
        points `deconv1`, `deconv2`, ... and `logits`.

    Raises:
        ValueError: if `inputs` is not of rank 2, or `final_size` no power of 2 from 8 on.

    Example:
        >>> import torch, torchslim as slim
        >>> from torchslim.nets import dcgan
        >>> model = slim.build(dcgan.generator, torch.empty(1, 64, device='meta'))
        >>> sum(p.numel() for p in model.parameters()), model.end_points['logits'].shape
        (3277955, (None, 3, 32, 32))
    """
    if len(inputs.shape) != 2:
        raise ValueError(f"generator: `inputs` must be of rank 2. Got shape {tuple(inputs.shape)}.")
    if final_size < 8 or not _is_power_of_2(final_size):
        raise ValueError(f"generator: `final_size` must be a power of 2, and at least 8. Got {final_size}.")
    height, width = spatial_dimensions()
    layers = final_size.bit_length() - 2
    end_points = {}
    with (
        variable_scope(scope, values=[inputs], reuse=reuse),
        arg_scope([batch_norm], is_training=is_training, zero_debias_moving_mean=True, fused=fused_batch_norm),
        arg_scope([conv2d_transpose], kernel_size=4, normalizer_fn=batch_norm),
    ):
        net = inputs.unsqueeze(height).unsqueeze(width)
        for number in range(1, layers + 1):
            options: dict[str, Any] = {"stride": 2}
            if number == 1:  # from a point to 4x4
                options = {"stride": 1, "padding": "VALID"}
            elif number == layers:
                options |= {"normalizer_fn": None, "activation_fn": None}
            name, channels = f"deconv{number}", depth * 2 ** (layers - number)
            net = end_points[name] = conv2d_transpose(net, channels, **options, scope=name)
        logits = end_points["logits"] = conv2d(
            net, num_outputs, 1, stride=1, padding="VALID", normalizer_fn=None, activation_fn=None, scope="logits"
        )
        return logits, end_points


def _is_power_of_2(number: int) -> bool:
    return number > 0 and number.bit_count() == 1
