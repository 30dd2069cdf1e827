"""Fine-tunes MobileNet v1 0.25 on photographs of Pascal VOC, with its ImageNet weights and without, seed after seed.

Each training is a command that can be typed, and is printed before it runs. At the end: the mean average precisions,
how they spread over the seeds, and how they would over other photographs (a bootstrap over those evaluated on).

    python examples/finetune_mobilenet_voc.py mobilenet_v1_0.25_224.ckpt VOCdevkit
"""

from __future__ import annotations

import argparse

import torch
from finetune_voc import typed

from torchslim.cli.evaluate import find_checkpoint, measure
from torchslim.cli.finetune import finetune
from torchslim.cli.run import Run
from torchslim.metrics import VOCAveragePrecision


def train(options: argparse.Namespace, seed: int, weights: str) -> torch.Tensor:
    """Fine-tunes once; the scores of all photographs evaluated on and what is true of them, `[N, 2, 20]`."""
    logdir = f"{options.logdir}/{'restored' if weights else 'scratch'}-{seed}"
    args = typed(
        f"finetune --net mobilenet_v1_025 {weights}--dataset pascal_voc --data-dir {options.voc} --logdir {logdir} "
        f"--steps {options.steps} --batch-size 20 --learning-rate {options.learning_rate} --seed {seed}"
    )
    finetune(args)
    args = typed(f"evaluate --logdir {logdir}")
    average_precision, _ = measure(Run.load(args), find_checkpoint(args), args)
    return torch.cat(average_precision.seen).view(-1, 2, average_precision.num_classes)


def mean_average_precision(seen: torch.Tensor) -> float:
    """In percent, from scores and truth; -1 is for what is difficult."""
    metric = VOCAveragePrecision(seen.shape[2], average="macro")
    scores, truth = seen.unbind(1)
    metric.update(scores, truth, difficult=truth < 0)
    return 100 * float(metric.compute())


def bootstrap(runs: list[torch.Tensor], draws: list[torch.Tensor]) -> torch.Tensor:
    """The mean over the runs for each draw of photographs."""
    return torch.tensor([sum(mean_average_precision(seen[draw]) for seen in runs) / len(runs) for draw in draws])


def tell(name: str, values: torch.Tensor) -> None:
    """Prints the middle of the draws and where 95% of them are."""
    low, middle, high = values.quantile(torch.tensor([0.025, 0.5, 0.975])).tolist()
    print(f"{name:<12} {middle:5.1f}, 95% of them in {low:.1f} to {high:.1f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("checkpoint", help="TF-Slim's mobilenet_v1_0.25_224, or what torchslim made of it")
    parser.add_argument("voc", help="a VOCdevkit, or what holds it")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--learning-rate", type=float, default=0.1)
    parser.add_argument("--draws", type=int, default=1000, help="of photographs, for the bootstrap")
    parser.add_argument("--logdir", default="runs/mobilenet_voc")
    options = parser.parse_args()

    weights = {"restored": f"--weights {options.checkpoint} ", "from scratch": ""}
    runs = {name: [train(options, seed, given) for seed in options.seeds] for name, given in weights.items()}
    print("\nmAP, its mean and deviation over the seeds:")
    for name, results in runs.items():
        each = torch.tensor([mean_average_precision(seen) for seen in results])
        spread = f" +- {each.std():.1f}" if len(each) > 1 else ""
        print(f"{name:<12} {each.mean():5.1f}{spread}: {', '.join(f'{value:.1f}' for value in each.tolist())}")

    torch.manual_seed(0)
    truth = runs["restored"][0][:, 1]
    draws = [torch.randint(len(truth), (len(truth),)) for _ in range(options.draws)]
    restored, scratch = (bootstrap(results, draws) for results in runs.values())
    random = [torch.stack([torch.rand_like(truth), truth], 1) for _ in draws]
    print(f"\nmAP over {len(draws)} draws of {len(truth)} photographs, with repetition, the mean of the seeds:")
    tell("restored", restored)
    tell("from scratch", scratch)
    tell("difference", restored - scratch)
    print("\nmAP of random scores, the photographs as they are:")
    tell("chance", torch.tensor([mean_average_precision(seen) for seen in random]))
