"""The command line's words: every sub-command, its options and the help that explains them."""

from __future__ import annotations

import argparse
from pathlib import Path

_MAIN = """Fine-tune, evaluate and look at image classifiers written with torchslim.

A run lives in a directory (--logdir): checkpoints, TensorBoard events and the options it was started with,
so that `evaluate` and `predict` need nothing but that directory."""

_FINETUNE = """Restores a net from a checkpoint, except for its head, and trains it on a Pascal VOC data set with one
sigmoid per class (a photograph may show several). Prints the average precision of each class and the mean (mAP) before
and after; leaves checkpoints and TensorBoard events in --logdir. Started again on the same --logdir, it resumes."""

_FINETUNE_EXAMPLES = """examples:
  drawn photographs, made on the spot, and a net of your own:
    torchslim finetune --net examples/small_vgg.py:small_vgg --weights examples/small_vgg.safetensors \\
        --image-size 96 --logdir runs/demo --steps 300
  the real thing, from torchvision's ImageNet weights (fc8 is trained afresh):
    torchslim finetune --net vgg_16 --weights vgg16-397923af.pth --names torchvision/vgg16 \\
        --dataset pascal_voc --data-dir VOCdevkit --logdir runs/voc --steps 5000 --learning-rate 0.001
  only the convolutions restored, only the fully connected layers trained:
    torchslim finetune ... --checkpoint-exclude-scopes fc6,fc7,fc8 --trainable-scopes fc6,fc7,fc8"""

_EVALUATE = """Computes the average precision of each class and the mean (mAP) of a written checkpoint over one split.
Net, data set and image size are those of the run in --logdir, unless an option here says otherwise."""

_PREDICT = """Draws a grid of photographs, each with its predicted classes (green: right, red: wrong) and its true ones,
and writes it as a PNG."""

_INSPECT = """Lists what a checkpoint holds: name, shape, dtype and bytes of every tensor, and the totals.
Reads names and shapes only, so it is quick however large the file."""


class _Formatter(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """Paragraphs as they are written; every option with its default."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default in (None, False) else super()._get_help_string(action)


def make_parser() -> argparse.ArgumentParser:
    """Makes the parser of the `torchslim` command.

    Returns:
        A parser whose result has `command`, the sub-command's name, beside that command's options.

    Example:
        >>> args = make_parser().parse_args(["finetune", "--logdir", "runs/demo", "--trainable-scopes", "fc6,fc7"])
        >>> args.command, args.net, args.trainable_scopes
        ('finetune', 'vgg_16', ['fc6', 'fc7'])
    """
    parser = argparse.ArgumentParser(prog="torchslim", description=_MAIN, formatter_class=_Formatter)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_finetune(commands)
    _add_evaluate(commands)
    _add_predict(commands)
    _add_inspect(commands)
    return parser


def _scopes(text: str) -> list[str]:
    return [scope.strip() for scope in text.split(",") if scope.strip()]


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"must be a positive whole number. Got {text!r}.")
    return int(text)


def _add_command(commands: argparse._SubParsersAction, name: str, summary: str, text: str, epilog: str = ""):
    return commands.add_parser(
        name, help=summary, description=text, epilog=epilog, formatter_class=_Formatter, allow_abbrev=False
    )


def _add_run_options(parser: argparse.ArgumentParser, *, defaults: bool) -> None:
    """The options that `finetune` records in the run's directory and that the other commands read from there."""
    inherited = "" if defaults else " (default: the run's)"
    group = parser.add_argument_group("what is run")
    group.add_argument(
        "--logdir",
        type=Path,
        required=True,
        help="the run's directory: checkpoints, events, options",
    )
    group.add_argument(
        "--net",
        default="vgg_16" if defaults else None,
        help="vgg_a, vgg_16, vgg_19, or `path/to/file.py:function`, a slim function of your own "
        "taking (images, num_classes, is_training) and returning logits or (logits, end_points)" + inherited,
    )
    group.add_argument(
        "--image-size",
        type=_positive,
        help="side of the square pictures that the net gets, in pixels "
        + ("(default: the net's own `default_image_size`)" if defaults else "(default: the run's)"),
    )
    group.add_argument(
        "--dataset",
        choices=["sample_voc", "pascal_voc"],
        default="sample_voc" if defaults else None,
        help="sample_voc: drawn photographs in VOC's layout, made where they are not there yet; "
        "pascal_voc: VOC's own" + inherited,
    )
    group.add_argument(
        "--data-dir",
        type=Path,
        help="the data set's folder: for pascal_voc the VOCdevkit (or a VOC20xx in it)" + inherited,
    )
    group.add_argument("--year", default="2012" if defaults else None, help="which VOC20xx of a VOCdevkit" + inherited)


def _add_machine_options(parser: argparse.ArgumentParser, batch_size: int) -> None:
    group = parser.add_argument_group("how it runs")
    group.add_argument("--batch-size", type=_positive, default=batch_size, help="photographs per step")
    group.add_argument("--device", default="auto", help="auto (CUDA where there is one), cpu, cuda, cuda:1, ...")
    group.add_argument(
        "--precision",
        choices=["auto", "fp32", "bf16", "fp16"],
        default="auto",
        help="arithmetic of the layers; auto: bf16 where the hardware has it, else fp32",
    )
    group.add_argument("--workers", type=int, default=0, help="processes that read and prepare photographs")


def _add_finetune(commands: argparse._SubParsersAction) -> None:
    parser = _add_command(
        commands, "finetune", "train a restored net on a VOC data set", _FINETUNE, _FINETUNE_EXAMPLES
    )
    _add_run_options(parser, defaults=True)
    group = parser.add_argument_group("what is restored and trained")
    group.add_argument("--weights", type=Path, help="checkpoint to start from (.safetensors, .pt, .pth); none: from scratch")
    group.add_argument(
        "--names",
        help="how the checkpoint names things: a known map (torchvision/vgg16), or `OURS=THEIRS`: "
        "the net's scope and the checkpoint's (default: the same names)",
    )
    group.add_argument(
        "--checkpoint-exclude-scopes",
        type=_scopes,
        metavar="SCOPE[,SCOPE...]",
        help="scopes that start afresh: whole path components, anywhere in the name (default: the last layer)",
    )
    group.add_argument(
        "--trainable-scopes",
        type=_scopes,
        metavar="SCOPE[,SCOPE...]",
        help="train these scopes only (default: all)",
    )
    group = parser.add_argument_group("training")
    group.add_argument("--train-split", default="train", help="list of photographs to train on")
    group.add_argument("--eval-split", default="val", help="list of photographs to evaluate on")
    group.add_argument("--steps", type=_positive, default=1000, help="gradient steps in all")
    group.add_argument("--learning-rate", type=float, default=0.01, help="of SGD; falls to 0 along a cosine")
    group.add_argument("--momentum", type=float, default=0.9, help="of SGD")
    group.add_argument("--log-every", type=_positive, default=50, help="steps between lines of progress")
    group.add_argument("--seed", type=int, default=0, help="of the head's initial values, shuffling and dropout")
    _add_machine_options(parser, batch_size=32)


def _add_evaluate(commands: argparse._SubParsersAction) -> None:
    parser = _add_command(commands, "evaluate", "average precision of a checkpoint", _EVALUATE)
    _add_run_options(parser, defaults=False)
    parser.add_argument("--checkpoint", type=Path, help="a checkpoint file (default: the newest in --logdir)")
    parser.add_argument("--eval-split", default="val", help="list of photographs")
    _add_machine_options(parser, batch_size=64)


def _add_predict(commands: argparse._SubParsersAction) -> None:
    parser = _add_command(commands, "predict", "draw predictions on photographs", _PREDICT)
    _add_run_options(parser, defaults=False)
    parser.add_argument("--checkpoint", type=Path, help="a checkpoint file (default: the newest in --logdir)")
    parser.add_argument("--eval-split", default="val", help="list of photographs")
    parser.add_argument("--count", type=_positive, default=12, help="photographs in the grid")
    parser.add_argument("--threshold", type=float, default=0.5, help="probability from which a class counts as predicted")
    parser.add_argument("--output", type=Path, help="the PNG to write (default: predictions.png in --logdir)")
    _add_machine_options(parser, batch_size=64)


def _add_inspect(commands: argparse._SubParsersAction) -> None:
    parser = _add_command(commands, "inspect", "list a checkpoint's tensors", _INSPECT)
    parser.add_argument("checkpoint", type=Path, help="a .safetensors, .pt or .pth file, or a run's directory (its newest)")
