"""Arrays in, numbers out: retrieval, classification, trends, and how sure a number is.

NumPy arrays go in, or anything `np.asarray` takes (float32 torch tensors on the CPU included).
Every metric is a fraction, and states how it treats ties and NaN.
"""

from towers.metrics import intervals, trends
from towers.metrics.agreement import f1, matthews, pearson, spearman
from towers.metrics.classification import (
    accuracy,
    eleven_point_map,
    mean_average_precision,
    mean_per_class,
    roc_auc,
)
from towers.metrics.crossed import crossed
from towers.metrics.retrieval import chance_at_k, hits_at_k, recall_at_k
from towers.metrics.scores import score
from towers.metrics.similarity import representational_similarity

__all__ = [
    "accuracy",
    "chance_at_k",
    "crossed",
    "eleven_point_map",
    "f1",
    "hits_at_k",
    "intervals",
    "matthews",
    "mean_average_precision",
    "mean_per_class",
    "pearson",
    "recall_at_k",
    "representational_similarity",
    "roc_auc",
    "score",
    "spearman",
    "trends",
]
