"""What of a checkpoint goes where: made and checked from names, shapes and types alone, then carried out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import torch

from torchslim.checkpoints.advice import (
    about_classes,
    about_dense,
    about_normalization,
    propose_names,
    shortest_exclude,
)
from torchslim.checkpoints.fitting import Arrangement, arrangement, copy_turned, has_background
from torchslim.checkpoints.names import NameMap, average_of, is_average, is_optimizer_slot
from torchslim.checkpoints.readers import Reader, StoredTensor
from torchslim.checkpoints.report import Mismatch, RestoreReport, some
from torchslim.graph import Variable
from torchslim.variables import select_variables
from torchslim.variables.global_step import GLOBAL_STEP


@dataclass
class _Match:
    variable: Variable
    stored: StoredTensor
    arrange: Arrangement


@dataclass
class Plan:
    """The steps of a restore, in their order: `select`, `match`, `check`, `carry_out`.

    Attributes:
        variables: of the model.
        checkpoint: where the values come from.
        tf_layout: it is in TensorFlow's layout.
        dense_as_convolution: matrices may become kernels that cover their image, and these matrices.
        drop_background: the first class of the checkpoint is left out where the model has one class less.
        reshape: any shape with as many elements will do.
        report: what is found and done.
    """

    variables: Sequence[Variable]
    checkpoint: Reader
    tf_layout: bool
    dense_as_convolution: bool
    drop_background: bool
    reshape: bool
    report: RestoreReport
    wanted: list[Variable] = field(default_factory=list)
    missing: list[Variable] = field(default_factory=list)
    mismatched: list[tuple[Variable, StoredTensor]] = field(default_factory=list)
    matches: list[_Match] = field(default_factory=list)
    without_background: list[Variable] = field(default_factory=list)

    def select(self, include: str | Sequence[str] | None, exclude: str | Sequence[str] | None) -> None:
        """Decides which variables are to be restored."""
        chosen: dict[str, set[Variable]] = {}
        for argument, patterns in (("include", include), ("exclude", exclude)):
            groups = {} if patterns is None else select_variables(self.variables, patterns, argument=argument)
            chosen[argument] = {variable for group in groups.values() for variable in group}
            for pattern, group in groups.items():
                self.report.patterns[f"{argument} {pattern!r}"] = [variable.op.name for variable in group]
        wanted = (set(self.variables) if include is None else chosen["include"]) - chosen["exclude"]
        self.wanted = [variable for variable in self.variables if variable in wanted]
        self.report.excluded = [variable.op.name for variable in self.variables if variable not in wanted]

    def match(self, naming: NameMap, prefer_ema: bool | str) -> None:
        """Finds the tensor of every variable, and what is left over."""
        candidates = {variable: naming.candidates(variable) for variable in self.variables}
        averages = self._averages(candidates, prefer_ema)
        for variable in self.wanted:
            name = averages.get(variable) or next((n for n in candidates[variable] if n in self.checkpoint), None)
            if name is not None:
                self._fit(variable, name, naming)
            elif variable.op.name != GLOBAL_STEP:
                self.missing.append(variable)
        restored = {match.variable for match in self.matches}
        self.report.missing = [variable.op.name for variable in self.missing]
        self.report.restored = [match.variable.op.name for match in self.matches]
        self.report.averaged = [variable.op.name for variable in averages if variable in restored]
        self._sort_the_rest([*chain(*candidates.values()), *averages.values()])

    def _averages(self, candidates: dict[Variable, list[str]], prefer_ema: bool | str) -> dict[Variable, str]:
        """The names of the moving averages to restore instead of last values."""
        if prefer_ema is False:
            return {}
        shadows = {v: [average_of(name) for name in candidates[v]] for v in self.wanted}
        found = {v: next((name for name in names if name in self.checkpoint), "") for v, names in shadows.items()}
        averages = {variable: name for variable, name in found.items() if name}
        if prefer_ema == "auto":
            trainable = [variable for variable in self.wanted if variable.trainable]
            return averages if all(variable in averages for variable in trainable) else {}
        if not averages:
            raise ValueError(
                f"restore: `prefer_ema=True`, but {self.checkpoint.name} has no moving average of what is restored: no "
                f"{average_of('NAME')!r}. Got {some(list(self.checkpoint)) or 'nothing'}. Use 'auto' or False."
            )
        return averages

    def _fit(self, variable: Variable, name: str, naming: NameMap) -> None:
        stored = self.checkpoint[name]
        arrange = arrangement(
            variable,
            stored.shape,
            tf_layout=self.tf_layout,
            dense_as_convolution=self.dense_as_convolution or naming.dense_as_convolution,
            drop_background=self.drop_background,
            reshape=self.reshape,
        )
        if arrange is None:
            self.mismatched.append((variable, stored))
            self.report.mismatched.append(Mismatch(variable.op.name, name, stored.shape, self._wanted(variable)))
            return
        if not isinstance(stored.dtype, torch.dtype) or not torch.can_cast(stored.dtype, variable.dtype):
            raise ValueError(
                f"restore: {name!r} in the checkpoint is {_short(stored.dtype)}, which cannot become the "
                f"{_short(variable.dtype)} of {variable.op.name!r}. Leave it out with `exclude`."
            )
        changes = [] if stored.dtype == variable.dtype else [f"{_short(stored.dtype)} -> {_short(variable.dtype)}"]
        if self.drop_background and has_background(self._wanted(variable), stored.shape, tf_layout=self.tf_layout):
            self.without_background.append(variable)
            changes.append("without the background class")
        if changes:
            self.report.converted[variable.op.name] = ", ".join(changes)
        self.matches.append(_Match(variable, stored, arrange))

    def _wanted(self, variable: Variable) -> tuple[int, ...]:
        return variable.tf_shape if self.tf_layout else variable.shape

    def _sort_the_rest(self, asked_for: Sequence[str]) -> None:
        # A tensor may have several names: what TensorFlow 2 stored from objects has.
        used = {id(self.checkpoint[name]) for name in asked_for if name in self.checkpoint}
        for name, stored in self.checkpoint.items():
            if id(stored) in used:
                continue
            if is_optimizer_slot(name, self.checkpoint):
                self.report.optimizer_slots.append(name)
            elif is_average(name, self.checkpoint):
                self.report.averages.append(name)
            else:
                self.report.unused.append(name)

    def check(self, ignore_missing: bool, exclude: list[str]) -> None:
        """Raises if something keeps the plan from being carried out, and says what would help."""
        report, restored = self.report, set(self.report.restored)
        missing = [] if ignore_missing else self.missing
        homeless = [v.op.name for v in self.variables if v.is_meta and v.initializer is None]
        homeless = [name for name in homeless if name not in restored]
        if not report.mismatched and not missing and not homeless:
            if self.drop_background and not self.without_background:
                raise ValueError(
                    f"restore: `drop_background=True`, but nothing in {self.checkpoint.name} has one class more than "
                    "what is restored. Leave it out."
                )
            return
        lines = [f"restore: {self.checkpoint.name} does not fit the model; nothing was changed."]
        bad = [mismatch.name for mismatch in report.mismatched]
        if bad:
            lines += ["Other shapes:", *(f"  {mismatch}" for mismatch in report.mismatched)]
            lines += about_classes(report.mismatched)
            lines += about_dense(self.mismatched, tf_layout=self.tf_layout)
        if missing:
            lines += ["Not in the checkpoint:", *(f"  {name}" for name in report.missing)]
            lines.append(f"The checkpoint has {some(list(self.checkpoint)) or 'nothing'}.")
            lines += about_normalization(missing, self.checkpoint)
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
        """Reads everything, which finds damage, before it changes anything; then assigns, and initialises the rest.

        Kept from the first reading is only what becomes a variable's own memory, so that more than one further tensor
        is never in memory.
        """
        memory: dict[Variable, torch.Tensor] = {}
        held: set[int] = set()
        for match in self.matches:
            if match.variable.is_meta:
                memory[match.variable] = self._memory(match, held)
            else:
                match.stored.read()
        for match in self.matches:
            if match.variable.is_meta:
                match.variable.assign(memory.pop(match.variable))
            else:
                copy_turned(match.variable.tensor.detach(), match.arrange(match.stored.read()))
        for variable in self.variables:
            if variable.is_meta:
                variable.initialize()
                self.report.initialized.append(variable.op.name)

    def _memory(self, match: _Match, held: set[int]) -> torch.Tensor:
        """A value whose memory a variable may keep: it must not be the caller's too, or another variable's."""
        tensor = match.stored.read()
        value = match.arrange(tensor)
        if value.dtype != match.variable.dtype or not value.is_contiguous():
            value, turned = torch.empty(value.shape, dtype=match.variable.dtype), value
            copy_turned(value, turned)
        memory = value.untyped_storage().data_ptr()
        borrowed = self.checkpoint.borrowed and memory == tensor.untyped_storage().data_ptr()
        value = value.clone() if borrowed or memory in held else value
        held.add(value.untyped_storage().data_ptr())
        return value


def _short(dtype: Any) -> str:
    return "string" if dtype is bytes else str(dtype).removeprefix("torch.")
