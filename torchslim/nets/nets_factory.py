"""Networks by name, with the defaults that they were trained with (TF-Slim's `nets_factory`)."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from torchslim.arg_scope import arg_scope
from torchslim.graph import Symbol

# By name: the module, its function, and the module and the function of its arg_scope.
_INCEPTION = ("inception_utils", "inception_arg_scope")
_MOBILENET = ("mobilenet.mobilenet", "training_scope")
_RESNET = ("resnet_utils", "resnet_arg_scope")
_NETWORKS: dict[str, tuple[str, str, str, str]] = {
    "alexnet_v2": ("alexnet", "alexnet_v2", "alexnet", "alexnet_v2_arg_scope"),
    "cifarnet": ("cifarnet", "cifarnet", "cifarnet", "cifarnet_arg_scope"),
    "overfeat": ("overfeat", "overfeat", "overfeat", "overfeat_arg_scope"),
    **{name: ("vgg", name, "vgg", "vgg_arg_scope") for name in ("vgg_a", "vgg_16", "vgg_19")},
    **{f"inception_v{n}": (f"inception_v{n}", f"inception_v{n}", *_INCEPTION) for n in (1, 2, 3, 4)},
    "inception_resnet_v2": (*("inception_resnet_v2",) * 3, "inception_resnet_v2_arg_scope"),
    "i3d": ("i3d", "i3d", "i3d", "i3d_arg_scope"),
    "s3dg": ("s3dg", "s3dg", "s3dg", "s3dg_arg_scope"),
    "lenet": ("lenet", "lenet", "lenet", "lenet_arg_scope"),
    **{f"resnet_v{n}_{depth}": (f"resnet_v{n}", f"resnet_v{n}_{depth}", *_RESNET)
       for n in (1, 2) for depth in (50, 101, 152, 200)},
    **{f"mobilenet_v1{width}": ("mobilenet_v1", f"mobilenet_v1{width}", "mobilenet_v1", "mobilenet_v1_arg_scope")
       for width in ("", "_075", "_050", "_025")},
    "mobilenet_v2": ("mobilenet.mobilenet_v2", "mobilenet", *_MOBILENET),
    **{f"mobilenet_v2{width}": ("mobilenet.mobilenet_v2", f"mobilenet_v2{width}", *_MOBILENET)
       for width in ("_140", "_035")},
    **{f"mobilenet_v3_{kind}": ("mobilenet.mobilenet_v3", kind, *_MOBILENET)
       for kind in ("small", "large", "small_minimalistic", "large_minimalistic")},
    **{f"mobilenet_edgetpu{width}": ("mobilenet.mobilenet_v3", f"edge_tpu{width}", *_MOBILENET)
       for width in ("", "_075")},
    **{f"nasnet_{size}": ("nasnet.nasnet", f"build_nasnet_{size}", "nasnet.nasnet", f"nasnet_{size}_arg_scope")
       for size in ("cifar", "mobile", "large")},
    **{f"pnasnet_{size}": ("nasnet.pnasnet", f"build_pnasnet_{size}", "nasnet.pnasnet", f"pnasnet_{size}_arg_scope")
       for size in ("large", "mobile")},
}  # fmt: skip


class _Functions(Mapping[str, Callable[..., Any]]):
    """Functions by the name of a network; the module of one is imported when it is asked for."""

    def __init__(self, places: Mapping[str, tuple[str, str]]) -> None:
        self._places = places

    def __getitem__(self, name: str) -> Callable[..., Any]:
        module, function = self._places[name]
        return getattr(importlib.import_module(f"torchslim.nets.{module}"), function)

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __repr__(self) -> str:
        return f"<{len(self)} networks: {', '.join(self)}>"


networks_map: Mapping[str, Callable[..., Any]] = _Functions({name: row[:2] for name, row in _NETWORKS.items()})
arg_scopes_map: Mapping[str, Callable[..., Any]] = _Functions({name: row[2:] for name, row in _NETWORKS.items()})


def get_network_fn(
    name: str, num_classes: int | None, weight_decay: float = 0.0, is_training: bool | None = False
) -> Callable[..., tuple[Symbol, dict[str, Symbol]]]:
    """The model function of a network, under its own defaults.

    Args:
        name: a key of `networks_map`.
        num_classes: how many; None or 0: no last layer.
        weight_decay: scale of the L2 regularization of the weights.
        is_training: of dropout and batch normalization; None or True: as the module's mode says, False: inference, for
            good.

    Returns:
        A function of images and of the network's other arguments. It has the network's `default_image_size`.

    Raises:
        ValueError: if there is no network of that name.

    Example:
        >>> import torch, torchslim as slim
        >>> from torchslim.nets import nets_factory
        >>> network = nets_factory.get_network_fn('inception_v1', num_classes=20, is_training=None)
        >>> size = network.default_image_size
        >>> model = slim.build(network, torch.empty(1, 3, size, size, device='meta'))
        >>> model.end_points['Logits'].shape
        (None, 20)
    """
    if name not in networks_map:
        near = get_close_matches(str(name), networks_map, n=1)
        advice = f"Did you mean {near[0]!r}?" if near else f"There are {', '.join(networks_map)}."
        raise ValueError(f"get_network_fn: `name` must be the name of a network. Got {name!r}. {advice}")
    network = networks_map[name]

    @functools.wraps(network)
    def network_fn(images: Symbol, **kwargs: Any) -> tuple[Symbol, dict[str, Symbol]]:
        with arg_scope(arg_scopes_map[name](weight_decay=weight_decay)):
            return network(images, num_classes=num_classes, is_training=is_training, **kwargs)

    return network_fn
