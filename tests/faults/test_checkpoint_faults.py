"""Hostile and damaged weight files: nothing in them runs, and each is refused in one line."""

import builtins
import io
import os
import pickle
import random
import shutil
import struct
import subprocess
import zipfile

import pytest
import torch

from tests.models.conftest import bert, small_dual, tiny_arch  # noqa: F401 (fixtures)
from towers import models
from towers.models import checkpoints, weights


class Call:
    """Pickles to a call of a function with arguments."""

    def __init__(self, function, *arguments, state=None):
        self.reduced = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.reduced


class Setter:
    """Runs code when its state is set."""

    def __init__(self, code):
        self.code = code

    def __setstate__(self, state):
        exec(state["code"])


def payloads(mark):
    """Name -> an object that creates the file `mark` when it is unpickled without care."""
    code, shell = f"open({str(mark)!r}, 'w').close()", f"touch {mark}"
    return {
        "os.system": Call(os.system, shell),
        "os.popen": Call(os.popen, shell),
        "os.mknod": Call(os.mknod, str(mark)),
        "subprocess.call": Call(subprocess.call, ["touch", str(mark)]),
        "subprocess.run": Call(subprocess.run, ["touch", str(mark)]),
        "eval": Call(builtins.eval, f"__import__('os').mknod({str(mark)!r})"),
        "exec": Call(builtins.exec, code),
        "open": Call(builtins.open, str(mark), "w"),
        "io.open": Call(io.FileIO, str(mark), "w"),
        "shutil": Call(shutil.copy, __file__, str(mark)),
        "setstate": Setter(code),
    }


KINDS = list(payloads("x"))
STATE = {"layer.weight": torch.zeros(2)}


def bare(payload, protocol):
    return pickle.dumps(payload, protocol)


def in_a_state_dict(payload, protocol):
    return pickle.dumps({"layer.weight": payload}, protocol)


def torch_zip(payload, protocol):
    file = io.BytesIO()
    torch.save(STATE | {"payload": payload}, file, pickle_protocol=max(protocol, 2))
    return file.getvalue()


def torch_before_1_6(payload, protocol):
    file = io.BytesIO()
    torch.save(STATE | {"payload": payload}, file, pickle_protocol=2,
               _use_new_zipfile_serialization=False)  # fmt: skip
    return file.getvalue()


def zip_by_hand(payload, protocol):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(payload, protocol))
        archive.writestr("archive/version", "3")
    return file.getvalue()


pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:Detected pickle protocol"),
]
WRAPPERS = [bare, in_a_state_dict, torch_zip, torch_before_1_6, zip_by_hand]


@pytest.mark.parametrize("kind", KINDS)
def test_the_payloads_do_run_where_nobody_takes_care(tmp_path, kind):
    """Without this, a payload that never runs anywhere would prove nothing."""
    mark = tmp_path / "ran"
    result = pickle.loads(pickle.dumps(payloads(mark)[kind]))
    if hasattr(result, "close"):
        result.close()
    assert mark.exists()


@pytest.mark.parametrize("wrapper", WRAPPERS, ids=lambda wrapper: wrapper.__name__)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.area("weights: malicious pickles")
def test_no_payload_ever_runs(tmp_path, tally, kind, wrapper):
    """11 payloads in 5 containers, protocols 0 to 5, under 3 suffixes, through both readers."""
    mark, refused = tmp_path / "ran", 0
    for protocol in range(6):
        content = wrapper(payloads(mark)[kind], protocol)
        for suffix in ("pt", "safetensors", "bin"):
            path = tmp_path / f"weights.{suffix}"
            path.write_bytes(content)
            for read in (weights.read, checkpoints.read):
                with pytest.raises(ValueError, match="expected") as error:
                    read(path)
                assert "\n" not in str(error.value)
                refused += 1
    assert refused == 36
    tally.injected = refused
    assert not mark.exists()


@pytest.mark.parametrize("wrapper", WRAPPERS, ids=lambda wrapper: wrapper.__name__)
@pytest.mark.parametrize("prefix", ["file", "timm", "open_clip", "hf"])
@pytest.mark.area("weights: malicious pickles")
def test_no_payload_runs_through_a_model_name(tmp_path, tiny_arch, bert, prefix, wrapper):  # noqa: F811
    mark, path = tmp_path / "ran", tmp_path / "weights.pt"
    path.write_bytes(wrapper(payloads(mark)["os.mknod"], 2))
    (bert / "model.safetensors").unlink()
    shutil.copy(path, bert / "pytorch_model.bin")
    name = {"file": f"file:{path}", "timm": f"timm:test_vit/{path}", "hf": f"hf:{bert}",
            "open_clip": f"open_clip:{tiny_arch}/{path}"}[prefix]  # fmt: skip
    with pytest.raises(ValueError, match="expected") as error:
        models.load(name)
    assert "\n" not in str(error.value)
    assert not mark.exists()


@pytest.mark.parametrize("wrapper", [bare, in_a_state_dict])
@pytest.mark.area("weights: malicious pickles")
def test_a_bare_pickle_is_not_even_parsed(tmp_path, wrapper, monkeypatch):
    monkeypatch.setattr(torch, "load", pytest.fail)
    for protocol in range(6):
        (tmp_path / "weights.pt").write_bytes(wrapper(torch.zeros(2), protocol))
        with pytest.raises(ValueError, match="a bare pickle is never read"):
            weights.read(tmp_path / "weights.pt")


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "dual.safetensors"
    models.save(small_dual(), path)
    return path


def refused(path):
    """Whether the checkpoint is refused in one line; anything but a refusal propagates."""
    try:
        checkpoints.read(path)
    except ValueError as error:
        return "\n" not in str(error)
    return False


@pytest.mark.area("weights: damaged files")
def test_a_checkpoint_cut_anywhere_is_refused(checkpoint, tally):
    content = checkpoint.read_bytes()
    tally.injected = len(content) + 1
    for length in range(len(content)):
        checkpoint.write_bytes(content[:length])
        assert refused(checkpoint), length
    checkpoint.write_bytes(content + b"\0")
    assert refused(checkpoint)
    checkpoint.write_bytes(content)
    assert not refused(checkpoint)


@pytest.mark.area("weights: damaged files")
def test_a_header_with_any_flipped_bit_is_read_or_refused(checkpoint, tally):
    """Never another error, a crash or a large allocation; most flips break the JSON."""
    content = bytearray(checkpoint.read_bytes())
    length = 8 + struct.unpack("<Q", content[:8])[0]
    tally.injected, count = 3 * length, 0
    for position in range(length):
        for bit in (0, 3, 7):
            content[position] ^= 1 << bit
            checkpoint.write_bytes(content)
            count += refused(checkpoint)
            content[position] ^= 1 << bit
    assert count > length


@pytest.mark.parametrize(
    "start",
    [b"", b"{", struct.pack("<Q", 2**63), struct.pack("<Q", 60) + b"{", b"PK\x03\x04", b"\x80\x02",
     b"\x80\x04\x95"],
)  # fmt: skip
@pytest.mark.area("weights: damaged files")
def test_noise_behind_any_beginning_is_refused(tmp_path, tally, start):
    generator = random.Random(0)
    path = tmp_path / "noise"
    for length in (0, 1, 7, 8, 9, 100, 5000):
        tally.injected += 1
        path.write_bytes(start + generator.randbytes(length))
        assert refused(path)
        with pytest.raises(ValueError, match="expected"):
            weights.read(path)


@pytest.mark.parametrize("content", [{"a": 1}, [torch.zeros(1)], torch.zeros(2), "text",
                                     {"state_dict": {"a": "b"}}])  # fmt: skip
def test_torch_archives_of_anything_but_named_tensors_are_refused(tmp_path, content):
    torch.save(content, tmp_path / "weights.pt")
    with pytest.raises(ValueError, match="expected a dict of tensors"):
        weights.read(tmp_path / "weights.pt")


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("nested", [False, True])
def test_honest_torch_archives_are_read(tmp_path, legacy, nested):
    content = {"state_dict": STATE, "epoch": 3} if nested else STATE
    torch.save(content, tmp_path / "weights", _use_new_zipfile_serialization=not legacy)
    assert torch.equal(weights.read(tmp_path / "weights")["layer.weight"], torch.zeros(2))


def test_a_folder_in_place_of_a_file_is_refused(tmp_path):
    assert refused(tmp_path)


def test_a_failed_save_leaves_the_checkpoint_that_was_there(checkpoint, monkeypatch):
    before = checkpoint.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    for call in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, call, full)
            with pytest.raises(OSError, match="No space left"):
                models.save(small_dual(seed=9), checkpoint)
        assert checkpoint.read_bytes() == before
        assert [path.name for path in checkpoint.parent.iterdir()] == [checkpoint.name]
