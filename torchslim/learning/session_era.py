"""Arguments that steered TensorFlow's sessions: refused with what replaces them, never accepted and ignored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torchslim.variables import did_you_mean

CREATE_TRAIN_OP = {
    "gate_gradients": "nothing: PyTorch computes all gradients before the update",
    "aggregation_method": "nothing: autograd sums gradients in place",
    "colocate_gradients_with_ops": "nothing: gradients live where their variables do",
}

_DISTRIBUTED = "start the script with `torchrun`; `train` then uses DistributedDataParallel and writes on rank 0 only"
_INIT = "`init_fn=`, a function without arguments; variables that it leaves alone run their own initializers"

TRAIN = {
    "master": _DISTRIBUTED,
    "is_chief": _DISTRIBUTED,
    "sync_optimizer": _DISTRIBUTED,
    "startup_delay_steps": _DISTRIBUTED,
    "train_step_kwargs": "`functools.partial(train_step_fn, ...)`",
    "graph": "nothing: the train op knows its graph",
    "global_step": "`create_train_op(..., global_step=)`",
    "init_op": _INIT,
    "init_feed_dict": _INIT,
    "local_init_op": _INIT,
    "ready_op": _INIT,
    "summary_op": "`slim.summaries.add_scalar_summary` and its siblings; what they collect is written",
    "summary_writer": "`logdir=`, where the events go",
    "saver": "`keep_last=`, `keep_every_n_hours=`, `keep_best=`; `slim.restore` reads the checkpoints",
    "max_to_keep": "`keep_last=`",
    "keep_checkpoint_every_n_hours": "`keep_every_n_hours=`",
    "session_config": "`device=`, `precision=`, `channels_last=`, `compile=`",
    "session_wrapper": "Python's own debugger: each step is ordinary Python",
    "ignore_live_threads": "nothing: there are no queue runners",
}


def refuse(function: str, given: Mapping[str, Any], replacements: Mapping[str, str], known: Mapping[str, Any]) -> None:
    """Raises if there are arguments that `function` does not take.

    Args:
        function: its name.
        given: the arguments that its signature does not name.
        replacements: TensorFlow's argument -> what replaces it.
        known: the parameters of the signature, for the did-you-mean.

    Raises:
        TypeError: for the first of them.
    """
    for name, value in given.items():
        if name == "master" and value in ("", "local"):
            continue
        if name in replacements:
            raise TypeError(
                f"{function}: `{name}` belongs to TensorFlow's sessions. Got {value!r}. Instead: {replacements[name]}."
            )
        raise TypeError(f"{function}: there is no argument `{name}`. Got {value!r}." + did_you_mean(name, list(known)))
