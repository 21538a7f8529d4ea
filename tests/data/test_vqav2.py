"""VQAv2 in its authors' layout, made up and small."""

import json

import pytest

from tests.data.made_up_files import encoded
from towers.data import vqav2
from towers.data.errors import DataError

TEN = ["yes"] * 6 + ["no"] * 4


def question(number, picture=9, text="Is it red?"):
    return {"image_id": picture, "question": text, "question_id": number}


def note(number, picture=9, answers=TEN, kind="yes/no"):
    said = [{"answer": each, "answer_confidence": "yes", "answer_id": i + 1}
            for i, each in enumerate(answers)]  # fmt: skip
    return {
        "question_id": number, "image_id": picture, "answer_type": kind, "answers": said,
        "multiple_choice_answer": answers[0] if answers else "",
    }  # fmt: skip


def layout(root, questions, notes, pictures=(9,), part="train"):
    def write(name, field, entries):
        (root / name).write_text(json.dumps({"info": {}, field: entries}))

    write(f"v2_OpenEnded_mscoco_{part}2014_questions.json", "questions", questions)
    write(f"v2_mscoco_{part}2014_annotations.json", "annotations", notes)
    (root / f"{part}2014").mkdir()
    for number in pictures:
        name = f"COCO_{part}2014_{number:012d}.jpg"
        (root / f"{part}2014" / name).write_bytes(encoded((number, 0, 0), "JPEG"))
    return str(root)


def refusal(*args) -> str:
    with pytest.raises(DataError) as caught:
        vqav2.load(*args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_questions_find_their_answers_and_their_pictures(tmp_path):
    notes = [note(21, 8, ["2"] * 10, "number"), note(20)]
    path = layout(tmp_path, [question(20), question(21, 8, "How many?")], notes, (8, 9), "val")
    questions = vqav2.load(path, "val")
    assert [(q.text, q.kind, q.answer) for q in questions] == [
        ("Is it red?", "yes/no", "yes"), ("How many?", "number", "2")
    ]  # fmt: skip
    assert questions[0].answers == tuple(TEN)
    pictures, texts = questions.seen([1])
    assert texts == ["How many?"]
    assert pictures[0].size == (6, 4)
    assert list(questions.clusters) == ["9", "8"]


def test_an_unreadable_picture_is_a_white_page_and_told(tmp_path, capsys):
    path = layout(tmp_path, [question(20), question(21, 8)], [note(20), note(21, 8)], (8, 9), "val")
    (next((tmp_path).rglob("*000008.jpg"))).write_bytes(b"no picture")
    pictures, texts = vqav2.load(path, "val").seen([0, 1])
    assert len(texts) == 2
    assert pictures[1].getcolors(1)[0][1] == (255, 255, 255) != pictures[0].getpixel((0, 0))
    assert "a white page stands for picture 8 (unknown type" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("notes", "said"),
    [
        ([], "10 answers and an answer_type for question 20 of VQAv2, got 0 answers and None"),
        ([note(20, answers=["yes"])], "got 1 answers and 'yes/no'"),
        ([note(20) | {"answer_type": 3}], "got 10 answers and 3"),
    ],
)
def test_a_question_without_its_ten_answers(tmp_path, notes, said):
    assert said in refusal(layout(tmp_path, [question(20)], [*notes, note(99)]), "train")


def test_what_is_missing_or_damaged_is_named(tmp_path):
    assert "expected a folder" in refusal(str(tmp_path / "nowhere"), "train")
    assert "got 'test'" in refusal(str(tmp_path), "test")
    assert "v2_OpenEnded_mscoco_train2014_questions.json" in refusal(str(tmp_path), "train")
    path = layout(tmp_path, [question(20), question(21, 7)], [note(20), note(21, 7)])
    assert "1 are missing, COCO_train2014_000000000007.jpg" in refusal(path, "train")
    file = tmp_path / "v2_mscoco_train2014_annotations.json"
    file.write_text("{")
    assert "expected JSON" in refusal(path, "train")
    file.write_text('{"questions": []}')
    assert "a list 'annotations'" in refusal(path, "train")
    questions = tmp_path / "v2_OpenEnded_mscoco_train2014_questions.json"
    file.write_text(json.dumps({"annotations": [note(20)]}))
    questions.write_text(json.dumps({"questions": [{"question_id": "20"}]}))
    assert "expected question_id, image_id and question" in refusal(path, "train")
