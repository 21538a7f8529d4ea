"""GLUE's files: each of the eight layouts on made-up lines, and one line about what is wrong."""

import numpy as np
import pytest

from towers import published
from towers.data import DataError, glue
from towers.data.glue import LAYOUTS

MNLI = "index\tpromptID\tpairID\tgenre\tsentence1\tsentence2\tlabel1"
STSB = "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore"
FILES = {
    "CoLA": ("", ["gj04\t1\t\tThey sang.", "gj04\t0\t*\tThey sang it to.", ""]),
    "SST-2": ("sentence\tlabel", ["a gem \t1", 'an "unquoted mess \t0']),
    "MRPC": ("\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String",
             ["1\t7\t8\tHe ran.\tHe did run.", "0\t9\t10\tIt rained.\tIt snowed."]),
    "QQP": ("id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate",
            ["1\t2\t3\tWhy?\tHow come?\t1", "broken line", "4\t5\t6\tWho?\tWhen?\t0"]),
    "STS-B": (STSB, ["0\tn\tf\t2012\t1\tn\tn\tA dog.\tA hound.\t4.250",
                     "1\tn\tf\t1\t1\tn\tn\tA.\tB.\t0"]),
    "QNLI": ("index\tquestion\tsentence\tlabel",
             ["0\tWhere?\tHere.\tentailment", "1\tWho?\tThere.\tnot_entailment"]),
    "RTE": ("index\tsentence1\tsentence2\tlabel",
            ["0\tShe left.\tShe is gone.\tentailment", "1\tA.\tB.\tnot_entailment"]),
}  # fmt: skip


def write(folder, header, lines):
    folder.mkdir(parents=True, exist_ok=True)
    text = "\n".join([*([header] if header else []), *lines])
    for name in ("train", "dev"):
        (folder / f"{name}.tsv").write_text(text, encoding="utf-8")


@pytest.fixture
def home(tmp_path):
    for name, (header, lines) in FILES.items():
        write(tmp_path / name, header, lines)
    folder = tmp_path / "MNLI"
    folder.mkdir()
    (folder / "train.tsv").write_text(f"{MNLI}\tgold_label\n0\t1\t2\tg\tA.\tB.\tn\tneutral\n")
    for name, answer in (("matched", "contradiction"), ("mismatched", "entailment")):
        (folder / f"dev_{name}.tsv").write_text(
            f"{MNLI}\tlabel2\tgold_label\n0\t1\t2\tg\tA.\tB.\tn\tn\t{answer}\n"
        )
    return tmp_path


@pytest.mark.parametrize(
    ("name", "pages", "targets"),
    [
        ("COLA", ["They sang.", "They sang it to."], [1, 0]),
        ("SST-2", ["a gem ", 'an "unquoted mess '], [1, 0]),
        ("MRPC", ["He ran. [SEP] He did run.", "It rained. [SEP] It snowed."], [1, 0]),
        ("QQP", ["Why? [SEP] How come?", "Who? [SEP] When?"], [1, 0]),
        ("STS-B", ["A dog. [SEP] A hound.", "A. [SEP] B."], [4.25, 0.0]),
        ("QNLI", ["Where? [SEP] Here.", "Who? [SEP] There."], [1, 0]),
        ("RTE", ["She left. [SEP] She is gone.", "A. [SEP] B."], [1, 0]),
    ],
)
def test_each_task_is_read_as_it_is_distributed(home, name, pages, targets):
    task = glue.glue(home, name)
    assert list(task.tests) == [name]
    for part in (task.train, task.tests[name]):
        assert part.pages == pages
        assert part.targets.tolist() == targets
    assert task.classes == (0 if name == "STS-B" else 2)
    assert task.train.targets.dtype.kind == ("f" if name == "STS-B" else "i")


def test_mnli_has_three_classes_and_two_columns(home):
    task = glue.glue(home, "MNLI")
    assert task.classes == 3
    assert {column: part.targets.tolist() for column, part in task.tests.items()} == {
        "MNLI-M": [0], "MNLI-MM": [2],
    }  # fmt: skip
    assert task.train.targets.tolist() == [1]


def test_columns_and_metrics_are_those_of_the_paper_s_table():
    # "The metric is accuracy except for ... QQP and MRPC ... F_1 score, CoLA ... Matthew's
    # correlation, and STS-B ... Spearman's"
    frame = published.table("clippo", 2).frame
    assert list(frame)[2:-1] == list(glue.COLUMNS)
    others = {name: each.metric for name, each in LAYOUTS.items() if each.metric != "accuracy"}
    assert others == {"QQP": "F1", "COLA": "Matthews", "STS-B": "Spearman", "MRPC": "F1"}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("SST-2", "sentence\tlabel\ngood\tyes\n", r"dev.tsv: line 2: expected 0, 1 in label"),
        ("SST-2", "sentence\tlabel\ngood\t1\nbad\n", "line 3: expected 2 columns, got 1"),
        ("SST-2", "text\tlabel\ngood\t1\n", "expected the columns sentence, label in"),
        ("SST-2", "sentence\tlabel\n", "expected at least one example, got none"),
        ("COLA", "gj04\t1\t\n", "line 1: expected 4 columns, got 3"),
        ("STS-B", f"{STSB}\n" + "a\t" * 9 + "nan\n", "expected a number"),
    ],
)  # fmt: skip
def test_what_is_no_glue_is_refused_in_one_line(home, name, text, message):
    (home / LAYOUTS[name].folder / "dev.tsv").write_text(text)
    with pytest.raises(DataError, match=message) as error:
        glue.glue(home, name)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_or_no_text_says_where_to_get_it(home):
    (home / "RTE/dev.tsv").unlink()
    with pytest.raises(DataError, match=r"RTE/dev.tsv, got No such file.*gluebenchmark.com"):
        glue.glue(home, "RTE")
    (home / "RTE/dev.tsv").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="got other bytes than UTF-8"):
        glue.glue(home, "RTE")
    with pytest.raises(DataError, match=r"expected a task of GLUE among MNLI, .*; got 'WNLI'"):
        glue.glue(home, "WNLI")


def test_scores_are_numbers_and_the_average_is_over_nine_columns():
    assert len(glue.COLUMNS) == 9
    assert np.isfinite([*glue.INFERENCE.values()]).all()


def test_lines_of_other_columns_are_told_and_too_many_refused(home, capsys):
    good = "".join(f"good {n}\t1\n" for n in range(100))
    dev = home / "SST-2/dev.tsv"
    dev.write_text(f"sentence\tlabel\n{good}a tab\tinside\t1\n")
    assert len(glue.glue(home, "SST-2").tests["SST-2"]) == 100
    assert "left out 1 of 101 (1 line of other columns)" in capsys.readouterr().err
    dev.write_text(f"sentence\tlabel\n{good}" + "a tab\tinside\t1\n" * 10)
    with pytest.raises(DataError, match="other numbers in 10 of 110 lines"):
        glue.glue(home, "SST-2")


def test_only_a_line_feed_or_a_carriage_return_ends_an_example(home):
    text = "sentence\tlabel\ra\u2028b\x85c\t1\r\nd\t0\n"
    (home / "SST-2/dev.tsv").write_bytes(text.encode())
    assert glue.glue(home, "SST-2").tests["SST-2"].texts == ("a\u2028b\x85c", "d")
