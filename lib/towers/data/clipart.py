"""Open Clip Art: drawings in the public domain with the words that their authors typed.

The words are as noisy as the web's. A title that many drawings share names a set and not a
picture; then the file's name says more, without the author's name and the numbers in it.
"""

import re
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from xml.parsers import expat

from towers.data import catalogue
from towers.data.cards import SOURCES
from towers.data.catalogue import Found
from towers.data.errors import DataError
from towers.data.items import Collection, Item, position
from towers.data.reports import Report

SHARED = 4  # titles that more drawings share say nothing about any of them
LONGEST = 120
PUBLIC_DOMAIN = re.compile(r"public\s?domain|/zero/", re.IGNORECASE)
AUTHORS_SET = re.compile(r"^clip\s?arts? by .*? - ", re.IGNORECASE)
JUNK = re.compile(
    r"untitled|unbenannt|sans titre|no title|drawing|svg|image|clip\s?arts?|new document|test"
    r"|various cliparts|title|icon|part of the flat icon collection.*|.*\bsvg\b.*|.*\btheme\b.*",
    re.IGNORECASE,
)
IGNORED_TAGS = {
    "clip art",
    "clipart",
    "svg",
    "unsorted",
    "untitled",
    "vector",
    "gfdl",
    "kde",
    "hash",
    "theme",
    "icon",
    "icons",
    "image",
    "media",
    "magick",
    "lemon theme icon",
    "flat theme",
    "externalsource",
}
UNSAID = {"unsorted", "special"}  # folders that do not say what they hold
MOST = 20  # drawings with the same words; CLIP balances its queries likewise (section 2.2)


def clipart(labels: str = "") -> Collection:
    """The drawings that can be drawn, are in the public domain and have words.

    Args:
        labels: "categories" for those in a folder that says what they show, labelled by it.

    Raises:
        DataError: other labels, or the files cannot be had or read.
    """
    if labels not in ("", "categories"):
        raise DataError(f"expected clipart or clipart:categories, got clipart:{labels}")
    drawings = catalogue.collection(
        "clipart", SOURCES["clipart"], read, one_of_a_kind=True, trim=True
    )
    if not labels:
        return drawings
    named = tuple(
        replace(item, targets={"class": item.category.replace("_", " ")})
        for item in drawings.items
        if item.category not in UNSAID
    )
    whole = drawings.report
    dropped = {"folder says nothing": len(drawings) - len(named), **whole.dropped}
    report = Report(len(named), dropped, whole.mended)
    return replace(drawings, name=f"clipart:{labels}", items=named, report=report)


@dataclass
class Words:
    """What an SVG's metadata say."""

    title: str = ""
    description: str = ""
    creator: str = ""
    licence: str = ""
    language: str = ""
    keywords: list[str] = field(default_factory=list)


def read(folder: Path) -> Found:
    """Every drawing with its captions: title or file name, then description, then keywords.

    Returns:
        Drafts, and what was dropped: "licence", "no words",
        "same words as 20 others"; mended counts titles left aside as
        "shared title" and "junk title".
    """
    files = sorted(folder.rglob("*.svg"))
    known = {path: read_words(path.read_bytes()) for path in files}
    titles = Counter(_plain(words.title) for words in known.values())
    dropped, mended, drafts = Counter(), Counter(), []
    for path, words in known.items():
        name = path.relative_to(folder).with_suffix("").as_posix()
        if words.licence and not PUBLIC_DOMAIN.search(words.licence):
            dropped["licence not public domain"] += 1
            continue
        title = _title(words.title)
        if title and titles[_plain(words.title)] > SHARED:
            title = ""
            mended["shared title left aside"] += 1
        elif words.title and not title:
            mended["junk title left aside"] += 1
        captions = _captions(title, path.stem, words)
        if not captions:
            dropped["no words"] += 1
            continue
        drafts.append(
            Item(
                key="",
                name=name,
                image=path.relative_to(folder),
                captions=captions,
                category=name.split("/")[0],
                style="clipart",
            )
        )
    kept = _balanced(drafts)
    dropped[f"same words as {MOST} others"] = len(drafts) - len(kept)
    return Found(kept, dropped, mended)


def _balanced(drafts: list[Item]) -> list[Item]:
    """At most `MOST` drafts of the same English words, chosen by a hash of their names."""
    alike: dict[tuple, list[Item]] = {}
    for draft in drafts:
        alike.setdefault(draft.captions.get("en", (draft.name,)), []).append(draft)
    kept = {
        draft.name
        for same in alike.values()
        for draft in sorted(same, key=lambda draft: position(draft.name))[:MOST]
    }
    return [draft for draft in drafts if draft.name in kept]


def read_words(svg: bytes) -> Words:
    """Title, description, author, licence, language and keywords of an SVG's metadata."""
    words, path, text = Words(), [], []

    def start(name: str, attributes: dict) -> None:
        path.append(name.rpartition(":")[2])
        text.clear()
        if path[-1] == "license":
            words.licence = words.licence or next(iter(attributes.values()), "")

    def end(name: str) -> None:
        content = " ".join("".join(text).split())
        if path[-3:] == ["RDF", "Work", "title"]:
            words.title = words.title or content
        elif path[-1] == "title" and "creator" in path:
            words.creator = content
        elif path[-2:] == ["Work", "description"]:
            words.description = content
        elif path[-2:] == ["Work", "language"]:
            words.language = content
        elif path[-1] == "li" and "subject" in path and content:
            words.keywords.append(content)
        path.pop()
        text.clear()

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = text.append
    try:
        parser.Parse(svg, True)
    except expat.ExpatError:
        return words
    return words


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def _title(text: str) -> str:
    """A title as a caption, or nothing if it is none."""
    title = _spaced(AUTHORS_SET.sub("", text))
    letters = sum(character.isalpha() for character in title)
    if letters < 3 or JUNK.fullmatch(title) or len(title) > LONGEST or "://" in title:
        return ""
    return title


def _spaced(text: str) -> str:
    """Words out of a name: no ending, no underscores, no numbers at its end."""
    words = re.sub(r"\.svgz?$", "", text.strip(), flags=re.IGNORECASE)
    words = re.sub(r"[_\s]+|(?<=\w)-(?=\w)", " ", words).strip(" .-")
    return re.sub(r"(?<=[a-z])\s*\d+$|\s+\d+$", "", words).strip(" .-")


def _captions(title: str, stem: str, words: Words) -> dict[str, tuple[str, ...]]:
    authors = [part.lower() for part in re.findall(r"\w{3,}", words.creator)]
    name = " ".join(
        part
        for part in _spaced(stem).split()
        if not any(character.isdigit() for character in part)
        and not any(len(part) > 2 and author.startswith(part.lower()) for author in authors)
    )
    tags = [tag.replace("_", " ") for tag in words.keywords if not re.search(r"\d", tag)]
    tags = [tag for tag in tags if tag.lower() not in IGNORED_TAGS and 2 < len(tag) < 40]
    language = _language(words.language)
    captions: dict[str, list[str]] = {}
    if title:
        captions.setdefault(language, []).append(title)
    elif sum(character.isalpha() for character in name) >= 3 and not JUNK.fullmatch(name):
        captions.setdefault("en", []).append(name)
    if 3 <= len(words.description) <= LONGEST and "://" not in words.description:
        captions.setdefault(language, []).append(words.description)
    if tags and (captions or len(tags) > 1):
        captions.setdefault("en", []).append(", ".join(dict.fromkeys(tags)))
    return {code: tuple(dict.fromkeys(texts)) for code, texts in captions.items()}


def _language(text: str) -> str:
    """A two-letter code; English where the file does not say."""
    code = re.split(r"[-_\s]", text.strip().lower())[0]
    return code if re.fullmatch(r"[a-z]{2}", code) else "en"
