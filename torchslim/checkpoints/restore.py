"""`slim.restore`: values of a checkpoint into the variables of a model, by name, all or nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

from torch import nn

from torchslim.checkpoints.names import Names, name_map
from torchslim.checkpoints.opening import open_checkpoint
from torchslim.checkpoints.plan import Plan
from torchslim.checkpoints.report import RestoreReport
from torchslim.graph import Graph, Variable
from torchslim.variables import get_variables

_LAYOUTS = ("torch", "tf")
_PREFERENCES = (True, False, "auto")
_logger = logging.getLogger("torchslim")


def restore(
    module: nn.Module | Graph | Iterable[Variable],
    source: Any,
    include: str | Sequence[str] | None = None,
    exclude: str | Sequence[str] | None = None,
    names: Names = None,
    ignore_missing: bool = False,
    layout: str | None = None,
    *,
    prefer_ema: bool | str = False,
    dense_as_convolution: bool = False,
    drop_background: bool = False,
) -> RestoreReport:
    """Restores variables by name, and fills those that have no memory yet and are not restored.

    All is checked first: when it raises, nothing has changed. Of a module built under `torch.device('meta')`
    the restored variables take over the checkpoint's memory (a file is mapped, not read), and only the rest
    is initialised.

    Args:
        module: a module (inside DistributedDataParallel and `torch.compile` too), a `slim.Graph`, or
            Variables.
        source: what `open_checkpoint` takes: TensorFlow's or another file, a folder, or a mapping of slim names
            (`'vgg_16/fc8/weights'`) or `state_dict` keys (`'vgg_16.fc8.weight'`) to tensors or arrays.
        include: patterns of what to restore; None: everything. A pattern names whole parts of a slim name,
            from the root first and, if that finds nothing, anywhere: `'fc8'` finds `vgg_16/fc8/weights`.
        exclude: patterns of what to leave out.
        names: how they are called in the checkpoint, if differently: a dict `{name or scope in the
            checkpoint: Variable, name or scope in the model}`, a pair `(scope in the checkpoint, scope in the
            model)`, a function from a Variable to its name there (None: not there), or a known naming such as
            `'torchvision/vgg16'`.
        ignore_missing: leave variables that the checkpoint does not have as they are; the report lists them.
        layout: `'tf'`: kernels are in TensorFlow's layout (HWIO) and are turned; `'torch'`; None: as the
            format has it.
        prefer_ema: which values to take where the checkpoint also has moving averages (TensorFlow's
            `NAME/ExponentialMovingAverage`): False, the default: those of the variables themselves, for a name means
            what it says, as in TF-Slim; the report says that there are averages. True: the averages, where there are
            some. `'auto'`: the averages if all trainable variables have one.
        dense_as_convolution: take the matrix of a `fully_connected` on an image for a convolution that covers the
            image, and the other way round: `[25088, 4096]` and `[7, 7, 512, 4096]` in TensorFlow's layout. Default
            False, because it is right only if the one stands where the other stood.
        drop_background: where the checkpoint has one class more than the model, leave out the first one: of ImageNet's
            1001 classes it is the background. Default False: it would be wrong for any other class.

    Returns:
        A `RestoreReport`, which is also logged.

    Raises:
        ValueError: if variables are missing or have other shapes (it lists them and says what would help), if
            a pattern finds nothing, `layout` or `prefer_ema` is unknown, or there are no averages to prefer or no
            background to drop.
        CheckpointError: if the file is damaged or of an unknown kind (a ValueError too).
        FileNotFoundError: if there is no such file.

    TF-Slim: `global_step` is restored if the checkpoint shows it and left as it is otherwise, since
    pretrained weights of other origin have none.

    Example:
        >>> model = slim.build(lambda x: slim.fully_connected(x, 2, scope='fc'), torch.empty(1, 3))
        >>> report = restore(model, {'fc/weights': torch.ones(3, 2)}, include=['fc/weights'], layout='tf')
        >>> report.restored, report.excluded
        (['fc/weights'], ['fc/biases'])
    """
    variables = get_variables(module=module) if isinstance(module, nn.Module | Graph) else list(module)
    return restore_variables(
        variables,
        source,
        include,
        exclude,
        names,
        ignore_missing,
        layout,
        prefer_ema=prefer_ema,
        dense_as_convolution=dense_as_convolution,
        drop_background=drop_background,
    )


def restore_variables(
    variables: Sequence[Variable],
    source: Any,
    include: str | Sequence[str] | None = None,
    exclude: str | Sequence[str] | None = None,
    names: Names = None,
    ignore_missing: bool = False,
    layout: str | None = None,
    *,
    prefer_ema: bool | str = False,
    dense_as_convolution: bool = False,
    drop_background: bool = False,
    reshape: bool = False,
) -> RestoreReport:
    """`restore` for a list of Variables; `reshape`: any shape with as many elements will do."""
    if layout is not None and layout not in _LAYOUTS:
        raise ValueError(f"restore: `layout` must be one of {_LAYOUTS} or None. Got {layout!r}.")
    if strangers := [value for value in variables if not isinstance(value, Variable)]:
        raise TypeError(f"restore: `module` must be a module, a Graph or Variables. Got {strangers[0]!r}.")
    if prefer_ema not in _PREFERENCES:
        raise ValueError(f"restore: `prefer_ema` must be True, False or 'auto'. Got {prefer_ema!r}.")
    checkpoint = open_checkpoint(source)
    tf_layout = (layout or checkpoint.layout) == "tf"
    report = RestoreReport(checkpoint.name)
    plan = Plan(variables, checkpoint, tf_layout, dense_as_convolution, drop_background, reshape, report)
    plan.select(include, exclude)
    plan.match(name_map(names, variables), prefer_ema)
    plan.check(ignore_missing, [exclude] if isinstance(exclude, str) else list(exclude or ()))
    plan.carry_out()
    _logger.log(logging.WARNING if plan.missing else logging.INFO, "%s", report)
    return report
