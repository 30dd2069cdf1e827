"""Restoring VGG16 (553 MB) from each format, against PyTorch's own way and against plainly reading the bytes.

    python benchmarks/checkpoints.py [--rounds 7] [--width 1.0] [--tensorflow-python PATH] [--write results/NAME.md]

All of it takes turns in one process, with the files in the page cache; medians. "plain read" is one `readinto` of all;
"+ layout" adds turning every kernel once, which is the least that a restore from TensorFlow's layout has to do.
Memory: the peak of what the process allocates beyond model and files, each in a process of its own.
`--tensorflow-python` names a Python that has TensorFlow: its own restore of the same files.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import torch

import torchslim as slim
from torchslim.checkpoints.tensorflow.messages import SavedTensorSlices
from torchslim.checkpoints.tensorflow.ordered_code import encode_slice_key
from torchslim.checkpoints.tensorflow.table_writer import TableWriter, encode_varint
from torchslim.nets import vgg

FILES = {"V2": "v2.ckpt", "V1": "v1.ckpt", "safetensors": "a.safetensors", "pt": "a.pt"}
ROWS = {
    "V2": "slim.restore, TensorFlow V2",
    "V1": "slim.restore, TensorFlow V1",
    "safetensors": "slim.restore, .safetensors",
    "pt": "torch.load(mmap) + load_state_dict",
}
_TENSORFLOW = """
import sys, time, statistics, tensorflow as tf
path, rounds = sys.argv[1], int(sys.argv[2])
v1 = tf.compat.v1
with tf.Graph().as_default(), v1.Session() as session:
    shapes = tf.train.load_checkpoint(path).get_variable_to_shape_map()
    variables = [v1.get_variable(name, shape, use_resource=True) for name, shape in shapes.items()]
    session.run(v1.global_variables_initializer())
    saver, times = v1.train.Saver(variables), []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        saver.restore(session, path)
        times.append(time.perf_counter() - start)
print(statistics.median(times[1:]))
"""


def build(width: float, device: str) -> torch.nn.Module:
    """VGG16, or a narrower one."""

    def net(images: slim.Symbol) -> slim.Symbol:
        if width == 1:
            return vgg.vgg_16(images, 1000)[0]
        net = images
        with slim.variable_scope("vgg_16"):
            for block, channels in enumerate((64, 128, 256, 512, 512), 1):
                net = slim.repeat(net, 2, slim.conv2d, max(int(channels * width), 1), [3, 3], scope=f"conv{block}")
                net = slim.max_pool2d(net, [2, 2], scope=f"pool{block}")
            return slim.conv2d(net, max(int(4096 * width), 1), [7, 7], padding="VALID", scope="fc6")

    with torch.device(device):
        return slim.build(net, torch.empty(1, 3, 224, 224))


def write_v1(path: Path, variables: Iterable[slim.Variable]) -> None:
    """A V1 file, which torchslim itself only reads: a list of the tensors, then each as one slice."""
    ordered = sorted(variables, key=lambda variable: encode_slice_key(variable.op.name, _full(variable)))
    listed = [
        {
            "name": variable.op.name,
            "type": 1,
            "shape": {"dim": [{"size": size} for size in variable.tf_shape]},
            "slice": [{"extent": [{} for _ in variable.tf_shape]}],
        }
        for variable in ordered
    ]
    with path.open("wb") as file:
        table = TableWriter(file)
        table.add(b"", SavedTensorSlices(meta={"tensor": listed}).SerializeToString())
        for variable in ordered:
            values = variable.to_tf(variable.tensor.detach()).contiguous().numpy().tobytes()
            proto = _field(5, values)  # TensorProto.float_val
            name = _field(1, variable.op.name.encode())
            table.add(encode_slice_key(variable.op.name, _full(variable)), _field(2, name + _field(3, proto)))
        table.finish()


def _full(variable: slim.Variable) -> list[tuple[int, int]]:
    return [(0, -1)] * len(variable.tf_shape)


def _field(number: int, content: bytes) -> bytes:
    return encode_varint(number << 3 | 2) + encode_varint(len(content)) + content


def write_all(folder: Path, width: float) -> None:
    """The same weights in every format."""
    model = build(width, "cpu")
    slim.checkpoints.save_tf(model, folder / FILES["V2"])
    write_v1(folder / FILES["V1"], slim.get_variables(module=model))
    slim.checkpoints.save(folder / FILES["safetensors"], model.state_dict())
    torch.save(model.state_dict(), folder / FILES["pt"])


def restore(model: torch.nn.Module, folder: Path, kind: str) -> None:
    """Fills `model`, which may be under meta."""
    path = folder / FILES[kind]
    if kind == "pt":
        meta = next(model.parameters()).is_meta
        model.load_state_dict(torch.load(path, mmap=True, weights_only=True), assign=meta)
    else:
        slim.restore(model, path)


def plain_read(folder: Path, buffer: bytearray) -> None:
    """All bytes of the data, into memory that is there already."""
    with (folder / f"{FILES['V2']}.data-00000-of-00001").open("rb") as file:
        file.readinto(buffer)


def turn_all(model: torch.nn.Module, turned: list[torch.Tensor]) -> None:
    """One change of layout: every kernel is copied once, into memory that is there already."""
    for variable, target in zip(slim.get_variables(module=model), turned, strict=True):
        target.copy_(variable.to_tf(variable.tensor.detach()))


def medians(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Seconds a call, the calls taking turns; the first round warms up."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if turn:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def peak_memory(folder: Path, kind: str, width: float) -> tuple[float, float]:
    """Bytes allocated by a restore into a model that is there, and bytes of the model, in a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak_memory, (folder, kind, width))


def _peak_memory(folder: Path, kind: str, width: float) -> tuple[float, float]:
    model = build(width, "cpu")
    before, peak, done = _anonymous(), 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.0005):
            peak = max(peak, _anonymous())

    watcher = threading.Thread(target=watch)
    watcher.start()
    restore(model, folder, kind)
    done.set()
    watcher.join()
    return max(peak, _anonymous()) - before, sum(tensor.nbytes for tensor in model.state_dict().values())


def _anonymous() -> int:
    """Bytes that the process has allocated: mapped files do not count, they can always be dropped."""
    return int(Path("/proc/self/status").read_text().split("RssAnon:")[1].split()[0]) * 1024


def compare(folder: Path, rounds: int, width: float, tensorflow: str | None) -> str:
    """The tables, in Markdown."""
    write_all(folder, width)
    model = build(width, "cpu")
    size = (folder / f"{FILES['V2']}.data-00000-of-00001").stat().st_size
    buffer = bytearray(size)
    turned = [torch.empty(variable.tf_shape) for variable in slim.get_variables(module=model)]
    calls: dict[str, Callable[[], object]] = {
        "plain read": lambda: plain_read(folder, buffer),
        "layout": lambda: turn_all(model, turned),
    }
    for kind, name in ROWS.items():
        calls[name] = lambda kind=kind: restore(model, folder, kind)  # type: ignore[misc]
        calls[f"{name}, built under meta"] = lambda kind=kind: restore(build(width, "meta"), folder, kind)  # type: ignore[misc]
    calls["(building under meta)"] = lambda: build(width, "meta")
    seconds = medians(calls, rounds)
    least = seconds["plain read"] + seconds["layout"]
    lines = [
        f"# Restoring {size / 1e6:.0f} MB, {torch.get_num_threads()} threads, torch {torch.__version__}\n",
        "| | s | / plain read | / (plain read + layout) |",
        "| --- | --- | --- | --- |",
    ]
    for name, value in seconds.items():
        lines.append(f"| {name} | {value:.3f} | {value / seconds['plain read']:.2f} | {value / least:.2f} |")
    lines += ["", "| | allocated beyond the model (MB) | the model (MB) |", "| --- | --- | --- |"]
    for kind, name in ROWS.items():
        peak, weights = peak_memory(folder, kind, width)
        lines.append(f"| {name} | {peak / 1e6:.1f} | {weights / 1e6:.1f} |")
    if tensorflow:
        lines += ["", "| | TensorFlow's restore (s) | torchslim's / TensorFlow's |", "| --- | --- | --- |"]
        for kind in ("V2", "V1"):
            command = [tensorflow, "-c", _TENSORFLOW, str(folder / FILES[kind]), str(rounds)]
            theirs = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])
            lines.append(f"| {kind} | {theirs:.3f} | {seconds[ROWS[kind]] / theirs:.2f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Parses the command line, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--width", type=float, default=1.0, help="of the net; small for a quick look")
    parser.add_argument("--tensorflow-python", help="a Python that has TensorFlow")
    parser.add_argument("--write", type=Path, help="write the tables there, too")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        text = compare(Path(folder), args.rounds, args.width, args.tensorflow_python)
    print(text)
    if args.write:
        args.write.write_text(text)


if __name__ == "__main__":
    main()
