"""The feature cache: right rows, computed once, and never a damaged or a foreign file."""

import importlib
import multiprocessing
import os
import time
from pathlib import Path

import foolbox
import numpy as np
import pytest
import torch
from PIL import Image

from tests.models.conftest import Colours, MeanColour, small_image_tower, small_text_tower
from towers import models
from towers.data import BadImage
from towers.models import features

module = importlib.import_module("towers.models.features")
TEXTS = ["a", "banana split", "b", "a", "a longer text than all others", "b", "cd"]


def direct(tower, pictures):
    images = torch.stack([tower.transform(pictures.image(i)) for i in range(len(pictures))])
    with torch.no_grad():
        return tower(images).numpy()


def cached(home):
    return list((home / "features").glob("*/*.safetensors"))


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 23])
@pytest.mark.parametrize("batch", [1, 4])
def test_rows_are_the_towers_features_in_order(home, count, batch):
    tower = small_image_tower()
    rows = features(tower, Colours(count), batch=batch, dtype="fp32", progress=False)
    assert rows.shape == (count, 6)
    assert rows.dtype == np.float32
    if count:
        np.testing.assert_allclose(rows, direct(tower, Colours(count)), atol=1e-6)


@pytest.mark.parametrize("batch", [1, 2, 100])
def test_texts_come_back_in_their_order_whatever_their_length(home, batch):
    tower = small_text_tower()
    rows = features(tower, TEXTS, batch=batch, dtype="fp32", progress=False)
    with torch.no_grad():
        expected = torch.cat([tower(tower.tokenize([text])) for text in TEXTS]).numpy()
    np.testing.assert_allclose(rows, expected, atol=1e-6)


def test_equal_texts_are_computed_once(home, monkeypatch):
    tower, seen = small_text_tower(), []
    tokenize = tower._tokenizer
    monkeypatch.setattr(tower, "_tokenizer", lambda texts: seen.extend(texts) or tokenize(texts))
    features(tower, TEXTS, batch=2, progress=False)
    assert sorted(seen) == sorted(set(TEXTS))


def test_the_second_call_reads_the_cache(home):
    pictures = Colours(9)
    first = features(small_image_tower(), pictures, progress=False)
    assert sorted(pictures.read) == list(range(9))
    again = features(small_image_tower(), pictures, progress=False)
    assert len(pictures.read) == 9
    assert np.array_equal(first, again)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: features(small_image_tower(seed=1), Colours(3), dtype="fp32"),
        lambda m: features(small_image_tower(name="test:other"), Colours(3), dtype="fp32"),
        lambda m: features(small_image_tower(), Colours(3), dtype="bf16"),
        lambda m: edit(m, module.CODE) or usual(),
        lambda m: edit(m, MeanColour.__module__) or usual(),
        lambda m: m.setattr(module.metadata, "version", lambda name: "0") or usual(),
        lambda m: features(resized(), Colours(3), dtype="fp32"),
    ],
    ids=["weights", "name", "dtype", "code", "tower's code", "libraries", "recipe"],
)
def test_whatever_features_depend_on_is_in_the_key(home, monkeypatch, change):
    usual()
    change(monkeypatch)
    assert len(cached(home)) == 2


@pytest.mark.parametrize(
    "library", ["timm", "transformers", "open_clip_torch", "torch", "torchvision", "pillow"]
)
def test_another_version_of_any_library_that_computes_is_in_the_key(home, monkeypatch, library):
    usual()
    known = module.metadata.version
    monkeypatch.setattr(
        module.metadata, "version", lambda name: "0" if name == library else known(name)
    )
    usual()
    assert len(cached(home)) == 2


def edit(monkeypatch, name):
    """Another digest of code where a module is in it."""

    def digest(roots, settings):
        return "edited" if name in roots else "as it was"

    monkeypatch.setattr(module.fingerprints, "of_code", digest)


def test_a_picture_is_computed_again_when_what_draws_it_is_another_code(home, monkeypatch):
    pictures = Colours(3)
    first = features(small_image_tower(), pictures, progress=False)
    edit(monkeypatch, Colours.__module__)
    again = features(small_image_tower(), pictures, progress=False)
    assert len(pictures.read) == 6
    assert np.array_equal(first, again)


def usual():
    return features(small_image_tower(), Colours(3), dtype="fp32", progress=False)


def resized():
    tower = small_image_tower()
    transform = tower.transform.resized("pad")
    return models.ImageTower(tower.name, tower.encoder, tower.width, transform)


def test_batch_size_is_not_in_the_key(home):
    for batch in (1, 2):
        features(small_image_tower(), Colours(3), batch=batch, progress=False)
    assert len(cached(home)) == 1


def test_pictures_and_texts_are_shared_whatever_collection_or_list_they_come_in(home):
    pictures, tower = Colours(6), small_image_tower()
    whole = features(tower, pictures, progress=False)
    part = Colours(6)
    part.picture_keys, part.count = [*part.picture_keys[4:1:-1], "colours 9"], 4
    rows = features(tower, part, progress=False)
    assert part.read == [3]  # only the picture that no other collection had
    assert np.array_equal(rows[:3], whole[4:1:-1])
    forth = features(small_text_tower(), ["a", "b"], progress=False)
    assert np.array_equal(forth, features(small_text_tower(), ["b", "a"], progress=False)[::-1])


def test_a_text_is_never_taken_for_a_picture_of_that_key(home):
    features(small_image_tower(), Colours(1), progress=False)
    features(small_text_tower(), ["colours 0"], progress=False)
    stored = [module._read(path, width) for path in cached(home) for width in (5, 6)]
    keys = {key for rows in stored if isinstance(rows, dict) for key in rows}
    code = module.fingerprints.of_code(["towers.data.items", Colours.__module__], {})
    named = (f"colours 0 {code}", "text colours 0")
    assert keys == {module.files.sha256(name.encode()) for name in named}


def test_equal_pictures_are_computed_once(home):
    pictures = Colours(5)
    pictures.picture_keys[3] = pictures.picture_keys[1]
    rows = features(small_image_tower(), pictures, progress=False)
    assert sorted(pictures.read) == [0, 2, 3, 4]
    assert np.array_equal(rows[3], rows[1])


class Broken(Colours):
    def image(self, index, scaled=None):
        if len(self.read) == 9:
            raise KeyboardInterrupt
        return super().image(index)


def test_within_a_part_so_many_rows_are_kept_at_a_time(home, monkeypatch):
    monkeypatch.setattr(module, "ROWS_PER_FILE", 4)
    broken, pictures = Broken(11), Colours(11)
    with pytest.raises(KeyboardInterrupt):
        features(small_image_tower(), broken, batch=1, dtype="fp32", progress=False)
    features(small_image_tower(), pictures, dtype="fp32", progress=False)
    assert sorted(pictures.read) == [8, 9, 10]


def test_an_interrupted_call_goes_on_where_it_was(home, monkeypatch):
    monkeypatch.setattr(module, "ROWS_PER_PART", 1)
    broken, pictures = Broken(11), Colours(11)
    with pytest.raises(KeyboardInterrupt):
        features(small_image_tower(), broken, batch=1, dtype="fp32", progress=False)
    rows = features(small_image_tower(), pictures, dtype="fp32", progress=False)
    again = {*broken.read} & {*pictures.read}  # the part that was under way
    assert {*broken.read} | {*pictures.read} == {*range(11)}
    assert len(again) < 9
    np.testing.assert_allclose(rows, direct(small_image_tower(), Colours(11)), atol=1e-6)


def test_new_rows_fill_up_the_files(home, monkeypatch):
    monkeypatch.setattr(module, "ROWS_PER_FILE", 4)
    expected = direct(small_image_tower(), Colours(23))
    for count in (1, 2, 5, 6, 13, 14, 15, 23):
        rows = features(small_image_tower(), Colours(count), dtype="fp32", progress=False)
        np.testing.assert_allclose(rows, expected[:count], atol=1e-6)
        sizes = [len(module._read(path, 6)) for path in cached(home)]
        assert sum(sizes) == count
        assert sum(size < 4 for size in sizes) <= 1


def damage_bytes(content):
    return content[:-3] + bytes([content[-3] ^ 1]) + content[-2:]


@pytest.mark.parametrize(
    "damage",
    [damage_bytes, lambda c: c[:-1], lambda c: c[:5], lambda c: b"", lambda c: b"x" * 200,
     lambda c: module.to_bytes({"features": np.zeros((3, 6), np.float32)}),
     lambda c: module._packed({"00" * 32: np.zeros(5, np.float32)})],
    ids=["bit", "short", "header", "empty", "noise", "no checksum", "other shape"],
)  # fmt: skip
def test_a_damaged_file_is_computed_again_and_said_so(home, capsys, damage):
    expected = usual()
    (path,) = cached(home)
    path.write_bytes(damage(path.read_bytes()))
    assert np.array_equal(usual(), expected)
    message = capsys.readouterr().err
    assert "is damaged" in message
    assert len(message.splitlines()) == 1
    usual()
    assert capsys.readouterr().err == ""


class Lost(Colours):
    """Some of the pictures were taken away after loading, one is too large for the memory."""

    def __init__(self, count, lost):
        super().__init__(count)
        self.lost = lost

    def image(self, index, scaled=None):
        if index in self.lost:
            raise MemoryError if index == 0 else BadImage("missing")
        return super().image(index)


def test_an_unreadable_picture_is_a_white_page_and_is_asked_for_again(home, capsys):
    tower, bad = small_image_tower(), {}
    rows = features(tower, Lost(9, {0, 4}), dtype="fp32", progress=False, bad=bad)
    assert bad == {0: "out of memory", 4: "missing"}
    assert "2 of 9 pictures cannot be read" in capsys.readouterr().err
    white = tower(torch.ones(1, 3, 16, 16))[0].detach().numpy()  # (255 / 255 - 0.5) / 0.5
    np.testing.assert_allclose(rows[[0, 4]], [white, white], atol=1e-6)
    pictures = Colours(9)
    whole = features(tower, pictures, dtype="fp32", progress=False)
    assert sorted(pictures.read) == [0, 4]  # all others were kept
    np.testing.assert_allclose(whole, direct(tower, Colours(9)), atol=1e-6)


def test_too_many_unreadable_pictures_are_refused(home):
    lost = set(range(1, 12))
    features(small_image_tower(), Lost(220, lost), progress=False)  # a twentieth
    with pytest.raises(ValueError, match=r"at most 5% unreadable .* 11 of 60 \(11 missing\)"):
        features(small_image_tower(seed=1), Lost(60, lost), progress=False)


def test_a_failure_leaves_nothing_behind(home):
    class Broken(Colours):
        def image(self, index, scaled=None):
            if index == 5:
                raise OSError("gone")
            return super().image(index)

    with pytest.raises(OSError, match="gone"):
        features(small_image_tower(), Broken(9), progress=False)
    assert cached(home) == []
    assert features(small_image_tower(), Colours(9), progress=False).shape == (9, 6)


def test_features_that_are_not_finite_are_refused(home):
    tower = small_image_tower()
    with torch.no_grad():
        tower.encoder.linear.bias[2] = float("nan")
    with pytest.raises(ValueError, match="expected finite features from test:image"):
        features(tower, Colours(3), progress=False)
    assert cached(home) == []


class Slow(Colours):
    """Pictures that take their time."""

    def image(self, index, scaled=None):
        time.sleep(0.02)
        return super().image(index)


def compute_in_another_process(folder, rows_per_part, started):
    os.environ["TOWERS_HOME"] = folder
    torch.set_num_threads(1)
    module.ROWS_PER_PART = rows_per_part
    pictures = Slow(40)
    started.wait()
    features(small_image_tower(), pictures, progress=False)
    os._exit(len(pictures.read))


@pytest.mark.slow
@pytest.mark.parametrize(("rows_per_part", "together"), [(1024, False), (1, True)])
def test_processes_compute_the_same_features_once(home, rows_per_part, together):
    """Few of them by one process while the others wait, many by all of them."""
    context = multiprocessing.get_context("spawn")
    started = context.Barrier(3)
    arguments = (str(home), rows_per_part, started)
    processes = [context.Process(target=compute_in_another_process, args=arguments)
                 for _ in range(3)]  # fmt: skip
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
    shares = sorted(process.exitcode for process in processes)
    assert sum(shares) == 40
    assert (shares[0] > 0) == together
    assert together or shares[1] == 0
    assert len(cached(home)) == 1


@pytest.mark.parametrize(
    ("tower", "inputs", "options", "named"),
    [
        (small_image_tower, ["a text"], {}, "expected a collection of images for test:image"),
        (small_text_tower, Colours(2), {}, "expected a list of texts for test:text, got Colours"),
        (small_text_tower, "one text", {}, "got str"),
        (small_text_tower, ["a", 1], {}, "expected a list of texts"),
        (small_text_tower, ["a"], {"dtype": "fp16"}, "expected dtype fp32 or bf16 .* got 'fp16'"),
        (small_text_tower, ["a"], {"batch": 0}, "batch >= 1, got .* and 0"),
    ],
)
def test_wrong_inputs_are_refused_in_one_line(home, tower, inputs, options, named):
    with pytest.raises(ValueError, match=named) as error:
        features(tower(), inputs, progress=False, **options)
    assert "\n" not in str(error.value)


def test_a_trainable_tower_is_refused(home):
    tower = small_image_tower().requires_grad_(True)
    with pytest.raises(ValueError, match=r"trainable weights in test:image; call its freeze\(\)"):
        features(tower, Colours(2), progress=False)


class Photographs:
    paths = sorted((Path(foolbox.__file__).parent / "data").glob("imagenet_*.jpg"))[:8]
    picture_keys = tuple(path.name for path in paths)
    picture_modules = (__name__,) * len(paths)

    def __len__(self):
        return len(self.paths)

    def image(self, index, scaled=None):
        return Image.open(self.paths[index]).convert("RGB")


@pytest.mark.parametrize(
    ("name", "least"),
    [("package:efficientnet-lite0", 0.995), ("package:minilm", 0.9995)],
)
@pytest.mark.slow
def test_bfloat16_features_agree_with_float32(home, name, least):
    """Measured: 0.997 at the lowest on 20 photographs, 0.991 on stamps, 0.9999 on sentences."""
    tower = models.load(name)
    inputs = Photographs() if isinstance(tower, models.ImageTower) else TEXTS
    full, half = (
        features(tower, inputs, dtype=dtype, progress=False).astype(np.float64)
        for dtype in ("fp32", "bf16")
    )
    norms = np.linalg.norm(full, axis=1) * np.linalg.norm(half, axis=1)
    cosines = (full * half).sum(1) / norms
    assert least < cosines.min() < 1 - 1e-9  # the same, and yet computed otherwise


@pytest.mark.parametrize(
    ("able", "expected"),
    [({"avx512_bf16": True}, "bf16"), ({"bf16": True}, "bf16"), ({"avx2": True}, "fp32"),
     ({"avx512_bf16": False}, "fp32")],
)  # fmt: skip
def test_the_quick_type_is_what_the_processor_has(monkeypatch, able, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    assert models.quick_dtype() == expected


@pytest.fixture
def threads():
    """Four threads, as on a machine of four cores."""
    torch.set_num_threads(4)
    yield 4
    torch.set_num_threads(1)


@pytest.mark.parametrize("name", ["test:image", "package:minilm"])
def test_threads_give_the_rows_that_one_gives(home, threads, name):
    """The same batches on one core each: the same to the last bit."""
    if name == "test:image":
        tower, inputs = small_image_tower(), Colours(101)
    else:
        tower, inputs = models.load(name), [f"{word} {n}" for word in TEXTS for n in range(9)]
    several = features(tower, inputs, batch=4, dtype="fp32", progress=False)
    for path in cached(home):
        path.unlink()
    torch.set_num_threads(1)
    one = features(tower, inputs, batch=4, dtype="fp32", progress=False)
    assert np.array_equal(several, one)


def test_torch_keeps_its_threads(home, threads):
    seen = []
    tower = small_image_tower()
    tower.register_forward_hook(lambda *_: seen.append(torch.get_num_threads()))
    features(tower, Colours(9), batch=1, progress=False)
    assert set(seen) == {1}
    assert torch.get_num_threads() == threads


def test_an_error_stops_the_rest(home):
    class Broken(Colours):
        def image(self, index, scaled=None):
            super().image(index)
            raise OSError("gone")

    pictures = Broken(1000)
    with pytest.raises(OSError, match="gone"):
        features(small_image_tower(), pictures, batch=1, progress=False)
    assert len(pictures.read) < 1000
    assert torch.get_num_threads() == 1
