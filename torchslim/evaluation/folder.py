"""A folder that another process writes checkpoints to: which is the newest whole one, and why others do not count."""

from __future__ import annotations

import logging
import os
import re
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from torchslim.checkpoints import CheckpointError, load_checkpoint, open_checkpoint, step_of
from torchslim.checkpoints.directory import STATE_FILE, SUFFIX, read_state_file

logger = logging.getLogger(__name__)

# Seconds of waiting before it is said what is in the folder; the next time it takes twice as long, and so on.
REPORT_AFTER = 30.0
# How many files are named in such a report for each reason.
_NAMED = 5
# TensorFlow's checkpoints: `PREFIX.index` of V2, whose data lies beside it, and one file or several of V1.
_INDEX = re.compile(r"(?P<prefix>.+)\.index")
_SLICED = re.compile(r"(?P<prefix>.+\.ckpt(-\d+)?)(-\d{5}-of-\d{5})?")
_PART = re.compile(r".+\.(data-\d{5}-of-\d{5}|meta)")
_TEMPORARY = re.compile(r"\..+\.tmp|.*(_temp_|\.tempstate).*")
_STEP = re.compile(r"-(\d+)$")
_GONE = "it is gone"

Stamp = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class Found:
    """A checkpoint in a folder, whole or not.

    Attributes:
        path: what `open_checkpoint` takes.
        step: the step in its name, or -1.
        stamp: name, time of change and size of each of its files: another one, another content.
    """

    path: Path
    step: int
    stamp: Stamp

    @property
    def time(self) -> int:
        """When it was written."""
        return max(changed for _, changed, _ in self.stamp)


class Watch:
    """A folder of checkpoints that is looked at again and again; a file is read once, not in every look.

    Args:
        folder: it need not exist yet.

    Raises:
        ValueError: if it is no folder.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        if self.folder.is_file():
            raise ValueError(f"evaluation: `checkpoint_dir` must be a folder. Got the file {str(folder)!r}.")
        self._verdicts: dict[Stamp, str] = {}
        self._told: set[Path] = set()
        self.start_waiting()

    def start_waiting(self) -> None:
        """Has the time that is waited count from now."""
        self._since, self._report_after = time.monotonic(), REPORT_AFTER

    def look(self, last: str | None = None) -> str | None:
        """The newest whole checkpoint, if it is not `last`. Where there is none for long, it logs what there is."""
        newest = self._newest()
        if newest is not None and newest != last:
            return newest
        waited = time.monotonic() - self._since
        if waited >= self._report_after:
            self._report_after = 2 * waited
            suspicious, text = self.explain(last)
            level = logging.WARNING if suspicious else logging.INFO
            logger.log(level, "waiting for %.0f s for a new checkpoint in %r. %s", waited, str(self.folder), text)
        return None

    def _newest(self) -> str | None:
        checkpoints = self._found()
        present = {found.stamp for found in checkpoints}
        self._verdicts = {stamp: verdict for stamp, verdict in self._verdicts.items() if stamp in present}
        for found in checkpoints:
            verdict = self._verdict(found)
            if not verdict:
                return str(found.path)
            if found.path not in self._told and verdict != _GONE:
                self._told.add(found.path)
                logger.warning("evaluation: passing over %r: %s", str(found.path), verdict)
        return None

    def _verdict(self, found: Found) -> str:
        """What is wrong with a checkpoint; nothing: an empty text."""
        if found.stamp not in self._verdicts:
            try:
                for stored in open_checkpoint(found.path).values():
                    stored.read()
            except FileNotFoundError:  # removed since the folder was read
                return _GONE
            except OSError as error:  # the network, permissions: the next look may see something else
                return str(error)
            except CheckpointError as error:
                self._verdicts[found.stamp] = str(error)
            else:
                self._verdicts[found.stamp] = ""
        return self._verdicts[found.stamp]

    def _found(self) -> list[Found]:
        """The checkpoints, the newest first.

        That is the one of the highest step, unless the `checkpoint` file names one that was written later: then the
        training was set back.
        """
        stamps: dict[Path, list[tuple[str, int, int]]] = defaultdict(list)
        for path in self._files():
            of = _checkpoint_of(path)
            if of is not None:
                try:
                    stat = path.stat()
                except OSError:  # removed since the folder was read
                    continue
                stamps[of].append((path.name, stat.st_mtime_ns, stat.st_size))
        found = [Found(path, _step_in(path), tuple(stamp)) for path, stamp in stamps.items()]
        found.sort(key=lambda one: (one.step, one.time), reverse=True)
        named = self._named()
        for one in found:
            if one.path.name.removesuffix(SUFFIX) == named and one.time > found[0].time:
                return [one, *(other for other in found if other is not one)]
        return found

    def _named(self) -> str | None:
        """The name, without ending, that the `checkpoint` file gives as the newest."""
        names = read_state_file(self.folder / STATE_FILE).get("model_checkpoint_path", [])
        return Path(names[0]).name.removesuffix(SUFFIX) if names else None

    def _files(self) -> list[Path]:
        try:
            return sorted(self.folder.iterdir())
        except OSError:
            return []

    def explain(self, last: str | None = None) -> tuple[bool, str]:
        """Whether something is wrong with the folder, and what is in it and why none of it is a new checkpoint."""
        if not self.folder.is_dir():
            return True, "There is no such folder yet."
        if not os.access(self.folder, os.R_OK | os.X_OK):
            return True, "The folder may not be read."
        reasons: dict[str, list[str]] = defaultdict(list)
        checkpoints = self._found()
        suspicious, known = last is None, False
        for found in checkpoints:
            verdict = "" if known else self._verdict(found)  # behind the first whole one, all are older
            known |= not verdict
            suspicious |= bool(verdict)
            reasons[verdict.removesuffix(".") or _place_beside(found, last)].append(found.path.name)
        named = self._named()
        if named and named not in [found.path.name.removesuffix(SUFFIX) for found in checkpoints]:
            reasons[f"named in the file {STATE_FILE!r}, but not there"].append(named)
        for path in self._files():
            if _TEMPORARY.fullmatch(path.name):
                reasons["temporary, being written or left behind by a process that was killed"].append(path.name)
            elif _checkpoint_of(path) is None and not _PART.fullmatch(path.name) and path.name != STATE_FILE:
                reasons[_no_checkpoint(path)].append(path.name)
        if not reasons:
            return True, "There is nothing in it."
        texts = [f"{_some(names)}: {why}" for why, names in reasons.items()]
        return suspicious, f"What is there: {'; '.join(texts)}."


def global_step_of(path: Path) -> int:
    """The global step of a checkpoint: in its name, in the state of a training, or a variable; 0 if nowhere."""
    step = step_of(path)
    if step is not None:
        return step
    try:
        return int(load_checkpoint(path, verify=False)["global_step"])
    except (OSError, ValueError, KeyError):  # TensorFlow's, or weights alone
        pass
    checkpoint = open_checkpoint(path, verify="fast")
    if "global_step" in checkpoint:
        return int(checkpoint.get_tensor("global_step"))
    return max(_step_in(path), 0)


def _checkpoint_of(path: Path) -> Path | None:
    """The checkpoint that a file belongs to, by the names of both."""
    name = path.name
    if name.startswith(".") or _TEMPORARY.fullmatch(name) or path.is_dir():
        return None
    if path.suffix == SUFFIX:
        return path if step_of(path) is not None else None
    if index := _INDEX.fullmatch(name):
        return path.with_name(index["prefix"])
    if part := _PART.fullmatch(name):
        prefix = path.with_name(name[: part.start(1) - 1])
        return prefix if part[1] != "meta" and prefix.with_name(f"{prefix.name}.index").exists() else None
    sliced = _SLICED.fullmatch(name)
    return path.with_name(sliced["prefix"]) if sliced else None


def _step_in(path: Path) -> int:
    step = step_of(path)
    number = _STEP.search(path.name)
    return step if step is not None else int(number[1]) if number else -1


def _place_beside(found: Found, last: str | None) -> str:
    if last is None:
        return "just written"
    return "the last one" if str(found.path) == last else f"older than the last one, {Path(last).name}"


def _no_checkpoint(path: Path) -> str:
    if path.suffix == SUFFIX:
        return f"not named model.ckpt-N{SUFFIX}, so no checkpoint of a training"
    return "no checkpoint"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
