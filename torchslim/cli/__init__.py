"""The `torchslim` command and its sub-commands; `torchslim --help` explains them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from torchslim.cli import convert, evaluate, finetune, inspect, models, predict, records
from torchslim.cli.arguments import make_parser
from torchslim.data import DataError

__all__ = ["main"]

_COMMANDS: dict[str, Callable[[argparse.Namespace], object]] = {
    "convert": convert.convert,
    "evaluate": evaluate.evaluate,
    "finetune": finetune.finetune,
    "inspect": inspect.inspect,
    "models": models.models,
    "predict": predict.predict,
    "records": records.records,
}


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
        result = _COMMANDS[args.command](args)
    except KeyboardInterrupt:
        return 130
    # What the library raises for bad input, files and data; the message says it all. The rest are defects.
    except (ValueError, OSError, DataError, FloatingPointError, ModuleNotFoundError) as error:
        if args.debug:
            raise
        print(f"torchslim {args.command}: {error}", file=sys.stderr)
        return 2
    return result if isinstance(result, int) else 0
