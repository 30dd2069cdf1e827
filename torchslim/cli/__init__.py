"""The `torchslim` command and its sub-commands; `torchslim --help` explains them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from torchslim.cli.arguments import make_parser
from torchslim.data import DataError

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the `torchslim` command.

    Args:
        arguments: the words after `torchslim`; default: those of the process.

    Returns:
        The exit code: 0, 1 if `inspect` finds damage or a difference, 2 for bad input (one line on stderr says what is
        wrong), 130 after Ctrl-C.

    Example:
        >>> main(["inspect", "no_such_file.safetensors"])
        2
    """
    args = make_parser().parse_args(arguments)
    try:
        # `torchslim models` is the function `models` of the module `models`, which alone is imported.
        result = getattr(importlib.import_module(f"torchslim.cli.{args.command}"), args.command)(args)
    except KeyboardInterrupt:
        return 130
    # What the library raises for bad input, files and data; the message says it all. The rest are defects.
    except (ValueError, OSError, DataError, FloatingPointError, ModuleNotFoundError) as error:
        if args.debug:
            raise
        print(f"torchslim {args.command}: {error}", file=sys.stderr)
        return 2
    return result if isinstance(result, int) else 0
