"""Choosing variables by parts of their names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from torchslim.graph import Variable


def select_variables(
    variables: Iterable[Variable], patterns: str | Sequence[str], *, argument: str = "include"
) -> dict[str, list[Variable]]:
    """What each pattern chooses: whole parts of a path, from the root first and, if that finds nothing, anywhere.

    Args:
        variables: to choose from.
        patterns: e.g. `['vgg_16/fc8']`, `'fc8'`.
        argument: what the error calls them.

    Raises:
        ValueError: if a pattern finds nothing.
    """
    variables = list(variables)
    found: dict[str, list[Variable]] = {}
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        wanted = f"/{pattern.strip('/').removesuffix(':0')}/"
        paths = {variable: f"/{variable.op.name}/" for variable in variables}
        found[pattern] = [v for v, path in paths.items() if path.startswith(wanted)]
        found[pattern] = found[pattern] or [v for v, path in paths.items() if wanted in path]
        if not found[pattern]:
            parts = {"/".join(v.op.name.split("/")[:i]) for v in variables for i in range(1, v.op.name.count("/") + 2)}
            raise ValueError(
                f"`{argument}`: {pattern!r} names no variable." + did_you_mean(pattern, sorted(parts | _tails(parts)))
            )
    return found


def _tails(paths: Iterable[str]) -> set[str]:
    return {path.rpartition("/")[2] for path in paths}


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """The end of an error message: names like `name`, or those that there are."""
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if close:
        return f" Did you mean {' or '.join(map(repr, close))}?"
    return f" There are: {', '.join(known[:20])}{', ...' if len(known) > 20 else ''}." if known else " There are none."
