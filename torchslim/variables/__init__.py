"""Variables by name: making them, finding them, choosing which to restore (TF-Slim's `slim.variables`)."""

from torchslim.graph.devices import VariableDeviceChooser
from torchslim.variables.choosing import did_you_mean, select_variables
from torchslim.variables.global_step import (
    GLOBAL_STEP,
    assert_global_step,
    assert_or_get_global_step,
    create_global_step,
    get_global_step,
    get_or_create_global_step,
)
from torchslim.variables.making import add_model_variable, global_variable, local_variable, model_variable, variable
from torchslim.variables.queries import (
    filter_variables,
    get_local_variables,
    get_model_variables,
    get_trainable_variables,
    get_unique_variable,
    get_variable_full_name,
    get_variables,
    get_variables_by_name,
    get_variables_by_suffix,
    get_variables_to_restore,
    unwrap,
)

__all__ = [
    "GLOBAL_STEP",
    "VariableDeviceChooser",
    "add_model_variable",
    "assert_global_step",
    "assert_or_get_global_step",
    "create_global_step",
    "did_you_mean",
    "filter_variables",
    "get_global_step",
    "get_local_variables",
    "get_model_variables",
    "get_or_create_global_step",
    "get_trainable_variables",
    "get_unique_variable",
    "get_variable_full_name",
    "get_variables",
    "get_variables_by_name",
    "get_variables_by_suffix",
    "get_variables_to_restore",
    "global_variable",
    "local_variable",
    "model_variable",
    "select_variables",
    "unwrap",
    "variable",
]
