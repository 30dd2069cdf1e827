"""TF-Slim's API on PyTorch: define, fine-tune and evaluate image models.

Example:
    >>> import torch, torchslim as slim
    >>> def net(images):
    ...     net = slim.repeat(images, 2, slim.conv2d, 8, [3, 3], scope='conv1')
    ...     net = slim.max_pool2d(net, [2, 2], scope='pool1')
    ...     return slim.fully_connected(net, 10, activation_fn=None, scope='fc2')
    >>> model = slim.build(net, torch.empty(1, 3, 8, 8))
    >>> model(torch.zeros(4, 3, 8, 8)).shape
    torch.Size([4, 10])
"""

from torchslim import layers
from torchslim.arg_scope import (
    add_arg_scope,
    arg_scope,
    arg_scope_func_key,
    arg_scoped_arguments,
    current_arg_scope,
    explain_arg_scope,
    has_arg_scope,
)
from torchslim.graph import (
    AUTO_REUSE,
    Graph,
    InputSpec,
    Model,
    Symbol,
    Variable,
    build,
    get_default_graph,
    get_variable_scope,
    name_scope,
    placeholder,
    reset_default_graph,
    variable_scope,
)
from torchslim.initializers import (
    constant_initializer,
    ones_initializer,
    random_normal_initializer,
    random_uniform_initializer,
    truncated_normal_initializer,
    variance_scaling_initializer,
    xavier_initializer,
    xavier_initializer_conv2d,
    zeros_initializer,
)
from torchslim.layers import (
    avg_pool2d,
    batch_norm,
    conv2d,
    convolution2d,
    dropout,
    flatten,
    fully_connected,
    layer,
    max_pool2d,
    repeat,
    stack,
    utils,
)
from torchslim.variables import (
    add_model_variable,
    assert_global_step,
    assert_or_get_global_step,
    create_global_step,
    filter_variables,
    get_global_step,
    get_local_variables,
    get_model_variables,
    get_or_create_global_step,
    get_trainable_variables,
    get_unique_variable,
    get_variable_full_name,
    get_variables,
    get_variables_by_name,
    get_variables_by_suffix,
    get_variables_to_restore,
    global_variable,
    local_variable,
    model_variable,
    variable,
)

__version__ = "0.1.0"
