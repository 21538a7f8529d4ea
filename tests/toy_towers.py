"""Towers that compute in no time, and pictures for them."""

import io

import torch
from PIL import Image
from torch import nn

from towers import models
from towers.data.items import Collection, Item
from towers.data.reports import Report

WIDTH = 12


class LetterCounts(nn.Module):
    """Texts as the mean of one random vector per letter."""

    def __init__(self):
        super().__init__()
        self.letters = nn.EmbeddingBag(128, WIDTH, mode="mean", padding_idx=0)

    def forward(self, ids):
        return self.letters(ids)


def tokenize(texts):
    length = max(1, *map(len, texts))
    rows = [[ord(letter) % 127 + 1 for letter in text.ljust(length, "\0")] for text in texts]
    ids = torch.tensor(rows)
    return {"ids": ids.masked_fill(ids == 1, 0)}


def image_tower():
    torch.manual_seed(0)
    encoder = nn.Sequential(
        nn.Conv2d(3, WIDTH, 3, stride=2), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    preprocessing = models.Preprocessing(size=8, mean=(0.5,) * 3, std=(0.25,) * 3)
    return models.ImageTower("toy:image", encoder, WIDTH, preprocessing).freeze()


def text_tower():
    torch.manual_seed(1)
    return models.TextTower("toy:text", LetterCounts(), WIDTH, tokenize, "letters").freeze()


def dual(embed=6, seed=0):
    return models.DualTower(image_tower(), text_tower(), embed, "toy", seed)


def picture(number):
    """A PNG of two colours that no other number has."""
    image = Image.new("RGB", (8, 8), (37 * number % 256, 91 * number % 256, 11 * number % 256))
    image.paste((255 - number % 256, number % 256, 53 * number % 256), (0, 0, 4, 3 + number % 5))
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()


def collection(captions, labels=None, class_names=None, name="toys"):
    """Pictures with English captions (a tuple each), or with captions by language."""
    items = [
        Item(
            key=f"{number:016x}",
            name=f"toy {number}",
            image=picture(number),
            captions=texts if isinstance(texts, dict) else {"en": texts},
            targets={"class": labels[number] if labels else None},
        )
        for number, texts in enumerate(captions)
    ]
    return Collection(name, tuple(items), Report(len(items)), class_names=class_names)


def trainable(seed=0, embed=6):
    """A pair that learns whole: a gain, running statistics and dropout are in it."""
    torch.manual_seed(seed)
    encoder = nn.Sequential(
        nn.Conv2d(3, WIDTH, 3, stride=2), nn.BatchNorm2d(WIDTH), nn.Tanh(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.LayerNorm(WIDTH),
    )  # fmt: skip
    preprocessing = models.Preprocessing(size=8, mean=(0.5,) * 3, std=(0.25,) * 3)
    image = models.ImageTower("toy:image", encoder, WIDTH, preprocessing)
    text = models.TextTower("toy:text", LetterCounts(), WIDTH, tokenize, "letters")
    return models.DualTower(image, text, embed, "toy", seed)
