"""Variables: the tensors of a module under TF-Slim's names, and the one place where those names are derived."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from torch import fx, nn

from torchslim.initializers import initialize_

if TYPE_CHECKING:
    from torchslim.graph.graph import Graph

_BATCH_NORM = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}
_KERNEL = MappingProxyType({"weight": "weights", "bias": "biases"})


class Layer(nn.Module):
    """What a module has that makes slim variables of its tensors; layers subclass it beside `nn.Conv2d` and the like.

    Attributes:
        slim_names: attribute -> TF-Slim's name, in creation order. Tensors that are not listed have no slim name.
            A name `../depthwise_weights` is in the scope above: the module is a part of the layer that has the scope.
        initializers: attribute -> what fills it; run when the tensor gets its memory.
        regularizers: attribute -> the regularizer of the tensor.
        kinds: attribute -> `'model'` (default), `'global'` or `'local'`.
        shared: attributes whose tensors belong to another layer, which keeps them in its `state_dict` (`reuse=True`).
    """

    slim_names: Mapping[str, str] = _KERNEL
    notes = ("_initializers", "_regularizers", "_kinds")  # where the dicts below are kept

    @property
    def initializers(self) -> dict[str, Any]:
        """Attribute -> what fills it."""
        return self.__dict__.setdefault("_initializers", {})

    @property
    def regularizers(self) -> dict[str, Any]:
        """Attribute -> its regularizer."""
        return self.__dict__.setdefault("_regularizers", {})

    @property
    def kinds(self) -> dict[str, str]:
        """Attribute -> kind of variable, where it is not a model variable."""
        return self.__dict__.setdefault("_kinds", {})

    @property
    def shared(self) -> set[str]:
        """The attributes whose tensors belong to another layer."""
        return self.__dict__.setdefault("_shared", set())

    def to_tf(self, attribute: str, tensor: torch.Tensor) -> torch.Tensor:
        """`tensor`, laid out as TensorFlow stores the variable: kernels HWIO, matrices [in, out]."""
        return _move_kernel(self, attribute, tensor, to_tf=True)

    def from_tf(self, attribute: str, tensor: torch.Tensor) -> torch.Tensor:
        """The inverse of `to_tf`."""
        return _move_kernel(self, attribute, tensor, to_tf=False)

    def reset_parameters(self) -> None:
        """Fills the layer's own tensors by their initializers (what PyTorch's deferred initialisation calls)."""
        for attribute, initializer in self.initializers.items():
            tensor = getattr(self, attribute, None)
            if tensor is not None and not (tensor.is_meta and callable(initializer)):  # a value is checked at once
                _fill(self, attribute, tensor, initializer)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        for attribute in self.shared:
            destination.pop(prefix + attribute, None)

    def _load_from_state_dict(self, *args: Any) -> None:
        super()._load_from_state_dict(*args)
        self._miss_nothing_shared(*args)

    def _miss_nothing_shared(
        self, state_dict: Any, prefix: str, metadata: Any, strict: bool, missing: list[str], *_: Any
    ) -> None:
        missing[:] = [key for key in missing if key.removeprefix(prefix) not in self.shared]


class Scope(Layer):
    """A scope that is no layer itself: it holds the modules and the variables made below it."""

    slim_names = MappingProxyType({})


def _move_kernel(module: nn.Module, attribute: str, tensor: torch.Tensor, *, to_tf: bool) -> torch.Tensor:
    if attribute != "weight":
        return tensor
    if isinstance(module, nn.Linear):
        return tensor.t()
    if isinstance(module, nn.modules.conv._ConvNd):
        # OI + space <-> space + IO; a transposed convolution has IO + space <-> space + OI: the same move.
        space = tensor.ndim - 2
        return tensor.permute((*range(2, space + 2), 1, 0) if to_tf else (space + 1, space, *range(space)))
    return tensor


def _fill(module: nn.Module, attribute: str, tensor: torch.Tensor, initializer: Any) -> None:
    variable = Variable(module, attribute, "")
    initialize_(tensor.detach(), initializer, variable.tf_shape, variable.from_tf)


def slim_names_of(module: nn.Module) -> dict[str, str]:
    """Attribute -> slim name of a module's own tensors, in creation order."""
    own = {**module._parameters, **module._buffers}
    names: Mapping[str, str]
    if isinstance(module, Layer):
        beside = module.kinds.keys() - module.slim_names.keys()  # made in its scope, but no part of the layer
        names = {**module.slim_names, **{attribute: attribute for attribute in own if attribute in beside}}
    elif isinstance(module, nn.modules.batchnorm._NormBase):
        names = _BATCH_NORM
    elif isinstance(module, nn.Linear | nn.modules.conv._ConvNd):
        names = _KERNEL
    else:
        names = {attribute: attribute for attribute in own if attribute not in module._non_persistent_buffers_set}
    return {attribute: name for attribute, name in names.items() if own.get(attribute) is not None}


def scope_of_path(path: str) -> str:
    """The slim scope of a module path: `'vgg_16.conv1:1'` is in `'vgg_16/conv1'`.

    A second module in a scope has a number behind a colon in its path; names do not show it.
    """
    return "/".join(name for part in path.split(".") if (name := part.split(":")[0]))


def variables_of(module: nn.Module, path: str = "", graph: Graph | None = None) -> Iterator[Variable]:
    """The variables of a module and of all below it; each once, whichever modules share it."""
    seen: set[int] = set()
    for below, owner in module.named_modules(prefix=path):
        shared = owner.shared if isinstance(owner, Layer) else ()
        for attribute in slim_names_of(owner):
            tensor = getattr(owner, attribute)
            if id(tensor) not in seen and attribute not in shared:
                seen.add(id(tensor))
                yield Variable(owner, attribute, below, graph)


@dataclass(frozen=True)
class VariableOp:
    """What TensorFlow code asks of `variable.op`: its name."""

    name: str


class Variable:
    """A tensor of a module under its TF-Slim name.

    It computes like a Symbol while its graph is built, and like a tensor on a module that is built.

    Attributes:
        module: the `nn.Module` that owns the tensor.
        attribute: its name on that module: `'weight'`.
        path: where the module is in the module tree: `'vgg_16.conv1.conv1_1'`.

    Example:
        >>> import torch, torchslim as slim
        >>> model = slim.build(lambda x: slim.conv2d(x, 8, [5, 3], scope='conv1'), torch.empty(1, 3, 9, 9))
        >>> weights = slim.get_variables('conv1/weights', module=model)[0]
        >>> weights.name, weights.key, weights.shape, weights.tf_shape
        ('conv1/weights:0', 'conv1.weight', (8, 3, 5, 3), (5, 3, 3, 8))
        >>> (weights ** 2).sum().item() > 0
        True
    """

    def __init__(self, module: nn.Module, attribute: str, path: str, graph: Graph | None = None) -> None:
        self.module = module
        self.attribute = attribute
        self.path = path
        self.graph = graph

    @property
    def _slim_name(self) -> str:
        return slim_names_of(self.module).get(self.attribute, self.attribute)

    @property
    def layer_path(self) -> str:
        """The path of the layer that it is a variable of: its module's, or the one above if that is a part of it."""
        return self.path.rpartition(".")[0] if self._slim_name.startswith("../") else self.path

    @property
    def op(self) -> VariableOp:
        """Its `op.name` is the slim name without the `:0`."""
        name = self._slim_name.removeprefix("../")
        scope = scope_of_path(self.layer_path)
        return VariableOp(f"{scope}/{name}" if scope else name)

    @property
    def name(self) -> str:
        """TensorFlow's name of the tensor: `'vgg_16/conv1/conv1_1/weights:0'`."""
        return f"{self.op.name}:0"

    @property
    def key(self) -> str:
        """The key in the `state_dict` of the module that `path` starts from."""
        return f"{self.path}.{self.attribute}" if self.path else self.attribute

    @property
    def _tensor(self) -> torch.Tensor:
        return getattr(self.module, self.attribute)

    @property
    def tensor(self) -> torch.Tensor:
        """The live Parameter or buffer; it gets its memory and its first value now if it has none."""
        if self._tensor.is_meta and self.graph is not None:
            self.initialize()
        return self._tensor

    @property
    def is_meta(self) -> bool:
        """Whether it has no memory yet."""
        return self._tensor.is_meta

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape as PyTorch has it."""
        return tuple(self._tensor.shape)

    @property
    def tf_shape(self) -> tuple[int, ...]:
        """The shape as TensorFlow has it."""
        return tuple(self.to_tf(torch.empty(self.shape, device="meta")).shape)

    @property
    def dtype(self) -> torch.dtype:
        """The element type."""
        return self._tensor.dtype

    @property
    def device(self) -> torch.device:
        """Where it lives."""
        return self._tensor.device

    @property
    def trainable(self) -> bool:
        """Whether training changes it."""
        return isinstance(self._tensor, nn.Parameter) and self._tensor.requires_grad

    @property
    def kind(self) -> str:
        """`'model'`, `'global'` or `'local'`."""
        return self.module.kinds.get(self.attribute, "model") if isinstance(self.module, Layer) else "model"

    @property
    def initializer(self) -> Any:
        """What fills it, or None if its module did not say."""
        return self.module.initializers.get(self.attribute) if isinstance(self.module, Layer) else None

    @property
    def regularizer(self) -> Any:
        """Its regularizer, or None."""
        return self.module.regularizers.get(self.attribute) if isinstance(self.module, Layer) else None

    def to_tf(self, tensor: torch.Tensor) -> torch.Tensor:
        """`tensor` (the value, or its gradient) in TensorFlow's layout."""
        return self._moved(tensor, to_tf=True)

    def from_tf(self, array: Any) -> torch.Tensor:
        """`array`, given in TensorFlow's layout, in PyTorch's.

        Raises:
            ValueError: if it does not have `tf_shape`.
        """
        tensor = torch.as_tensor(array)
        if tuple(tensor.shape) != self.tf_shape:
            raise ValueError(
                f"from_tf: {self.op.name!r} has the shape {list(self.tf_shape)} in TensorFlow's layout. "
                f"Got {list(tensor.shape)}."
            )
        return self._moved(tensor, to_tf=False)

    def _moved(self, tensor: torch.Tensor, *, to_tf: bool) -> torch.Tensor:
        if isinstance(self.module, Layer):
            return (self.module.to_tf if to_tf else self.module.from_tf)(self.attribute, tensor)
        return _move_kernel(self.module, self.attribute, tensor, to_tf=to_tf)

    def assign(self, value: torch.Tensor) -> None:
        """Gives it a value; one that has no memory yet takes over `value`'s, so nothing is copied.

        Raises:
            ValueError: if the shape is another one.
        """
        if tuple(value.shape) != self.shape:
            raise ValueError(f"assign: {self.op.name!r} has the shape {list(self.shape)}. Got {list(value.shape)}.")
        if self._tensor.is_meta:
            self._take(value.detach().to(self.dtype).contiguous())
        else:
            with torch.no_grad():
                self._tensor.copy_(value)

    def initialize(self, device: torch.device | str | None = None) -> None:
        """Runs its initializer; gives it memory first (on `device`, default PyTorch's) if it has none.

        Raises:
            ValueError: if its module never said how to fill it.
        """
        if self.initializer is None:
            raise ValueError(
                f"initialize: nothing says how to fill {self.op.name!r} ({type(self.module).__name__}): it was made "
                "under the meta device and never restored. Restore it, or build it on a real device."
            )
        tensor = torch.empty_like(self._tensor, device=device or "cpu") if self.is_meta else self._tensor.detach()
        _fill(self.module, self.attribute, tensor, self.initializer)
        if self.is_meta:
            self._take(tensor)

    def _take(self, tensor: torch.Tensor) -> None:
        # Swapping keeps the object: optimizers, containers and layers that share it all see the new memory.
        old = self._tensor
        if isinstance(old, nn.Parameter):
            tensor = nn.Parameter(tensor, requires_grad=old.requires_grad)
        torch.utils.swap_tensors(old, tensor)

    @property
    def value(self) -> Any:
        """The Symbol that it is in its graph; on a built module, its tensor."""
        return self.tensor if self.graph is None else self.graph.get_attribute(self)

    def __fx_create_arg__(self, tracer: Any) -> fx.Node:
        """Lets it stand as an argument of a recorded call."""
        return tracer.owner.get_attribute(self).node

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Any torch function works on it."""
        unwrap = torch.utils._pytree.tree_map
        args, kwargs = unwrap(lambda leaf: leaf.value if isinstance(leaf, Variable) else leaf, (args, kwargs or {}))
        return function(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or not hasattr(torch.Tensor, name):
            raise AttributeError(f"Variable {self.op.name!r} has no attribute {name!r}.")
        return getattr(self.value, name)

    def __repr__(self) -> str:
        return f"<slim.Variable '{self.name}' shape={self.shape} dtype={str(self.dtype).removeprefix('torch.')}>"


def _compute_like_its_value(method: str) -> None:
    def compute(self: Variable, *args: Any) -> Any:
        args = tuple(arg.value if isinstance(arg, Variable) else arg for arg in args)
        return getattr(self.value, method)(*args)

    compute.__name__ = method
    setattr(Variable, method, compute)


# Comparison by == stays identity, so that Variables can be in sets and be keys.
for _name in fx.graph.reflectable_magic_methods:
    _compute_like_its_value(f"__{_name.strip('_')}__")
    _compute_like_its_value(f"__r{_name.strip('_')}__")
for _function in (
    operator.neg,
    operator.getitem,
    operator.lt,
    operator.le,
    operator.gt,
    operator.ge,
    operator.abs,
):
    _compute_like_its_value(f"__{_function.__name__}__")
