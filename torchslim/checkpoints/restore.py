"""`slim.restore`: values of a checkpoint into the variables of a model, by name, all or nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import torch
from torch import nn

from torchslim.checkpoints.advice import propose_names, shortest_exclude
from torchslim.checkpoints.names import NameMap, Names, name_map
from torchslim.checkpoints.readers import Reader, StoredTensor, open_checkpoint
from torchslim.checkpoints.report import Mismatch, RestoreReport, some
from torchslim.graph import Graph, Variable
from torchslim.variables import get_variables, select_variables
from torchslim.variables.global_step import GLOBAL_STEP

_LAYOUTS = ("torch", "tf")
_logger = logging.getLogger("torchslim")


def restore(
    module: nn.Module | Graph | Iterable[Variable],
    source: Any,
    include: str | Sequence[str] | None = None,
    exclude: str | Sequence[str] | None = None,
    names: Names = None,
    ignore_missing: bool = False,
    layout: str | None = None,
) -> RestoreReport:
    """Restores variables by name, and fills those that have no memory yet and are not restored.

    All is checked first: when it raises, nothing has changed. Of a module built under `torch.device('meta')`
    the restored variables take over the checkpoint's memory (a file is mapped, not read), and only the rest
    is initialised.

    Args:
        module: a module (inside DistributedDataParallel and `torch.compile` too), a `slim.Graph`, or
            Variables.
        source: what `open_checkpoint` takes: a file, a folder, or a mapping of slim names
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

    Returns:
        A `RestoreReport`, which is also logged.

    Raises:
        ValueError: if variables are missing or have other shapes (it lists them and says what would help), if
            a pattern finds nothing, or `layout` is unknown.
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
    return restore_variables(variables, source, include, exclude, names, ignore_missing, layout)


def restore_variables(
    variables: Sequence[Variable],
    source: Any,
    include: str | Sequence[str] | None = None,
    exclude: str | Sequence[str] | None = None,
    names: Names = None,
    ignore_missing: bool = False,
    layout: str | None = None,
    *,
    reshape: bool = False,
) -> RestoreReport:
    """`restore` for a list of Variables; `reshape`: any shape with as many elements will do."""
    if layout is not None and layout not in _LAYOUTS:
        raise ValueError(f"restore: `layout` must be one of {_LAYOUTS} or None. Got {layout!r}.")
    if strangers := [value for value in variables if not isinstance(value, Variable)]:
        raise TypeError(f"restore: `module` must be a module, a Graph or Variables. Got {strangers[0]!r}.")
    checkpoint = open_checkpoint(source)
    tf_layout = (layout or checkpoint.layout) == "tf"
    plan = _Plan(variables, checkpoint, tf_layout, RestoreReport(checkpoint.name))
    plan.select(include, exclude)
    plan.match(name_map(names, variables), reshape)
    plan.check(ignore_missing, [exclude] if isinstance(exclude, str) else list(exclude or ()))
    plan.carry_out()
    _logger.log(logging.WARNING if plan.missing else logging.INFO, "%s", plan.report)
    return plan.report


@dataclass
class _Match:
    variable: Variable
    stored: StoredTensor
    shape: tuple[int, ...]  # what the tensor is viewed as, in the layout of the checkpoint


@dataclass
class _Plan:
    """What goes where; made and checked from names, shapes and types alone, then carried out."""

    variables: Sequence[Variable]
    checkpoint: Reader
    tf_layout: bool
    report: RestoreReport
    wanted: set[Variable] = field(default_factory=set)
    missing: list[Variable] = field(default_factory=list)
    matches: list[_Match] = field(default_factory=list)

    def select(self, include: str | Sequence[str] | None, exclude: str | Sequence[str] | None) -> None:
        chosen: dict[str, set[Variable]] = {}
        for argument, patterns in (("include", include), ("exclude", exclude)):
            groups = {} if patterns is None else select_variables(self.variables, patterns, argument=argument)
            chosen[argument] = {variable for group in groups.values() for variable in group}
            for pattern, group in groups.items():
                self.report.patterns[f"{argument} {pattern!r}"] = [variable.op.name for variable in group]
        self.wanted = (set(self.variables) if include is None else chosen["include"]) - chosen["exclude"]
        self.report.excluded = [variable.op.name for variable in self.variables if variable not in self.wanted]

    def match(self, naming: NameMap, reshape: bool) -> None:
        asked_for: set[str] = set()
        for variable in self.variables:
            candidates = naming.candidates(variable)
            asked_for.update(candidates)
            name = next((name for name in candidates if name in self.checkpoint), None)
            if variable not in self.wanted or (name is None and variable.op.name == GLOBAL_STEP):
                continue
            if name is None:
                self.missing.append(variable)
                continue
            stored = self.checkpoint[name]
            shape = variable.tf_shape if self.tf_layout else variable.shape
            if naming.fits(stored.shape, shape) or (reshape and prod(stored.shape) == prod(shape)):
                _check_type(variable, name, stored)
                self.matches.append(_Match(variable, stored, shape))
            else:
                self.report.mismatched.append(Mismatch(variable.op.name, name, stored.shape, shape))
        self.report.missing = [variable.op.name for variable in self.missing]
        self.report.restored = [match.variable.op.name for match in self.matches]
        self.report.unused = [name for name in self.checkpoint if name not in asked_for]

    def check(self, ignore_missing: bool, exclude: list[str]) -> None:
        """Raises if something keeps the plan from being carried out, and says what would help."""
        report, restored = self.report, set(self.report.restored)
        missing = [] if ignore_missing else self.missing
        homeless = [v.op.name for v in self.variables if v.is_meta and v.initializer is None]
        homeless = [name for name in homeless if name not in restored]
        if not report.mismatched and not missing and not homeless:
            return
        lines = [f"restore: {self.checkpoint.name} does not fit the model; nothing was changed."]
        bad = [mismatch.name for mismatch in report.mismatched]
        if bad:
            lines += ["Other shapes:", *(f"  {mismatch}" for mismatch in report.mismatched)]
        if missing:
            lines += ["Not in the checkpoint:", *(f"  {name}" for name in report.missing)]
            lines.append(f"The checkpoint has {some(list(self.checkpoint)) or 'nothing'}.")
            if proposal := propose_names(missing, self.checkpoint, tf_layout=self.tf_layout):
                naming, found = proposal
                lines.append(f"With names={naming!r}, {found} of these {len(missing)} are found.")
            else:
                bad += report.missing
        if homeless:
            lines.append(f"Neither restored nor with an initializer to fill them: {some(homeless)}.")
        if leave_out := shortest_exclude(bad, restored):
            lines.append(f"To keep the model's own values, leave them out: exclude={exclude + leave_out!r}.")
        raise ValueError("\n".join(lines))

    def carry_out(self) -> None:
        # Mapping and comparing checksums come before the first assignment: a damaged tensor changes nothing.
        tensors = [match.stored.read() for match in self.matches]
        held: set[int] = set()
        for match, tensor in zip(self.matches, tensors, strict=True):
            variable, value = match.variable, tensor.reshape(match.shape)
            if tensor.dtype != variable.dtype:
                change = f"{_short(tensor.dtype)} -> {_short(variable.dtype)}"
                self.report.converted[variable.op.name] = change
            if self.tf_layout:
                value = variable.from_tf(value)
            if variable.is_meta:
                value = value.to(variable.dtype).contiguous()
                # The variable keeps this memory: it must not be the caller's too, or another variable's.
                memory = value.untyped_storage().data_ptr()
                borrowed = self.checkpoint.borrowed and memory == tensor.untyped_storage().data_ptr()
                value = value.clone() if borrowed or memory in held else value
                held.add(value.untyped_storage().data_ptr())
            variable.assign(value)
        for variable in self.variables:
            if variable.is_meta:
                variable.initialize()
                self.report.initialized.append(variable.op.name)


def _check_type(variable: Variable, name: str, stored: StoredTensor) -> None:
    if not torch.can_cast(stored.dtype, variable.dtype):
        raise ValueError(
            f"restore: {name!r} in the checkpoint is {_short(stored.dtype)}, which cannot become the "
            f"{_short(variable.dtype)} of {variable.op.name!r}. Leave it out with `exclude`."
        )


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
