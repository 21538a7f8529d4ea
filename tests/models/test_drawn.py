"""The same name draws the same weights, bit by bit, whatever the code that draws them looks like.

Checksums were taken before towers became functions; recipes, records and the book rest on them.
"""

import pytest

from towers import models
from towers.models import scratch
from towers.models.weights import checksum as checksum_of

SIZE = "image=16&patch=8&width=16&depth=2&heads=2"
TOKENS = "width=16&depth=2&heads=2&context=8&vocabulary=600"

ALONE = {
    f"scratch:vit?{SIZE}": "2ef0e8c089d411db",
    f"scratch:vit?{SIZE}&pool=mean": "2ef0e8c089d411db",
    f"scratch:vit?{SIZE}&pool=attention&seed=3": "fcf4a34cf5c6c3f3",
    f"scratch:vit?{SIZE}&patch_drop=0.5&resize=crop&checkpointing=true": "2ef0e8c089d411db",
    "scratch:resnet?image=32&width=8&layers=1,1,1,1": "78fd69b5a3fbf057",
    "scratch:resnet?image=64&width=16&layers=1,2,1,1&seed=7&resize=squash": "497464416a540634",
    f"scratch:transformer?{TOKENS}": "74c788914bca7954",
    f"scratch:transformer?{TOKENS}&seed=9&checkpointing=true": "41121df999c574b3",
    "scratch:bow?width=16&context=8": "531260d7b09ad05e",
    "scratch:bow?width=8&context=8&vocabulary=600&seed=2": "f940403d8c918568",
    f"scratch:map?{SIZE}": "a030d6c15b094f48",
    f"scratch:map?{SIZE}&seed=4&resize=pad": "8996fd5075fff7d4",
    f"scratch:pixels?{SIZE}": "84169299c2b22f3f",
    f"scratch:pixels?{SIZE}&packed=true&seed=1": "21c8238118f7ab70",
    f"scratch:words?{TOKENS}": "649721110f276d3c",
    f"scratch:words?{TOKENS}&pool=attention&seed=6": "bc529c24bda86b3e",
}
PAIRED = {
    (f"scratch:map?{SIZE}", "shared:pixels"): ("a928fdf4af08fecd", "79277e09bfbba0c7"),
    (f"scratch:map?{SIZE}", "shared:pixels?separate=heads&seed=2"): (
        "a928fdf4af08fecd",
        "349fb91e3c1d2ae6",
    ),
    (f"scratch:map?{SIZE}", "shared:pixels?separate=embeddings"): (
        "2145c6c6090926ce",
        "79277e09bfbba0c7",
    ),
    (f"scratch:map?{SIZE}", "shared:pixels?separate=both&packed=true"): (
        "2145c6c6090926ce",
        "349fb91e3c1d2ae6",
    ),
    (f"scratch:map?{SIZE}", "shared:words?context=4&vocabulary=600"): (
        "41dc163f717b7e34",
        "79277e09bfbba0c7",
    ),
    (f"scratch:map?{SIZE}", "shared:words?context=4&vocabulary=600&separate=heads&seed=8"): (
        "2aa7e5bd6a14f348",
        "349fb91e3c1d2ae6",
    ),
    (f"scratch:vit?{SIZE}", f"scratch:transformer?{TOKENS}"): (
        "ec52d3444d1888af",
        "089828f40ff248c7",
    ),
    (f"scratch:map?{SIZE}", f"scratch:pixels?{SIZE}&packed=true"): (
        "2302968b8e828b48",
        "349fb91e3c1d2ae6",
    ),
}


@pytest.mark.parametrize(("name", "checksum"), ALONE.items())
def test_a_tower_keeps_its_weights(name, checksum):
    assert scratch.tower(name).checksum.startswith(checksum)


@pytest.mark.parametrize(("names", "checksums"), PAIRED.items())
def test_a_pair_keeps_its_text_tower_and_projections(names, checksums):
    dual = models.dual(*names, 8, seed=5)
    found = dual.text.checksum, checksum_of(dual.own_weights)
    assert tuple(each[:16] for each in found) == checksums
