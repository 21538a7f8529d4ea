"""Models: image and text towers, pairs of them, one resolver for every name, cached features."""

from towers.models.checkpoints import save
from towers.models.duals import DualTower
from towers.models.encoders import ImageTower, TextTower, Tower
from towers.models.features import features, quick_dtype
from towers.models.preprocessing import Preprocessing
from towers.models.pretrained import dual, image_tower, load, text_tower
from towers.models.resolution import continued

__all__ = [
    "DualTower", "ImageTower", "Preprocessing", "TextTower", "Tower", "continued", "dual",
    "features", "image_tower", "load", "quick_dtype", "save", "text_tower",
]  # fmt: skip
