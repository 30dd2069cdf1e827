"""`slim.training`: TF-Slim's other names for `slim.learning`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import torchslim as slim

BATCH = torch.ones(4, 3), torch.full((4, 2), 5.0)
QUIET: dict[str, Any] = {"log_every_n_steps": 0, "save_summaries_secs": 0, "device": "cpu", "precision": "fp32"}


def make(namespace: Any, **kwargs: Any) -> slim.learning.TrainOp:
    torch.manual_seed(0)
    net = nn.Linear(3, 2)
    optimizer = slim.optimizers.Momentum(0.1, 0.9)
    return namespace.create_train_op(lambda x, y: (net(x) - y).square().mean(), optimizer, module=net, **kwargs)


def test_names_are_those_of_tf_slim() -> None:
    assert slim.training.__all__ == [
        "add_gradients_summaries",
        "clip_gradient_norms",
        "clip_gradient_norms_fn",
        "create_train_op",
        "multiply_gradients",
        "train",
    ]


def test_clipping_by_a_function_equals_clipping_by_number(tmp_path: Path) -> None:
    ours = make(slim.training, transform_grads_fn=slim.training.clip_gradient_norms_fn(0.5))
    theirs = make(slim.learning, clip_gradient_norm=0.5)
    slim.training.train(ours, tmp_path, save_checkpoint_secs=None, number_of_steps=5, batches=[BATCH], **QUIET)
    slim.learning.train(theirs, None, number_of_steps=5, batches=[BATCH], **QUIET)
    assert all(value.equal(theirs.tensors()[name]) for name, value in ours.tensors().items())
    assert [path.name for path in tmp_path.glob("*.safetensors")] == ["model.ckpt-5.safetensors"]


def test_save_checkpoint_secs(tmp_path: Path) -> None:
    slim.training.train(
        make(slim.training), tmp_path, save_checkpoint_secs=1e-9, number_of_steps=3, batches=[BATCH], **QUIET
    )
    assert len(list(tmp_path.glob("*.safetensors"))) == 3


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("hooks", "`number_of_steps=`"),
        ("chief_only_hooks", "`number_of_steps=`"),
        ("scaffold", "`init_fn=`"),
        ("config", "`device=`"),
        ("save_summaries_steps", "`save_summaries_secs=`"),
        ("max_wait_secs", "nothing: no worker"),
        ("run_metadata", "`torch.profiler.profile`"),
        ("is_chief", "`torchrun`"),
    ],
)
def test_arguments_of_sessions_are_refused(name: str, instead: str) -> None:
    with pytest.raises(TypeError, match=rf"train: `{name}` belongs to .* Got 'given'.*{instead}"):
        slim.training.train(make(slim.training), None, **{name: "given"})


def test_a_norm_that_clips_nothing() -> None:
    with pytest.raises(ValueError, match=r"`max_norm` must be above 0. Got -1"):
        slim.training.clip_gradient_norms_fn(-1)
