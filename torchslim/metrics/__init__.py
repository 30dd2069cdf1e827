"""Metrics with TF-Slim's names, each backed by a `torchmetrics.Metric`.

Called with Symbols, a metric is a pair `(value, update)` for `slim.evaluation`; called with tensors, it gives
the value now; and its class stands alone in any PyTorch code. They add up across processes.
"""

from torchslim.metrics.batch import accuracy
from torchslim.metrics.errors import (
    StreamingMeanAbsoluteError,
    StreamingMeanRelativeError,
    StreamingMeanSquaredError,
    StreamingRootMeanSquaredError,
    streaming_mean_absolute_error,
    streaming_mean_relative_error,
    streaming_mean_squared_error,
    streaming_root_mean_squared_error,
)
from torchslim.metrics.means import (
    StreamingAccuracy,
    StreamingMean,
    StreamingPercentageLess,
    streaming_accuracy,
    streaming_mean,
    streaming_percentage_less,
)
from torchslim.metrics.precision_recall import (
    StreamingPrecision,
    StreamingRecall,
    streaming_precision,
    streaming_recall,
)
from torchslim.metrics.ratio import StreamingRatio, StreamingShare
from torchslim.metrics.stream import (
    MetricUpdate,
    MetricValue,
    aggregate_metric_map,
    aggregate_metrics,
    streaming_metric,
)
from torchslim.metrics.voc import VOCAveragePrecision, streaming_voc_mean_average_precision

# The names of the tutorials.
percentage_less = streaming_percentage_less
precision = streaming_precision
recall = streaming_recall

__all__ = [
    "MetricUpdate",
    "MetricValue",
    "StreamingAccuracy",
    "StreamingMean",
    "StreamingMeanAbsoluteError",
    "StreamingMeanRelativeError",
    "StreamingMeanSquaredError",
    "StreamingPercentageLess",
    "StreamingPrecision",
    "StreamingRatio",
    "StreamingRecall",
    "StreamingRootMeanSquaredError",
    "StreamingShare",
    "VOCAveragePrecision",
    "accuracy",
    "aggregate_metric_map",
    "aggregate_metrics",
    "percentage_less",
    "precision",
    "recall",
    "streaming_accuracy",
    "streaming_mean",
    "streaming_mean_absolute_error",
    "streaming_mean_relative_error",
    "streaming_mean_squared_error",
    "streaming_metric",
    "streaming_percentage_less",
    "streaming_precision",
    "streaming_recall",
    "streaming_root_mean_squared_error",
    "streaming_voc_mean_average_precision",
]
