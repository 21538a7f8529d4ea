"""VQAv2 from local files, as its authors publish it beside the images of COCO.

    PATH/v2_OpenEnded_mscoco_train2014_questions.json
    PATH/v2_mscoco_train2014_annotations.json
    PATH/train2014/COCO_train2014_000000000009.jpg

and the same for val2014. The files are had from https://visualqa.org/download.html and
https://cocodataset.org. Answers to the test parts are nowhere: they are scored by a server.

Source: Goyal et al. 2017; Tschannen et al. 2023, sections 4.2 and B.1.
"""

from functools import partial
from pathlib import Path

from PIL import Image

from towers.data.annotations import read_json
from towers.data.errors import DataError
from towers.data.folders import existing_folder
from towers.data.images import open_image
from towers.data.questions import Asked, Questions, readable
from towers.files import sha256

PARTS = ("train", "val")
ANNOTATORS = 10
MAX_BYTES = 2**30
"""Size above which a file is refused; the largest real one has about 400 MB."""


def load(path: str, part: str) -> Questions:
    """The questions of a part, each with the answers of its ten annotators.

    Args:
        path: of the folder with the files above.
        part: "train" or "val".

    Raises:
        DataError: one line that says which file is missing or damaged, or which question is not as
            it must be.
    """
    root = existing_folder(path)
    if part not in PARTS:
        raise DataError(f"expected part {' or '.join(PARTS)} of VQAv2, got {part!r}")
    year = f"{part}2014"
    questions = _entries(root / f"v2_OpenEnded_mscoco_{year}_questions.json", "questions")
    notes = _entries(root / f"v2_mscoco_{year}_annotations.json", "annotations")
    note_of = {note.get("question_id"): note for note in notes}
    asked = tuple(_asked(entry, note_of.get(entry.get("question_id"))) for entry in questions)
    files = {q.picture: root / year / f"COCO_{year}_{q.picture:012d}.jpg" for q in asked}
    missing = [file for file in files.values() if not file.is_file()]
    if missing:
        raise DataError(
            f"expected {len(files)} images of COCO in {str(root / year)!r}, {len(missing)} are "
            f"missing, {missing[0].name} among them; unpack {year}.zip there"
        )

    def picture(number: int) -> Image.Image:
        return open_image(files[number])

    version = sha256(f"VQAv2 {part}".encode())
    return Questions(f"vqav2:{part}", asked, partial(readable, picture), version)


def _entries(file: Path, field: str) -> list[dict]:
    content = read_json(file, MAX_BYTES)
    entries = content.get(field) if isinstance(content, dict) else None
    if not (isinstance(entries, list) and entries and all(isinstance(e, dict) for e in entries)):
        raise DataError(
            f"expected a list {field!r} in {str(file)!r}, found none; is it the file of VQAv2?"
        )
    return entries


def _asked(entry: dict, note: dict | None) -> Asked:
    """A question with its annotation."""
    number, picture, text = (entry.get(key) for key in ("question_id", "image_id", "question"))
    if not (type(number) is type(picture) is int and isinstance(text, str)):
        raise DataError(
            f"expected question_id, image_id and question of each question, got {str(entry)[:80]}"
        )
    answers = note.get("answers") if note else None
    said = [answer.get("answer") for answer in answers or () if isinstance(answer, dict)]
    kind = note.get("answer_type") if note else None
    if not (len(said) == ANNOTATORS and all(isinstance(answer, str) for answer in (*said, kind))):
        raise DataError(
            f"expected {ANNOTATORS} answers and an answer_type for question {number} of VQAv2, got "
            f"{len(said)} answers and {kind!r}"
        )
    return Asked(picture, text, kind, tuple(said))
