"""TensorFlow's optimizers and learning-rate schedules, by its names.

An optimizer is a formula with its hyper-parameters; called with parameters, it makes a `torch.optim.Optimizer`.
`slim.learning.create_train_op` takes it as it is, and calls it once the parameters have memory.
"""

from torchslim.optimizers.adaptive import Adadelta, Adagrad, Ftrl, RMSProp
from torchslim.optimizers.averaging import ExponentialMovingAverage
from torchslim.optimizers.formula import Formula, FormulaOptimizer
from torchslim.optimizers.fused import Adam, GradientDescent, Momentum
from torchslim.optimizers.schedules import (
    Schedule,
    cosine_decay,
    exponential_decay,
    fixed,
    inverse_time_decay,
    natural_exp_decay,
    piecewise_constant,
    polynomial_decay,
    set_learning_rate,
    warmup,
)

__all__ = [
    "Adadelta",
    "Adagrad",
    "Adam",
    "ExponentialMovingAverage",
    "Formula",
    "FormulaOptimizer",
    "Ftrl",
    "GradientDescent",
    "Momentum",
    "RMSProp",
    "Schedule",
    "cosine_decay",
    "exponential_decay",
    "fixed",
    "inverse_time_decay",
    "natural_exp_decay",
    "piecewise_constant",
    "polynomial_decay",
    "set_learning_rate",
    "warmup",
]
