"""Losses: tensors in, a scalar out. Nothing here knows of files, models or processes."""

from towers.losses.contrastive import LOG_SCALE_INIT, LOG_SCALE_MAX, clip_loss

__all__ = ["LOG_SCALE_INIT", "LOG_SCALE_MAX", "clip_loss"]
