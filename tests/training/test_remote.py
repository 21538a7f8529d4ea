"""Shards behind a server that cuts, fails, hangs and changes: whole or not there, and in order."""

import http.server
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from tests import toy_towers
from tests.training import toy_runs, toy_shards
from towers import models, training
from towers.data import DataError
from towers.training import loading, remote
from towers.training.batches import Batches, Part
from towers.training.order import Order
from towers.training.remote import Remote

PREPARED = models.Preprocessing(size=8, mean=(0.5,) * 3, std=(0.25,) * 3)
PICKS = np.arange(100, 140, dtype=np.uint64)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TOWERS_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(remote.time, "sleep", lambda _: None)


@pytest.fixture
def three(tmp_path):
    toy_shards.three_tars(tmp_path)
    return tmp_path


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        self.server.asked.append(self.path)
        if self.path in self.server.broken:
            self.send_error(500)
        elif self.path in self.server.hanging:
            self.server.over.wait(20)
        else:
            super().do_GET()

    def copyfile(self, source, outputfile):
        content = source.read()
        cut = self.path in self.server.cut
        outputfile.write(content[: len(content) // 2] if cut else content)


@pytest.fixture
def server(three):
    """Serves a folder; `asked` is what was asked for, the other sets name what goes wrong."""
    serving = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), lambda *given: Handler(*given, directory=str(three))
    )
    serving.asked, serving.over = [], threading.Event()
    serving.cut, serving.broken, serving.hanging = set(), set(), set()
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    yield serving
    serving.over.set()
    serving.shutdown()
    serving.server_close()


def url(server, name):
    return f"http://127.0.0.1:{server.server_port}/{name}"


def cached(three):
    return sorted((three / "home/shards").glob("*.tar"))


def until(holds):
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end, "it never came to that"
        threading.Event().wait(0.01)


def load(server, squares=PREPARED):
    return loading.load([f"shards:{url(server, '{0..2}.tar')}"], squares)


def forget(three):
    """Empty the cache of shards, but for what is known of them."""
    for path in cached(three):
        path.unlink()


def test_are_fetched_once_and_read_as_near_ones(three, server):
    near = loading.load([f"shards:{three}/{{0..2}}.tar"], PREPARED)
    rows = np.arange(15)
    assert load(server).read(rows, PICKS[:15]).texts == near.read(rows, PICKS[:15]).texts
    assert len(load(server)) == 15
    assert sorted(server.asked) == ["/0.tar", "/1.tar", "/2.tar"]


def test_those_that_come_cut_short_are_not_kept(three, server):
    server.cut.add("/1.tar")
    with pytest.raises(DataError, match=r"expected a whole shard at .* got \d+ bytes of \d+"):
        Remote(url(server, "1.tar")).open()
    assert server.asked == ["/1.tar"] * remote.ATTEMPTS
    assert [path.suffix for path in (three / "home/shards").iterdir()] in ([], [".lock"])
    server.cut.clear()
    with Remote(url(server, "1.tar")).open() as file:
        assert file.read() == (three / "1.tar").read_bytes()


def test_tars_that_are_cut_off_at_the_source_are_refused(three):
    short = three / "short.tar"
    short.write_bytes((three / "0.tar").read_bytes()[:2000])
    with pytest.raises(DataError, match="a tar that is cut off in 1 place"):
        Remote(short.as_uri()).open()


def test_what_cannot_be_had_is_one_line(server, monkeypatch):
    monkeypatch.setattr(remote, "PATIENCE", 0.2)
    server.broken.add("/0.tar")
    server.hanging.add("/1.tar")
    for address, cause in (
        (url(server, "no.tar"), "File not found"), (url(server, "0.tar"), "Internal Server Error"),
        (url(server, "1.tar"), "timed out"), ("http://127.0.0.1:1/no.tar", "refused"),
        ("nosuchprotocol://x/y.tar", "nosuchprotocol"),
    ):  # fmt: skip
        with pytest.raises(DataError, match=cause) as caught:
            Remote(address).open()
        assert "\n" not in str(caught.value)


def test_the_next_is_fetched_while_the_current_is_read(three, server):
    data = load(server)
    order = Order(data.blocks, 3, 0, group=1)
    now, soon = order.ahead(0)
    assert (len(now), len(soon)) == (1, 1)
    forget(three)
    server.asked.clear()
    Batches(Part(data, order), lambda texts: {})[0]
    until(lambda: len(cached(three)) == 2)
    assert server.asked == [f"/{now[0]}.tar", f"/{soon[0]}.tar"]


@pytest.mark.parametrize(("batch", "group"), [(4, 2), (11, 1), (5, 5)])
def test_what_is_read_next_is_known_at_every_step_of_every_epoch(batch, group):
    sizes = np.array((5, 3, 0, 7, 9))
    order = Order(tuple(sizes.tolist()), batch, 1, group=group)
    for step in range(3 * order.steps_per_epoch):
        now, soon = (set(blocks) for blocks in order.ahead(step))
        after = set(order.ahead(step + 1)[0])
        read = np.searchsorted(np.cumsum(sizes), order.draw(step).rows, side="right")
        assert {*read.tolist()} <= now
        assert after <= now | soon


def test_fetched_shards_keep_to_their_room(three, server, monkeypatch):
    sizes = [(three / f"{n}.tar").stat().st_size for n in range(3)]
    data = load(server)
    assert len(cached(three)) == 3
    monkeypatch.setattr(remote, "ROOM", max(sizes))
    near = loading.load([f"shards:{three}/{{0..2}}.tar"], PREPARED)
    order = Order(data.blocks, 5, 0, group=1)
    for step in range(9):
        read = [Batches(Part(each, order), lambda texts: {})[step] for each in (data, near)]
        assert torch.equal(read[0].images, read[1].images)
    until(lambda: not remote_thread().is_alive())
    assert sum(path.stat().st_size for path in cached(three)) <= max(sizes)
    assert len(server.asked) > 3  # what had made room came again


def remote_thread():
    from towers.training import shards

    return shards._AHEAD._thread


def test_another_shard_at_the_same_address_is_refused(three, server):
    data = load(server)
    forget(three)
    toy_shards.tar(three / "0.tar", toy_shards.members(range(50)))
    with pytest.raises(DataError, match=r"expected the \d+ bytes at .* got \d+; train on"):
        data.read(np.arange(3), PICKS[:3])


@pytest.mark.slow
def test_a_run_whose_server_fails_stops_with_one_line_and_goes_on_as_if_it_had_not(three, server):
    def run(folder, workers=0):
        dual = toy_towers.trainable()
        data = load(server, dual.image.transform)
        return toy_runs.train(folder, dual=dual, source=data, workers=workers, checkpoint_every=1)

    run(three / "whole")
    forget(three)
    server.broken.add("/2.tar")
    with pytest.raises(training.TrainingFailed, match="expected a whole shard at") as caught:
        run(three / "cut")
    assert "\n" not in str(caught.value)
    server.broken.clear()
    server.cut.add("/1.tar")
    threading.Timer(0.2, server.cut.clear).start()
    run(three / "cut", workers=1)
    assert toy_runs.bits(three / "cut", 12) == toy_runs.bits(three / "whole", 12)


def test_they_lie_in_the_cache(three):
    each = Remote((three / "2.tar").as_uri())
    each.open().close()
    assert each.path.is_relative_to(Path(three / "home/shards"))
    assert each.path.is_file()
