"""The built book, read by a browser and by a link checker."""

import functools
import http.server
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup
from playwright.sync_api import Browser, Page

from tests.book.conftest import report
from towers import experiments, published

WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="session")
def address(html: Path) -> Iterator[str]:
    """The book on a static server of this machine."""
    handler = functools.partial(Quiet, directory=str(html))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A static server that does not write to the test's output."""

    def log_message(self, *words: object) -> None:
        """Say nothing."""


def pages(html: Path) -> list[Path]:
    """Every page that the table of contents leads to, and the search page."""
    found = sorted(p for p in html.rglob("*.html") if not {"_modules", "_static"} & set(p.parts))
    assert len(found) > 15
    return [page for page in found if page != html / "index.html"]


@functools.cache
def soup(page: Path) -> BeautifulSoup:
    """A parsed page."""
    return BeautifulSoup(page.read_text(), "html.parser")


def visit(browser: Browser, url: str, size: dict, scheme: str, inside: str) -> tuple[Page, list]:
    """Open a page; collect console errors, script errors and requests that leave the book."""
    page = browser.new_page(viewport=size, color_scheme=scheme)
    complaints: list[str] = []
    page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))

    def guard(route) -> None:
        if route.request.url.startswith((inside, "data:", "blob:")):
            route.continue_()
        else:
            complaints.append(f"request left the book: {route.request.url}")
            route.abort()

    page.route("**/*", guard)
    page.goto(url, wait_until="load")
    return page, complaints


@pytest.mark.parametrize(
    ("size", "scheme"), [(WIDE, "light"), (PHONE, "dark")], ids=["wide-light", "phone-dark"]
)
def test_pages_show_without_errors_or_sideways_scrolling(browser, html, address, size, scheme):
    for path in pages(html):
        url = f"{address}/{path.relative_to(html)}"
        page, complaints = visit(browser, url, size, scheme, address)
        assert complaints == [], path
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= size["width"], f"{path} is {width} px wide on {size['width']} px"
        lazy = "for (const i of document.images) i.loading = 'eager'"
        page.evaluate(lazy)
        page.wait_for_function("[...document.images].every(i => i.complete)")
        broken = "[...document.images].filter(i => !i.naturalWidth).map(i => i.src)"
        assert page.evaluate(broken) == [], path
        assert page.evaluate("document.documentElement.dataset.theme") == scheme, path
        page.close()


def test_book_opens_from_disk_without_a_server(browser, html):
    for path in [
        html / "book/intro.html",
        html / "book/run/clip/zero_shot.html",
        html / "book/clip.html",
    ]:
        page, complaints = visit(browser, path.as_uri(), WIDE, "light", html.as_uri())
        assert complaints == [], path
        assert page.title()
        page.close()


def test_formulas_are_typeset_offline(browser, address):
    page, complaints = visit(browser, f"{address}/book/clip.html", WIDE, "light", address)
    page.wait_for_selector("mjx-container svg", timeout=20_000)
    assert complaints == []
    page.close()


def test_search_finds_a_chapter(browser, address):
    url = f"{address}/search.html?q=retrieval"
    page, complaints = visit(browser, url, WIDE, "light", address)
    page.wait_for_selector("#search-results li a", timeout=20_000)
    links = page.eval_on_selector_all("#search-results li a", "list => list.map(a => a.href)")
    assert any("clip/retrieval" in link for link in links)
    assert complaints == []
    page.close()


def test_no_link_or_anchor_is_broken(html):
    anchors = {}
    for page in html.rglob("*.html"):
        anchors[page.resolve()] = {tag["id"] for tag in soup(page).find_all(id=True)}
    broken = []
    for page in pages(html):
        for tag in soup(page).find_all(["a", "img", "script", "link"]):
            link = urlsplit(tag.get("href") or tag.get("src") or "")
            if link.scheme or link.netloc or tag.get("rel") == ["canonical"]:
                continue
            target = (page.parent / unquote(link.path)).resolve() if link.path else page.resolve()
            if not target.exists():
                broken.append(f"{page.relative_to(html)} -> {link.path}")
            elif link.fragment and target in anchors and link.fragment not in anchors[target]:
                broken.append(f"{page.relative_to(html)} -> {link.path}#{link.fragment}")
    assert broken == []


def test_nothing_is_loaded_from_elsewhere(html):
    for page in pages(html):
        for tag in soup(page).find_all(["script", "img", "link", "iframe"]):
            link = urlsplit(tag.get("src") or tag.get("href") or "")
            assert link.netloc == "", f"{page.relative_to(html)} loads {link.geturl()}"


def test_no_page_shows_a_traceback(html):
    for page in pages(html):
        text = soup(page).get_text()
        assert "Traceback (most recent call last)" not in text, page
        assert not soup(page).select(".output.traceback, .stderr .ansi-red-fg"), page


def test_every_page_has_a_title_and_every_picture_a_description(html):
    for page in pages(html):
        document = soup(page)
        assert document.title.get_text(strip=True), page
        assert document.find("h1"), page
        for image in document.select("article img"):
            alt = image.get("alt", "").strip()
            assert alt, f"{page.relative_to(html)}: {image.get('src')}"
            assert not alt.endswith((".png", ".svg", ".jpg")), f"{page.relative_to(html)}: {alt}"


def test_every_executed_page_has_numbered_figures_and_provenance(html, checkout):
    for name in experiments.find(checkout):
        document = soup(html / f"book/run/{name}.html")
        figures = document.select("figure")
        assert figures, name
        for figure in figures:
            assert figure.select_one(".caption-number"), f"{name}: a figure without a number"
        box = document.select_one(".towers-provenance")
        assert "smoke scale" in box.get_text(), name
        downloads = {Path(a["href"]).name for a in box.select("a.download")}
        assert {f"{name.split('/')[1]}.ipynb", "records.json"} <= downloads, name
        assert any(d.endswith(".csv") for d in downloads), f"{name}: no data of a figure"
        assert box.select("a.reference.internal"), f"{name}: no link into the library"


def test_numbers_in_sentences_come_from_records(html, checkout):
    known = experiments.find(checkout)
    for name in known:
        quoted = soup(html / f"book/run/{name}.html").select(".towers-record")
        assert quoted, name
        for number in quoted:
            assert number["title"].split(" ")[0] in known


def test_ledger_has_a_row_for_every_claim(html):
    rows = soup(html / "book/ledger.html").select("table tbody tr")
    assert len(rows) == len(published.claims())


def test_status_lists_every_run_as_fresh(html, checkout):
    text = soup(html / "book/status.html").get_text(" ", strip=True)
    for name in experiments.find(checkout):
        assert name in text
        run = experiments.get(name, checkout)
        assert experiments.staleness(run, "smoke", checkout / "results") is None, name


def test_building_again_without_a_change_is_quick(checkout):
    start = time.perf_counter()
    again = report(checkout)
    assert again.returncode == 0, again.stderr
    assert time.perf_counter() - start < 20


def test_records_of_the_run_can_be_read(checkout):
    for name in experiments.find(checkout):
        content = json.loads((checkout / f"results/{name}/smoke/records.json").read_text())
        assert set(content) == {"provenance", "records"}
        assert content["records"], name
