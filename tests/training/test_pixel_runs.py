"""Whole runs of CLIPPO and its baselines: shared networks in loops, ranks, chunks, checkpoints."""

import pytest
import torch

from tests.training import pixel_runs, ranks, toy_runs
from towers import models
from towers.training import logs, loop

torch.set_num_threads(1)

WORDS = "context=4&vocabulary=600"
TEXTS = {
    "CLIPPO": "shared:pixels",
    "CLIPPO packed": "shared:pixels?packed=true",
    "separate both packed": "shared:pixels?separate=both&packed=true",
    "1T-CLIP": f"shared:words?{WORDS}",
    "CLIP*": f"scratch:words?width=16&depth=1&heads=2&{WORDS}",
}
RESNET = "scratch:resnet?image=32&width=8&layers=1,1,1,1"  # with buffers, which are shared too
MIXED = {"text_pairs": ("rhymes:",), "text_share": 0.5}


def losses(folder):
    return [line["loss"] for line in logs.read(folder)]


@pytest.mark.parametrize(
    ("text", "image"),
    [*((text, pixel_runs.IMAGE) for text in TEXTS.values()), (TEXTS["CLIPPO"], RESNET)],
    ids=[*TEXTS, "CLIPPO in a ResNet"],
)
def test_a_run_ends_with_a_pair_that_comes_back(tmp_path, text, image):
    done = pixel_runs.train(tmp_path, text, image, steps=16, **MIXED)
    assert losses(tmp_path)[-1] < losses(tmp_path)[0]
    loaded = models.load(f"file:{tmp_path}/final.safetensors")
    assert loaded.checksum == done.dual.checksum
    assert loaded.text.borrows == text.startswith("shared")


@pytest.mark.parametrize(
    ("text", "mixture"), [(TEXTS["separate both packed"], MIXED), (TEXTS["1T-CLIP"], {})]
)
def test_a_run_is_resumed_bit_by_bit(tmp_path, monkeypatch, text, mixture):
    pixel_runs.train(tmp_path / "whole", text, **mixture)
    update = loop.Trainer.update

    def stopping(self, step, given):
        if step == 5:
            raise toy_runs.Stop
        return update(self, step, given)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Trainer, "update", stopping)
        with pytest.raises(toy_runs.Stop):
            pixel_runs.train(tmp_path / "cut", text, **mixture)
    assert pixel_runs.train(tmp_path / "cut", text, **mixture).resumed == 3
    assert toy_runs.bits(tmp_path / "cut", 8) == toy_runs.bits(tmp_path / "whole", 8)


@pytest.mark.parametrize("text", [TEXTS["CLIPPO"], TEXTS["separate both packed"]])
def test_chunks_give_the_same_losses(tmp_path, text):
    for chunk in (0, 3):
        pixel_runs.train(tmp_path / str(chunk), text, chunk=chunk, steps=4, **MIXED)
    assert losses(tmp_path / "0") == pytest.approx(losses(tmp_path / "3"), rel=1e-3)


@pytest.mark.slow
def test_two_ranks_do_as_one_process_does(tmp_path):
    text = TEXTS["separate both packed"]
    ended = ranks.run(pixel_runs.weights, tmp_path / "two", text, ranks=2, **MIXED)
    assert [rank.code for rank in ended] == [0, 0], ended
    assert ended[0].value == ended[1].value
    pixel_runs.train(tmp_path / "one", text, **MIXED)
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-3)
    told = [[line["duplicates"] for line in logs.read(tmp_path / name)] for name in ("one", "two")]
    assert told[0] == told[1]
    assert any(told[0])  # "toy 5" follows "toy 4", and is a caption
