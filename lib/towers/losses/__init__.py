"""Losses: functions of tensors that return a scalar; they know nothing of files or models."""

from towers.losses.contrastive import LOG_SCALE_INIT, LOG_SCALE_MAX, clip_loss
from towers.losses.predictive import bag_of_words_loss, caption_loss
from towers.losses.sharded import sharded_clip_loss
from towers.losses.tiled import tiled_clip_loss

__all__ = [
    "LOG_SCALE_INIT",
    "LOG_SCALE_MAX",
    "bag_of_words_loss",
    "caption_loss",
    "clip_loss",
    "sharded_clip_loss",
    "tiled_clip_loss",
]
