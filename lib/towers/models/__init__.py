"""Models: image and text towers, pairs of them, one resolver for every name, cached features."""

from towers.models.checkpoints import save
from towers.models.clippo import ClippoModel, clippo_models
from towers.models.duals import DualTower
from towers.models.encoders import ImageTower, TextTower, Tower
from towers.models.features import features, quick_dtype
from towers.models.lilt import LiltModel, lilt_models
from towers.models.paper import PaperModel, paper_models
from towers.models.preprocessing import Preprocessing
from towers.models.pretrained import continued, dual, image_tower, load, text_tower

__all__ = [
    "ClippoModel",
    "DualTower",
    "ImageTower",
    "LiltModel",
    "PaperModel",
    "Preprocessing",
    "TextTower",
    "Tower",
    "clippo_models",
    "continued",
    "dual",
    "features",
    "image_tower",
    "lilt_models",
    "load",
    "paper_models",
    "quick_dtype",
    "save",
    "text_tower",
]
