"""Reading records, and making batches of pictures, beside what one would use instead: one run, in turns, medians.

    python benchmarks/data.py [--tensorflow ENVIRONMENT/bin/python] [--images 320] [--rounds 5] [--write NAME.md]

1. Records a second, of three sizes, on one core: torchslim's readers, a plain loop with `struct` and the same checksum,
   the package tfrecord where it is installed (`pip install tfrecord`; it compares no checksums), and tf.data.
2. Pictures a second: JPEG, VGG's training preprocessing, batches of 32; on one core without workers, and on two with
   two workers. From records and from folders; beside torchvision's transforms in a DataLoader, and tf.data.
3. Memory of the process and its workers over ten passes. It must stay where it is.
4. The part of a step in which `slim.learning.train` waits for data, as its own line tells it.

The pictures are drawn, as large as those of Pascal VOC. What makes batches of them runs in a process of its own on the
same cores, TensorFlow with as many threads. What is on one core is measured in seconds of the processor, so other
processes disturb it little.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib.util
import io
import logging
import multiprocessing
import os
import platform
import random
import statistics
import struct
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from crc32c import crc32c
from torch import nn
from torchvision.io import ImageReadMode, decode_image, encode_jpeg
from torchvision.transforms import v2

import torchslim as slim
from torchslim.data import RecordReader, RecordWriter
from torchslim.data.parallel_reader import parallel_read
from torchslim.datasets import ImageFolder, flowers
from torchslim.datasets.record_conversion import convert_image_folder
from torchslim.preprocessing import get_preprocessing
from torchslim.preprocessing.vgg_preprocessing import RGB_MEANS

BATCH, SIDE = 32, 224
RECORDS = {"200 B": (200, 50_000), "2 kB": (2_000, 20_000), "60 kB": (60_000, 1_500)}  # size, number of them
NOT_COMPARED = ("torchslim", "plain loop", "tfrecord, no checksums")
# One pass: how many things there were, seconds of the processor and of the clock.
Pass = Callable[[], tuple[int, float, float]]

TENSORFLOW = """
import os, sys, time
os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1")
import tensorflow as tf
threads, options = int(sys.argv[1]), tf.data.Options()
options.threading.private_threadpool_size = threads
options.threading.max_intra_op_parallelism = 1
tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(threads)

def prepare(encoded, label):
    image = tf.io.decode_jpeg(encoded, 3, dct_method="INTEGER_ACCURATE")
    size = tf.cast(tf.shape(image)[:2], tf.float32)
    side = tf.cast(tf.random.uniform([], 256, 513, tf.int32), tf.float32)
    size = tf.cast(tf.round(size * side / tf.reduce_min(size)), tf.int32)
    image = tf.compat.v1.image.resize_bilinear(image[None], size)[0]
    image = tf.image.random_flip_left_right(tf.image.random_crop(image, [224, 224, 3]))
    return image - [123.68, 116.78, 103.94], label

def from_record(record):
    features = {"image/encoded": tf.io.FixedLenFeature([], tf.string),
                "image/class/label": tf.io.FixedLenFeature([], tf.int64)}
    parsed = tf.io.parse_single_example(record, features)
    return prepare(parsed["image/encoded"], parsed["image/class/label"])

def from_file(path):
    return prepare(tf.io.read_file(path), 0)

def make(what, path):
    if what == "folder":
        dataset = tf.data.Dataset.list_files(path, shuffle=True)
    else:
        dataset = tf.data.TFRecordDataset(path)
    if what == "records in batches":
        dataset = dataset.batch(256)
    elif what != "records":
        dataset = dataset.shuffle(256).map(from_file if what == "folder" else from_record, threads).batch(32)
        dataset = dataset.prefetch(2) if threads > 1 else dataset
    return dataset.with_options(options)

made = {}
print("ready", flush=True)
for line in sys.stdin:
    what, path = line.rstrip("\\n").split("\\t")
    dataset, count = made.setdefault(line, make(what, path)), 0
    wall, cpu = time.perf_counter(), time.process_time()
    for element in dataset:
        count += 1 if what == "records" else len(element[1] if isinstance(element, tuple) else element)
    print(count, time.process_time() - cpu, time.perf_counter() - wall, flush=True)
"""


@contextlib.contextmanager
def tensorflow(python: str | None, threads: int) -> Iterator[Callable[[str, Path | str], Pass] | None]:
    """Makes passes of TensorFlow in a process of its own; None without TensorFlow."""
    if python is None:
        yield None
        return
    command = [python, "-c", TENSORFLOW, str(threads)]
    with subprocess.Popen(command, stdin=-1, stdout=-1, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise RuntimeError(f"{python} has no TensorFlow that works.")

        def ask(what: str, path: Path | str) -> tuple[int, float, float]:
            print(what, path, sep="\t", file=process.stdin, flush=True)
            count, cpu, wall = process.stdout.readline().split()
            return int(count), float(cpu), float(wall)

        try:
            yield lambda what, path: functools.partial(ask, what, path)
        finally:
            process.kill()  # workers have its input open too, so closing that would not end it


def one_pass(things: Callable[[], Iterable[Any]], many: Callable[[Any], int] = lambda thing: 1) -> Pass:
    """A pass over an iterable that is made anew for it; `many`: how many an element of it counts for."""

    def run() -> tuple[int, float, float]:
        wall, cpu = time.perf_counter(), time.process_time()
        count = sum(map(many, things()))
        return count, time.process_time() - cpu, time.perf_counter() - wall

    return run


def serve(connection: Connection, make: Callable[[], Callable[[], Iterable[Any]]]) -> None:
    """Passes over batches, one whenever it is asked for."""
    torch.set_num_threads(1)
    multiprocessing.set_start_method("fork", force=True)  # for workers, as if this were the only process
    warnings.filterwarnings("ignore", module="tfrecord")
    run = one_pass(make(), lambda batch: len(batch[1]))
    with contextlib.suppress(EOFError):  # nobody asks any more
        while connection.recv():
            connection.send(run())


@contextlib.contextmanager
def own_process(make: Callable[[], Callable[[], Iterable[Any]]]) -> Iterator[Pass]:
    """Passes in a process of their own: what memory one side has had from the system is quicker for the next."""
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    process = spawn.Process(target=serve, args=(there, make))
    process.start()
    there.close()  # so that this process sees the other end

    def ask() -> tuple[int, float, float]:
        here.send(True)
        return here.recv()

    try:
        yield ask
    finally:
        here.close()
        process.join()


def rates(sides: dict[str, Pass], rounds: int, clock: bool) -> dict[str, float]:
    """Things a second, of the clock or of the processor; the sides take turns, the first of which warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds + 1):
        for name, run in sides.items():
            count, cpu, wall = run()
            if turn:
                seconds[name].append((wall if clock else cpu) / count)
    return {name: 1 / statistics.median(found) for name, found in seconds.items()}


def table(title: str, columns: dict[str, dict[str, float]], unit: str) -> str:
    """A table in Markdown: a row for each side; below, torchslim's best over the best of the others that do as much."""
    names = list(dict.fromkeys(name for column in columns.values() for name in column))
    lines = [f"## {title}", "", f"| {unit} | {' | '.join(columns)} |", "| --- |" + " ---: |" * len(columns)]
    for name in names:
        cells = [f"{column[name]:,.0f}" if name in column else "" for column in columns.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    ratios = []
    for column in columns.values():
        ours = max(rate for name, rate in column.items() if name.startswith("torchslim"))
        others = [rate for name, rate in column.items() if not name.startswith(NOT_COMPARED)]
        ratios.append(f"{ours / max(others):.2f}" if others else "")
    lines.append(f"| **torchslim over the best other** | {' | '.join(ratios)} |")
    return "\n".join(lines) + "\n"


def plain_loop(path: Path) -> Iterator[bytes]:
    """What reading records takes at least in Python, checksums included."""

    def matches(data: bytes, checksum: int) -> bool:
        found = crc32c(data)
        return ((found >> 15 | found << 17) + 0xA282EAD8) & 0xFFFFFFFF == checksum

    with open(path, "rb") as file:
        while header := file.read(12):
            length, checksum = struct.unpack("<QI", header)
            if not matches(header[:8], checksum):
                raise ValueError("The length is damaged.")
            data = file.read(length)
            if not matches(data, struct.unpack("<I", file.read(4))[0]):
                raise ValueError("The data are damaged.")
            yield data


def at_random(reader: RecordReader) -> Iterator[bytes]:
    """All records by their numbers."""
    order = list(range(len(reader)))
    random.shuffle(order)
    return (reader[index] for index in order)


def records(folder: Path, rounds: int, tensorflow_python: str | None) -> str:
    """Part 1."""
    columns = {}
    with tensorflow(tensorflow_python, 1) as ask:
        for title, (size, count) in RECORDS.items():
            path = folder / f"{size}.tfrecord"
            with RecordWriter(path) as writer:
                for number in range(count):
                    writer.write(os.urandom(size - number % 40))
            reader = RecordReader(path)
            sides = {
                "torchslim, in order": one_pass(functools.partial(RecordReader, path)),
                "torchslim, at random": one_pass(functools.partial(at_random, reader)),
                "torchslim, `parallel_read`": one_pass(
                    functools.partial(parallel_read, path, RecordReader, num_epochs=1)
                ),
                "plain loop": one_pass(functools.partial(plain_loop, path)),
            }
            if importlib.util.find_spec("tfrecord"):
                from tfrecord.reader import tfrecord_iterator

                sides["tfrecord, no checksums"] = one_pass(functools.partial(tfrecord_iterator, str(path)))
            if ask:
                sides["tf.data, one by one"] = ask("records", path)
                sides["tf.data, batches of 256"] = ask("records in batches", path)
            columns[title] = rates(sides, rounds, clock=False)
    return table("Reading records, one core", columns, "records a second")


def draw(folder: Path, count: int) -> None:
    """Pictures of 375 x 500 pixels in two folders: smooth, with some noise, of 60 kB."""
    for number in range(count):
        path = folder / "abc"[number % 3] / f"{number:04d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = torch.rand(1, 3, 12, 16)
        picture = 255 * nn.functional.interpolate(coarse, (375, 500), mode="bicubic")[0]
        picture += 8 * torch.randn_like(picture)
        path.write_bytes(encode_jpeg(picture.clamp(0, 255).byte(), 90).numpy().tobytes())


def slim_batches(dataset: Any, workers: int) -> Callable[[], Iterable[Any]]:
    """Batches as torchslim's users make them: of a data set's Symbols."""
    with slim.Graph() as graph:
        provider = slim.dataset_data_provider.DatasetDataProvider(dataset)
        image, label = provider.get(["image", "label"])
        image = get_preprocessing("vgg_16", is_training=True)(image, SIDE, SIDE)
        symbols = slim.data.batch([image, label], BATCH, num_workers=workers)
    return lambda: graph.batches(symbols)


def torchvision_batches(folder: Path, workers: int, pillow: bool) -> Callable[[], Iterable[Any]]:
    """Batches as torchvision's users make them, with the same operations."""
    transform = torchvision_transform(*([v2.ToImage()] if pillow else []))
    options = {} if pillow else {"loader": functools.partial(decode_image, mode=ImageReadMode.RGB)}
    dataset = torchvision.datasets.ImageFolder(str(folder), transform, **options)
    loader = torch.utils.data.DataLoader(
        dataset, BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0
    )
    return lambda: loader


def torchvision_transform(*after_crop: nn.Module) -> v2.Compose:
    """VGG's training preprocessing of torchvision's parts."""
    crop = [v2.RandomResize(256, 513), v2.RandomCrop(SIDE), v2.RandomHorizontalFlip(), *after_crop]
    return v2.Compose([*crop, v2.ToDtype(torch.float32), v2.Normalize(RGB_MEANS, [1.0, 1.0, 1.0])])


def tfrecord_batches(path: str, workers: int) -> Callable[[], Iterable[Any]]:
    """Batches of the package tfrecord, with torchvision's decoder and transforms."""
    from tfrecord.tools.tfrecord2idx import create_index
    from tfrecord.torch import TFRecordDataset

    transform = torchvision_transform()

    def prepare(features: dict[str, Any]) -> tuple[torch.Tensor, Any]:
        encoded = torch.frombuffer(bytearray(features["image/encoded"]), dtype=torch.uint8)
        return transform(decode_image(encoded, ImageReadMode.RGB)), features["image/class/label"]

    create_index(path, path + ".idx")
    kinds = {"image/encoded": "byte", "image/class/label": "int"}
    dataset = TFRecordDataset(path, path + ".idx", kinds, shuffle_queue_size=64, transform=prepare)
    loader = torch.utils.data.DataLoader(dataset, BATCH, num_workers=workers, persistent_workers=workers > 0)
    return lambda: loader


def pictures(folder: Path, paths: list[Path], rounds: int, tensorflow_python: str | None) -> str:
    """Part 2."""
    columns, cores, photographs = {}, sorted(os.sched_getaffinity(0)), folder / "train"
    for workers in (0, 2):
        os.sched_setaffinity(0, cores[: max(workers, 1)])
        makers = {
            "torchslim, records": functools.partial(slim_batches, flowers.get_split("train", folder), workers),
            "torchslim, folders": functools.partial(slim_batches, ImageFolder(photographs), workers),
            "torchvision, tensors": functools.partial(torchvision_batches, photographs, workers, pillow=False),
            "torchvision, Pillow": functools.partial(torchvision_batches, photographs, workers, pillow=True),
        }
        if importlib.util.find_spec("tfrecord"):
            makers["tfrecord and torchvision"] = functools.partial(tfrecord_batches, str(paths[0]), workers)
        with contextlib.ExitStack() as stack:
            sides = {name: stack.enter_context(own_process(make)) for name, make in makers.items()}
            if ask := stack.enter_context(tensorflow(tensorflow_python, max(workers, 1))):
                sides["tf.data, records"] = ask("pictures", paths[0])
                sides["tf.data, folders"] = ask("folder", photographs / "*/*.jpg")
            title = f"{workers} workers, two cores" if workers else "no workers, one core"
            columns[title] = rates(sides, rounds, clock=workers > 0)
    os.sched_setaffinity(0, cores)
    return table("JPEG to batches for VGG", columns, "pictures a second")


def memory(folder: Path, passes: int = 10) -> str:
    """Part 3: MiB of the process and its two workers after each pass."""
    others = {child.pid for child in multiprocessing.active_children()}
    batches = slim_batches(flowers.get_split("train", folder), 2)
    found = []
    for _ in range(passes):
        for _ in batches():
            pass
        workers = {child.pid for child in multiprocessing.active_children()} - others
        processes = [os.getpid(), *workers]
        found.append([resident(process) for process in processes])
    totals = np.array(found).sum(1)
    slope = np.polyfit(np.arange(1, passes), totals[1:], 1)[0]
    rows = [f"| {place} | {' | '.join(f'{size:.0f}' for size in sizes)} |" for place, sizes in enumerate(found, 1)]
    head = ["| pass | process | worker | worker |", "| --- | ---: | ---: | ---: |"]
    end = f"From the second pass on, {slope:+.2f} MiB a pass, {100 * slope / totals[1]:+.2f} % of all."
    return "\n".join(["## Resident memory, two workers (MiB)", "", *head, *rows, "", end]) + "\n"


def resident(process: int | None) -> float:
    """MiB of memory that a process holds."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


class Shares(logging.Handler):
    """Keeps what `train` says of waiting for data, in percent."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[float] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Takes the last number of the line on a step."""
        if str(record.msg).startswith("global step"):
            self.found.append(record.args[-1])  # type: ignore[index,arg-type]


def waiting(folder: Path, steps: int) -> str:
    """Part 4: a small net, its data made in the loop, by one worker and by two, ahead."""
    lines = ["## What `slim.learning.train` waits for data", "", "| | % of a step |", "| --- | ---: |"]
    for title, workers, ahead in (("no worker", 0, 0), ("1 worker", 1, 2), ("2 workers", 2, 4)):
        with slim.Graph():
            provider = slim.dataset_data_provider.DatasetDataProvider(flowers.get_split("train", folder))
            image, label = provider.get(["image", "label"])
            image = get_preprocessing("vgg_16", is_training=True)(image, SIDE, SIDE)
            images, labels = slim.data.batch([image, label], 16)
            if ahead:
                queue = slim.prefetch_queue.prefetch_queue([images, labels], capacity=ahead, num_threads=workers)
                images, labels = queue.dequeue()
            net = slim.repeat(images, 2, slim.conv2d, 32, [3, 3], stride=2)
            slim.losses.sparse_softmax_cross_entropy(slim.fully_connected(net.mean((2, 3)), 5), labels)
            train_op = slim.learning.create_train_op(slim.losses.get_total_loss(), torch.optim.SGD)
        shares, logger = Shares(), logging.getLogger("torchslim")
        logger.addHandler(shares)
        logger.setLevel(logging.INFO)
        with contextlib.redirect_stderr(io.StringIO()):  # on a terminal, a bar takes the line's place
            slim.learning.train(train_op, None, number_of_steps=steps, log_every_n_steps=steps // 4, device="cpu")
        logger.removeHandler(shares)
        lines.append(f"| {title} | {statistics.median(shares.found[1:]):.0f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tensorflow", metavar="PYTHON", help="of an environment with TensorFlow")
    parser.add_argument("--images", type=int, default=320)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=["records", "pictures", "memory", "waiting"])
    parser.add_argument("--write", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", module="tfrecord")
    cores = sorted(os.sched_getaffinity(0))[:2]
    parts = [f"# Data, {len(cores)} cores of {platform.machine()}, torch {torch.__version__}\n"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw(folder / "train", arguments.images)
        paths = convert_image_folder(folder, folder, "train", name="flowers")
        jobs: dict[str, tuple[int, Callable[[], str]]] = {
            "records": (1, lambda: records(folder, arguments.rounds, arguments.tensorflow)),
            "pictures": (2, lambda: pictures(folder, paths, arguments.rounds, arguments.tensorflow)),
            "memory": (2, lambda: memory(folder)),
            "waiting": (2, lambda: waiting(folder, 40)),
        }
        for job, (needed, measure) in jobs.items():
            if arguments.only in (None, job):
                os.sched_setaffinity(0, cores[:needed])
                parts.append(measure())
                print(parts[-1], flush=True)
    if arguments.write:
        arguments.write.write_text("\n".join(parts))


if __name__ == "__main__":
    main()
