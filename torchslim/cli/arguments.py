"""The command line's words: every sub-command, its options and the help that explains them."""

from __future__ import annotations

import argparse
from pathlib import Path

_MAIN = """\
Fine-tune, evaluate and look at image classifiers written with torchslim.

A run lives in a directory (--logdir): checkpoints, TensorBoard events, and the options it was started
with, so that `evaluate` and `predict` need nothing but that directory.
"""
_MAIN_EXAMPLES = """\
example, on photographs that are drawn on the spot:
  torchslim finetune --net vgg_a --logdir runs/first --steps 20 --batch-size 4
  torchslim evaluate --logdir runs/first
  torchslim predict  --logdir runs/first
  torchslim inspect  runs/first

`torchslim COMMAND --help` explains the options of each.
"""
_FINETUNE = """\
Restores a net from a checkpoint, except for its classifiers, and trains it on a data set in Pascal VOC's
layout, with one sigmoid for each of the 20 classes. Prints the average precision (AP) of each class and
their mean (mAP) before and after; leaves checkpoints, TensorBoard events and options in --logdir.
Started again there, it goes on where it was. An auxiliary classifier's loss counts 0.4 times. The last step
computes the statistics of batch norms anew: their moving averages are too slow for a short training.
"""
_FINETUNE_EXAMPLES = """\
examples:
  a net of your own, on drawn photographs:
    torchslim finetune --net examples/small_vgg.py:small_vgg --weights examples/small_vgg.safetensors \\
        --names shapes=small_vgg --checkpoint-exclude-scopes fc6,fc7 --logdir runs/small --steps 400

  the real thing, from torchvision's ImageNet weights; the last layer, fc8, starts afresh:
    torchslim finetune --net vgg_16 --weights vgg16-397923af.pth --names torchvision/vgg16 \\
        --dataset pascal_voc --data-dir VOCdevkit --logdir runs/voc --steps 5000 --workers 8

  from TF-Slim's own weights; net, picture size and preprocessing belong together:
    torchslim finetune --net inception_v3 --weights inception_v3.ckpt \\
        --dataset pascal_voc --data-dir VOCdevkit --logdir runs/inception --steps 5000 --workers 8

  restore the convolutions only, train the rest only:
    torchslim finetune ... --checkpoint-exclude-scopes fc6,fc7,fc8 --trainable-scopes fc6,fc7,fc8
"""
_EVALUATE = """\
Computes the average precision (AP) of each class and their mean (mAP) for a written checkpoint, over one
list of photographs. Net, data and image size are those of the run in --logdir, where no option says
otherwise.
"""
_PREDICT = """\
Draws a grid of photographs, each over its predicted classes (green: right, red: wrong) and its true
ones, and writes it as a PNG. Net, data and image size are those of the run in --logdir, where no option
says otherwise.
"""
_INSPECT = """\
Lists the weights in a checkpoint: name, shape, type and bytes of every tensor, and the totals. Values
are not read, so it is quick however large the file. Or, by option: the values of one tensor, damage
(exit code 1 if there is some), or what differs in another checkpoint (exit code 1 if anything does).
"""
_CONVERT = """\
Writes the weights of a checkpoint in another format, without a model. From TensorFlow to PyTorch the
names become the keys of the model's state_dict and kernels are turned; optimizer slots, moving averages
and the global step are left out. What only the model can know is refused: `torchslim.checkpoints.convert`
says what that is, and what to do then.
"""
_CONVERT_EXAMPLES = """\
examples:
  torchslim convert inception_v3.ckpt inception_v3.safetensors
  torchslim convert runs/voc/model.ckpt-5000.safetensors voc.ckpt --names vgg_16=net
  torchslim convert vgg_16.ckpt vgg_16.safetensors --layout tf
"""

_RECORDS = """\
Works on TFRecord files, whether they are compressed or not.
"""
_RECORDS_EXAMPLES = """\
examples:
  torchslim records verify 'data/train-*'
  torchslim records index 'data/train-*'
  torchslim records cat data/train-00000-of-00008 --count 3
  torchslim records cat 'data/train-*' --skip-damaged --output whole.tfrecord
  torchslim records convert VOCdevkit records/voc --kind voc --split trainval --year 2007 --shards 8
  torchslim records convert flower_photos records/flowers --kind imagefolder --name flowers --shards 5

`torchslim records ACTION --help` explains the options of each.
"""
_MODELS = """\
Lists the networks, or prints what is known of one: its card, and each of its layers with the shape that it
gives, its parameters and its multiply-adds. Nothing is computed, so it is quick however large the network.
"""
_MODELS_EXAMPLES = """\
examples:
  torchslim models
  torchslim models resnet_v1_50
  torchslim models resnet_v1_50 --draw resnet.svg --depth 2
"""

_SCOPES = "SCOPE[,SCOPE...]"
_ANY_CHECKPOINT = (
    "TensorFlow's (its prefix or any of its files), .safetensors, .pt or .pth, or a run's directory: its newest"
)


class _Help(argparse.RawDescriptionHelpFormatter):
    """Paragraphs as they are written; each option with its default, where it has one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        shown = action.default is not None and action.default is not False and action.default != argparse.SUPPRESS
        return f"{action.help} (default: %(default)s)" if shown else action.help


def make_parser() -> argparse.ArgumentParser:
    """Makes the parser of the `torchslim` command.

    Returns:
        A parser whose result has `command`, the sub-command's name, beside that command's options.

    Example:
        >>> words = "finetune --logdir runs/a --trainable-scopes fc6,fc7"
        >>> args = make_parser().parse_args(words.split())
        >>> args.command, args.net, args.trainable_scopes
        ('finetune', 'vgg_16', ['fc6', 'fc7'])
    """
    parser = argparse.ArgumentParser("torchslim", description=_MAIN, epilog=_MAIN_EXAMPLES, formatter_class=_Help)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, summary: str, description: str, epilog: str = "") -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            help=summary,
            description=description,
            epilog=epilog,
            formatter_class=_Help,
            allow_abbrev=False,
        )

    _finetune(command("finetune", "train a restored net on a VOC data set", _FINETUNE, _FINETUNE_EXAMPLES))
    _evaluate(command("evaluate", "average precision of a checkpoint", _EVALUATE))
    _predict(command("predict", "draw what a checkpoint predicts", _PREDICT))
    _inspect(command("inspect", "list, check and compare the tensors of a checkpoint", _INSPECT))
    _convert(command("convert", "write a checkpoint in another format", _CONVERT, _CONVERT_EXAMPLES))
    _models(command("models", "list the networks; card, layers and drawing of one", _MODELS, _MODELS_EXAMPLES))
    _records(command("records", "check, index, show and make TFRecord files", _RECORDS, _RECORDS_EXAMPLES))
    return parser


def _finetune(parser: argparse.ArgumentParser) -> None:
    run = _add_run(parser, "net and data")
    run.set_defaults(net="vgg_16", dataset="sample_voc", year="2012")
    start = parser.add_argument_group("what is restored and trained")
    start.add_argument(
        "--weights",
        type=Path,
        help="checkpoint to start from: TensorFlow's, .safetensors, .pt, .pth, or a folder of them; none: from scratch",
    )
    start.add_argument(
        "--names",
        metavar="MAP",
        help="what the checkpoint calls things, if not what the net does: a known naming "
        "(torchvision/vgg16), or `THEIRS=OURS[,...]`, scopes in the checkpoint and in the net",
    )
    start.add_argument(
        "--checkpoint-exclude-scopes",
        type=_scopes,
        metavar=_SCOPES,
        help="scopes that start afresh: whole parts of names, `fc8` finds vgg_16/fc8; '' for none (default: the layers "
        "whose size is the number of classes)",
    )
    start.add_argument(
        "--trainable-scopes", type=_scopes, metavar=_SCOPES, help="the only scopes to train (default: all)"
    )
    training = parser.add_argument_group("training")
    training.add_argument("--steps", type=_positive, default=1000, help="gradient steps, over all starts of the run")
    training.add_argument(
        "--learning-rate", type=float, default=0.01, help="of SGD at first; it falls to 0 along a cosine"
    )
    training.add_argument("--momentum", type=float, default=0.9, help="of SGD")
    training.add_argument("--train-split", default="train", help="list of photographs to train on")
    training.add_argument("--log-every", type=_positive, default=50, metavar="STEPS", help="steps between log lines")
    training.add_argument("--seed", type=int, default=0, help="of initial values, order, crops and dropout")
    training.add_argument(
        "--precision",
        choices=["auto", "fp32", "bf16", "fp16"],
        default="auto",
        help="in which the layers compute; auto: bf16 where the hardware does",
    )
    _add_machine(parser, batch_size=32)


def _evaluate(parser: argparse.ArgumentParser) -> None:
    _add_run(parser, "run")
    _add_checkpoint(parser)
    parser.add_argument(
        "--plots",
        action="store_true",
        help="draw precision-recall curves and which class is taken for which: PNGs in `eval/` in --logdir, and "
        "pictures in TensorBoard; needs matplotlib (pip install 'torchslim[plots]')",
    )
    _add_machine(parser, batch_size=64)


def _predict(parser: argparse.ArgumentParser) -> None:
    _add_run(parser, "run")
    _add_checkpoint(parser)
    picture = parser.add_argument_group("picture")
    picture.add_argument("--count", type=_positive, default=12, help="photographs in the grid")
    picture.add_argument("--threshold", type=float, default=0.5, help="probability from which a class is predicted")
    picture.add_argument("--output", type=Path, help="the PNG to write (default: predictions.png in --logdir)")
    _add_machine(parser, batch_size=64)


def _inspect(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", type=Path, help=_ANY_CHECKPOINT)
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--tensor", metavar="NAME", help="statistics and first values of this tensor")
    instead.add_argument("--verify", action="store_true", help="read everything, and list the tensors that are damaged")
    instead.add_argument("--diff", type=Path, metavar="OTHER", help="compare with this checkpoint")


def _convert(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", type=Path, help=_ANY_CHECKPOINT)
    parser.add_argument(
        "output",
        type=Path,
        help="what to write: .safetensors, .pt, .pth, or the prefix of a TensorFlow checkpoint, with .ckpt in it",
    )
    parser.add_argument("--names", type=_renames, metavar="THEIRS=OURS[,...]", help="scopes, and what to call them")
    parser.add_argument(
        "--layout",
        choices=["torch", "tf"],
        help="of names and kernels in the output (default: torch; tf for a TensorFlow checkpoint)",
    )


def _models(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", help="of a network (default: all are listed)")
    parser.add_argument("--num-classes", type=_positive, metavar="N", help="build it for so many (default: the card's)")
    parser.add_argument(
        "--image-size", type=_positive, metavar="PIXELS", help="side of the pictures (default: the card's)"
    )
    parser.add_argument("--draw", type=Path, metavar="FILE.svg", help="draw it, scopes as boxes")
    parser.add_argument(
        "--depth", type=int, metavar="N", help="in the drawing, so many boxes inside each other (default: all)"
    )


def _records(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    def action(name: str, summary: str) -> argparse.ArgumentParser:
        added = actions.add_parser(name, help=summary, description=summary, allow_abbrev=False)
        if name != "convert":
            added.add_argument("files", nargs="+", metavar="FILES", help="paths, or patterns in quotes: 'data/train-*'")
        return added

    action("verify", "Read everything, and list the records that are damaged (exit code 1 if there are some).")
    action("index", "Keep an index beside each file, so that random access starts at once.")
    cat = action("cat", "Print what is in the records, or write them into one file.")
    cat.add_argument("--count", type=int, default=10, help="records to print (default: %(default)s; -1: all)")
    cat.add_argument("--sequences", action="store_true", help="they are SequenceExamples, not Examples")
    cat.add_argument("--skip-damaged", action="store_true", help="leave out what is damaged")
    cat.add_argument("--output", type=Path, metavar="FILE", help="write all records into this file instead")
    convert = action("convert", "Write pictures and what they show as records, in TF-Slim's schema.")
    convert.add_argument("source", type=Path, help="folder of the pictures: a VOCdevkit, or one folder for each class")
    convert.add_argument("output", type=Path, help="folder to write the records into")
    convert.add_argument("--kind", choices=["voc", "imagefolder"], required=True, help="how SOURCE is laid out")
    convert.add_argument("--split", help="list or folder of the split (default: train; for folders: none)")
    convert.add_argument("--year", default="2012", help="which VOC<year> (default: %(default)s)")
    convert.add_argument("--name", help="first part of the files' names (default: pascal_voc, or images)")
    convert.add_argument("--shards", type=int, default=1, help="number of files (default: %(default)s)")
    for writing in (cat, convert):
        writing.add_argument("--compression", choices=["GZIP", "ZLIB"], help="of what is written (default: none)")


def _add_run(parser: argparse.ArgumentParser, title: str) -> argparse.ArgumentParser:
    """What a run's directory remembers; there are defaults for `finetune` only."""
    group = parser.add_argument_group(title)
    group.add_argument("--logdir", type=Path, required=True, help="the run's directory: checkpoints, events, options")
    group.add_argument(
        "--net",
        help="a network by its name (`torchslim models` lists them), or `path/to/file.py:function`: a slim function of "
        "your own that takes (images, num_classes, is_training) and gives logits, or (logits, end_points)",
    )
    group.add_argument(
        "--image-size",
        type=_positive,
        metavar="PIXELS",
        help="side of the square pictures that the net gets; photographs are squeezed into it whole, and in "
        "training, by the preprocessings vgg and torchvision, enlarged and cropped at random (finetune's default: the "
        "net's own)",
    )
    group.add_argument(
        "--preprocessing",
        metavar="NAME",
        help="how colours are scaled, and changed in training: vgg, inception, torchvision, cifarnet, lenet, or a net "
        "(finetune's default: torchvision with --names torchvision/..., or the net's own; vgg for one of yours)",
    )
    group.add_argument(
        "--dataset",
        choices=["sample_voc", "pascal_voc"],
        help="pascal_voc: photographs on disk; sample_voc: drawn ones in the same layout, made where missing",
    )
    group.add_argument(
        "--data-dir",
        type=Path,
        help="folder of the data: a VOCdevkit or what holds it (sample_voc's default: data/sample_voc)",
    )
    group.add_argument("--year", help="which VOC<year> of the folder")
    group.add_argument("--eval-split", default="val", help="list of photographs to evaluate on")
    return parser


def _add_checkpoint(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint", type=Path, help="a checkpoint file (default: the newest in --logdir)")


def _add_machine(parser: argparse.ArgumentParser, batch_size: int) -> None:
    group = parser.add_argument_group("machine")
    group.add_argument("--batch-size", type=_positive, default=batch_size, help="photographs at a time")
    group.add_argument("--device", default="auto", help="auto (CUDA where there is one), cpu, cuda, cuda:1, ...")
    group.add_argument(
        "--workers", type=int, default=0, metavar="N", help="processes that read and prepare photographs"
    )


def _scopes(text: str) -> list[str]:
    return [scope.strip() for scope in text.split(",") if scope.strip()]


def _renames(text: str) -> dict[str, str]:
    pairs = [scope.partition("=") for scope in _scopes(text)]
    if not all(equals for _, equals, _ in pairs):
        raise argparse.ArgumentTypeError(f"must be THEIRS=OURS, scopes there and here. Got {text!r}.")
    return {theirs: ours for theirs, _, ours in pairs}


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"must be a positive whole number. Got {text!r}.")
    return int(text)
