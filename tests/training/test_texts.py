"""Pairs of texts from collections and files, and batches that mix them with images."""

import dataclasses
import json
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests import toy_towers
from tests.training import toy_runs
from towers import data, training
from towers.training import batches, lines, logs, loop, making, samples, texts
from towers.training.objectives import Contrastive
from towers.training.order import Order

torch.set_num_threads(1)

CAPTIONS = [
    {"en": ("a cat", "one cat"), "de": ("eine Katze",), "fr": ("un chat", "le chat", "chat")},
    {"en": ("a dog",), "de": ("ein Hund",)},
    {"en": ("a bird",)},
    {"fr": ("un poisson", "le poisson")},
]
PICKS = np.random.default_rng(0).integers(2**63, size=400).tolist()


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("TOWERS_HOME", str(tmp_path / "home"))


@pytest.fixture
def toys(monkeypatch):
    made = toy_towers.collection(CAPTIONS)
    monkeypatch.setattr(data, "load", lambda name: made)
    return made


def pairs_of(source):
    return Counter(source.pair(row, pick) for row in range(len(source)) for pick in PICKS)


# --- collections


def test_translations_are_two_languages_of_one_item(toys):
    source = texts.load(["translations:toys"], ("en", "de"))
    assert len(source) == 2
    assert pairs_of(source).keys() == {
        ("a cat", "eine Katze"), ("one cat", "eine Katze"), ("eine Katze", "a cat"),
        ("eine Katze", "one cat"), ("a dog", "ein Hund"), ("ein Hund", "a dog"),
    }  # fmt: skip


def test_every_language_is_as_likely(toys):
    source = texts.load(["translations:toys"], ("en", "de", "fr"))
    german = sum(source.pair(0, pick)[0] == "eine Katze" for pick in PICKS)
    assert abs(german - 400 / 3) < 4 * (400 * 2 / 9) ** 0.5  # four standard deviations


def test_captions_are_two_of_one_item_in_one_language(toys):
    source = texts.load(["captions:toys"], ("en", "fr"))
    assert len(source) == 2
    found = pairs_of(source)
    french = ["un chat", "le chat", "chat"]
    assert found.keys() == {
        ("a cat", "one cat"), ("one cat", "a cat"), ("un poisson", "le poisson"),
        ("le poisson", "un poisson"),
        *((one, other) for one in french for other in french if one != other),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "languages"), [("translations:toys", ("ja", "en")), ("captions:toys", ("de",))]
)
def test_a_collection_without_pairs_is_refused(toys, name, languages):
    with pytest.raises(training.TrainingError, match="expected items with"):
        texts.load([name], languages)


# --- files


def write(path, *content):
    path.write_text("".join(f"{line}\n" for line in content), encoding="utf-8")
    return path


def test_c4_gives_neighbouring_sentences(tmp_path):
    document = "One is here. Two is there! Is three?\nFour."
    path = write(
        tmp_path / "c4.json", json.dumps({"text": document, "url": "x"}), "no json", "{}", "[]",
        json.dumps({"text": 3}), json.dumps({"text": "Only one."}),
        json.dumps({"text": "Ünïcode 日本語。次の文。"}),
    )  # fmt: skip
    source = texts.load([f"sentences:{path}"], ())
    assert len(source) == 2
    assert pairs_of(source).keys() == {
        ("One is here.", "Two is there!"), ("Two is there!", "Is three?"), ("Is three?", "Four."),
        ("Ünïcode 日本語。", "次の文。"),
    }  # fmt: skip


def test_plain_text_has_a_paragraph_a_line(tmp_path):
    path = write(tmp_path / "plain.txt", "A b. C d.", "", "Alone.", "E “f.” G?")
    source = texts.load([f"sentences:{path}"], ())
    assert pairs_of(source).keys() == {("A b.", "C d."), ("E “f.”", "G?")}


def test_news_are_a_package_s_articles():
    found = texts.load(["news"], ("en",))
    assert found.blocks == (len(found),) == (300,)
    first, second = found.pair(0, 3)
    assert first != second
    (shorter,) = texts.load(["dropout:news"], ("en",)).pair(0, 3)[1:]
    assert {*shorter.split()} < {*texts.load(["dropout:news"], ("en",)).pair(0, 3)[0].split()}


def test_a_folder_stands_for_its_files(tmp_path):
    write(tmp_path / "b.txt", "A b. C d.")
    write(tmp_path / "a.jsonl", json.dumps({"text": "E. F."}), json.dumps({"text": "G. H."}))
    write(tmp_path / "notes.md", "No. No.")
    source = texts.load([f"sentences:{tmp_path}"], ())
    assert source.blocks == (2, 1)
    assert [source.pair(row, 0) for row in range(3)] == [
        ("E.", "F."),
        ("G.", "H."),
        ("A b.", "C d."),
    ]


def test_wmt_has_two_files_line_by_line(tmp_path):
    one = write(tmp_path / "a.en", "cat", "", "dog", "bird")
    other = write(tmp_path / "a.de", "Katze", "leer", "", "Vogel")
    source = texts.load([f"parallel:{one},{other}"], ())
    assert [source.pair(row, 5) for row in range(len(source))] == [
        ("cat", "Katze"),
        ("bird", "Vogel"),
    ]


def test_back_translations_are_two_columns(tmp_path):
    path = write(tmp_path / "b.tsv", "a cat\tthe cat", "none", "\tb", "a dog\t a hound ", "a\tb\tc")
    source = texts.load([f"backtranslation:{path}"], ())
    assert [source.pair(row, 5) for row in range(len(source))] == [
        ("a cat", "the cat"), ("a dog", "a hound"),
    ]  # fmt: skip


def test_lines_that_are_no_pair_are_told_and_too_many_refused(tmp_path, capsys):
    good = [f"a {n}\tb {n}" for n in range(40)]
    path = write(tmp_path / "b.tsv", *good, "no tab", "three\tare\ttoo many")
    assert len(texts.load([f"backtranslation:{path}"], ())) == 40
    texts.load([f"backtranslation:{path}"], ())  # from the index
    told = [line for line in capsys.readouterr().err.splitlines() if "left out" in line]
    assert [line.partition("left")[2] for line in told] == [" out 2 of 42 (2 not two columns)"] * 2
    path = write(tmp_path / "c.tsv", *good, *["no tab"] * 10)
    with pytest.raises(training.TrainingError, match="got 10 bad lines of 50"):
        texts.load([f"backtranslation:{path}"], ())


def test_damaged_json_is_told_and_one_sentence_is_no_damage(tmp_path, capsys):
    lines = ['{"text": "One. Two."}', '{"text": "One."}', '{"text": 3}', "{", '"text"']
    path = write(tmp_path / "a.jsonl", *lines)
    assert len(texts.load([f"sentences:{path}"], ())) == 1
    assert 'left out 3 of 4 (3 no JSON with "text")' in capsys.readouterr().err


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_end_where_a_text_file_s_do_and_nowhere_else(tmp_path, end):
    one, other = tmp_path / "a.en", tmp_path / "a.de"
    mark = "\u2028\x85\x0c\x0b"
    one.write_bytes(end.join([f"a{mark}cat", "a dog", "a cow"]).encode())
    other.write_bytes(end.join([f"eine{mark}Katze", "ein Hund", "eine Kuh"]).encode())
    source = texts.load([f"parallel:{one},{other}"], ())
    assert [source.pair(row, 5) for row in range(len(source))] == [
        (f"a{mark}cat", f"eine{mark}Katze"), ("a dog", "ein Hund"), ("a cow", "eine Kuh"),
    ]  # fmt: skip


def test_word_dropout_leaves_a_fifth_out(tmp_path):
    words = " ".join(f"w{n}" for n in range(50))
    path = write(tmp_path / "b.tsv", f"{words}\tx", "one\tx")
    source = texts.load([f"dropout:backtranslation:{path}"], ())
    kept = []
    for pick in PICKS:
        first, second = source.pair(0, pick)
        assert first == words
        left = second.split()
        assert left == [word for word in words.split() if word in set(left)]
        kept.append(len(left))
    assert abs(np.mean(kept) - 40) < 4 * (50 * 0.16 / 400) ** 0.5
    assert {source.pair(1, pick) for pick in PICKS} == {("one", "one")}


def test_sources_follow_one_another(tmp_path):
    paths = [write(tmp_path / f"{n}.tsv", f"a{n}\tb{n}", f"c{n}\td{n}") for n in range(3)]
    source = texts.load([f"backtranslation:{path}" for path in paths], ())
    assert source.blocks == (2, 2, 2)
    assert [source.pair(row, 0)[0] for row in range(6)] == ["a0", "c0", "a1", "c1", "a2", "c2"]
    other = texts.load([f"backtranslation:{path}" for path in paths[::-1]], ())
    assert source.digest != other.digest


def test_the_digest_is_of_the_content_and_an_index_is_made_once(tmp_path, monkeypatch):
    path = write(tmp_path / "a.tsv", "a\tb")
    name = f"backtranslation:{path}"
    first = texts.load([name], ()).digest
    made = []
    monkeypatch.setattr(lines, "_indexed", lambda *given: made.append(given) or indexed(*given))
    assert texts.load([name], ()).digest == first
    assert not made
    copy = write(tmp_path / "copy.tsv", "a\tb")
    assert texts.load([f"backtranslation:{copy}"], ()).digest == first
    write(path, "a\tc")
    assert texts.load([name], ()).digest != first
    assert len(made) == 2


indexed = lines._indexed


def test_a_file_that_changes_under_a_run_stops_it(tmp_path):
    path = write(tmp_path / "a.tsv", "a\tb", "c\td")
    source = texts.load([f"backtranslation:{path}"], ())
    write(path, "now", "other")
    with pytest.raises(training.TrainingFailed, match="leave files alone while a run reads them"):
        source.pair(1, 0)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("captions:", "expected pairs of texts as translations:COLLECTION"),
        ("nonsense:x", "got 'nonsense:x'"),
        ("parallel:a", "got 'parallel:a'"),
        ("dropout:x", "got 'x'"),
        ("sentences:missing.txt", "expected a text file at missing.txt, got No such file"),
        ("sentences:{}/gz.json", "expected plain text in .*gz.json, got gzip"),
        ("sentences:{}/empty.txt", "expected lines of two sentences in .*, got none"),
        ("sentences:{}/folder", "expected files .json, .jsonl, .txt in .*, got none"),
        ("backtranslation:{}/empty.txt", "expected lines of two columns"),
        ("parallel:{0}/empty.txt,{0}/two.txt", "expected as many lines in .*empty.txt as in"),
    ],
)
def test_what_gives_no_pairs_is_refused_in_one_line(tmp_path, name, message):
    (tmp_path / "gz.json").write_bytes(b"\x1f\x8b\x08")
    (tmp_path / "folder").mkdir()
    write(tmp_path / "empty.txt", "")
    write(tmp_path / "two.txt", "a", "b")
    with pytest.raises(training.TrainingError, match=message) as error:
        texts.load([name.format(tmp_path)], ("en",))
    assert "\n" not in str(error.value)


@given(st.text())
def test_sentences_lose_nothing_but_space(text):
    found = lines.sentences(text)
    assert "".join("".join(found).split()) == "".join(text.split())
    assert all(each == each.strip() != "" for each in found)


# --- batches


class Counted:
    """Pairs "first 7" and "second 7 PICK"."""

    blocks, digest = (30,), "counted"

    def __len__(self):
        return 30

    def pair(self, row, pick):
        return f"first {row}", f"second {row} {pick % 10}"


def mixed(share, batch=8, accumulate=1, ranks=1, rank=0):
    source, count = toy_runs.source(toy_towers.trainable()), round(share * batch)
    images = written = None
    if count < batch:
        images = batches.Part(source, Order(source.blocks, batch - count, 0, accumulate))
    if count:
        written = batches.Part(Counted(), Order((30,), count, 1, accumulate))
    return batches.Batches(images, seen_texts, rank, ranks, written)


def seen_texts(captions):
    """Tokens that can be read back: the letters."""
    return toy_towers.tokenize(captions)


def words(rows):
    return ["".join(chr(code - 1) for code in row.tolist() if code) for row in rows]


def test_a_mixed_batch_has_images_first_and_then_texts():
    batch = mixed(0.25)[0]
    assert len(batch) == 8
    assert batch.images["written"].tolist() == [False] * 6 + [True] * 2
    assert batch.images["images"].shape == (8, 8, 8, 3)
    assert batch.images["images"][:6].flatten(1).any(1).all()
    assert not batch.images["images"][6:].any()
    assert words(batch.images["ids"][:6]) == [""] * 6
    firsts, seconds = words(batch.images["ids"][6:]), words(batch.texts["ids"][6:])
    for first, second in zip(firsts, seconds, strict=True):
        assert second.startswith(first.replace("first", "second"))
    assert all("toy" in text for text in words(batch.texts["ids"][:6]))


def test_without_a_share_a_batch_is_as_before():
    dual = toy_towers.trainable()
    source = toy_runs.source(dual)
    draw = Order(source.blocks, 8, 0).draw(3)
    read = source.read(draw.rows, draw.picks)
    batch = mixed(0.0)[3]
    assert torch.equal(batch.images, torch.from_numpy(read.images))
    assert words(batch.texts["ids"]) == read.texts


def test_texts_alone_fill_a_batch():
    batch = mixed(1.0)[0]
    assert batch.images["written"].all()
    assert "images" not in batch.images


@pytest.mark.parametrize("accumulate", [1, 2])
def test_ranks_and_parts_share_both_kinds(accumulate):
    whole = [mixed(0.5, accumulate=accumulate)[n] for n in range(2 * accumulate)]
    for number, batch in enumerate(whole):
        shares = [mixed(0.5, accumulate=accumulate, ranks=2, rank=rank)[number] for rank in (0, 1)]
        for kind in (False, True):
            parts = [words(each.texts["ids"][each.images["written"] == kind]) for each in shares]
            assert parts[0] + parts[1] == words(batch.texts["ids"][batch.images["written"] == kind])
            assert len(parts[0]) == len(parts[1]) == 2 // accumulate


def test_an_epoch_of_texts_visits_each_once():
    source = mixed(0.25)
    rows = [text for n in range(15) for text in words(source[n].images["ids"][6:])]
    assert sorted(rows) == sorted(f"first {n}" for n in range(30))


def test_the_left_side_of_a_text_is_embedded_as_a_text():
    dual = toy_towers.trainable().eval()
    batch = mixed(0.25)[0]
    images, written, _ = Contrastive(dual)(batch.images, batch.texts)
    first = Contrastive(dual)(batch.images["images"][:6], {"ids": batch.texts["ids"][:6]})
    torch.testing.assert_close(images[:6], first[0])
    torch.testing.assert_close(images[6:], dual.embed_texts({"ids": batch.images["ids"][6:]}))
    torch.testing.assert_close(written, dual.embed_texts(batch.texts))


def run(folder, **changes):
    changes = {"pairs": Counted(), "text_share": 0.5, "text_pairs": ("counted:",)} | changes
    dual = toy_towers.trainable()
    given = {name: changes.pop(name) for name in ("pairs",)}
    source = None if changes["text_share"] == 1 else toy_runs.source(dual)
    recipe = toy_runs.recipe(**changes)
    return training.train(recipe, folder, dual=dual, source=source, progress=False, **given)


@pytest.mark.slow
def test_a_mixed_run_is_resumed_bit_by_bit(tmp_path, monkeypatch):
    run(tmp_path / "whole")
    update = loop.Trainer.update

    def stopping(self, step, given):
        if step == 7:
            raise toy_runs.Stop
        return update(self, step, given)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Trainer, "update", stopping)
        with pytest.raises(toy_runs.Stop):
            run(tmp_path / "cut")
    assert run(tmp_path / "cut", workers=2).resumed == 6
    assert toy_runs.bits(tmp_path / "cut", 12) == toy_runs.bits(tmp_path / "whole", 12)


@pytest.mark.parametrize("share", [0.5, 1])
def test_gradient_caching_changes_no_weight_but_by_rounding(tmp_path, share):
    """A chunk may hold images only, texts only, or both."""
    dropless = {"accumulate": 1, "text_share": share, "steps": 3, "clip_norm": 0.0,
                "data": () if share == 1 else ("toys",), "augment": "none"}  # fmt: skip
    losses = []
    for chunk in (0, 3):
        torch.manual_seed(0)
        run(tmp_path / str(chunk), chunk=chunk, **dropless)
        losses.append([line["loss"] for line in logs.read(tmp_path / str(chunk))])
    if share == 1:  # images bring dropout, which is drawn anew for each chunk
        assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert np.isfinite(losses).all()


def test_another_source_of_pairs_is_another_run(tmp_path):
    run(tmp_path)
    other = Counted()
    other.digest = "another"
    with pytest.raises(training.TrainingError, match="data with digest"):
        run(tmp_path, pairs=other)


def test_a_batch_that_texts_cannot_share_is_refused(tmp_path):
    few = Counted()
    few.blocks = (3,)
    with pytest.raises(training.TrainingError, match="expected a batch of at most 3 rows"):
        run(tmp_path, pairs=few)


def test_captions_that_stand_twice_are_counted_and_logged(tmp_path):
    dual = toy_towers.trainable()
    captions = [("the same",), ("the same",), *((f"toy {n}",) for n in range(6))]
    source = samples.CollectionSamples(
        toy_towers.collection(captions), samples.Squares(dual.image.transform)
    )
    toy_runs.train(tmp_path, dual=dual, source=source, accumulate=1, augment="none")
    assert {line["duplicates"] for line in logs.read(tmp_path)} == {1}  # all 8 in each batch
    toy_runs.train(tmp_path / "parts", dual=toy_towers.trainable(), source=source, augment="none")
    seen = [line["duplicates"] for line in logs.read(tmp_path / "parts")]
    assert set(seen) == {0, 1}  # only within a part they are each other's negatives


def test_ranks_refuse_chunks_of_texts_alone_where_towers_are_separate():
    mixed_in_chunks = toy_runs.recipe(
        chunk=2, text_share=0.5, text_pairs=("parallel:toys",), batch=8, accumulate=1
    )
    making.check(mixed_in_chunks, ranks=1)
    with pytest.raises(training.TrainingError, match="set chunk to 0"):
        making.check(mixed_in_chunks, ranks=2)
    making.check(dataclasses.replace(mixed_in_chunks, text="shared:pixels"), ranks=2)
