"""Emoji: the same concepts drawn by different hands, with the names that translators gave.

Styles are OpenMoji's drawings and Noto's. A concept is one code point sequence; its pictures in all
styles share a group, so that a split keeps a concept on one side.
"""

import io
from collections import Counter
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import emoji as names
from PIL import Image

from towers.data import catalogue
from towers.data.cards import SOURCES
from towers.data.catalogue import Found
from towers.data.errors import DataError
from towers.data.items import Collection, Item

STYLES = ("openmoji", "noto")
SKIN_TONES = frozenset(range(0x1F3FB, 0x1F400))
SELECTOR = 0xFE0F


def emoji(style: str = "") -> Collection:
    """The emoji of one style, or of all of them.

    Args:
        style: "openmoji", "noto", or nothing for both.

    Raises:
        DataError: no such style.
    """
    if not style:
        first, *others = [emoji(name) for name in STYLES]
        return replace(first.concat(*others), name="emoji")
    if style not in STYLES:
        raise DataError(f"expected an emoji style among {', '.join(STYLES)}; got {style!r}")
    return catalogue.collection(
        f"emoji:{style}",
        SOURCES["openmoji" if style == "openmoji" else "noto-emoji"],
        _drawings if style == "openmoji" else _glyphs,
        names=f"names {names.__version__}",
        image=None if style == "openmoji" else Glyph.at,
        distance=None,
    )


def _drawings(folder: Path) -> Found:
    """OpenMoji's colour drawings: one file per sequence, named by its code points."""
    dropped, drafts = Counter(), []
    spoken = concepts()
    for path in sorted((folder / "openmoji/svg").glob("*.svg")):
        points = tuple(int(part, 16) for part in path.stem.split("-") if part)
        if SKIN_TONES & set(points):
            dropped["skin tone variant"] += 1
        elif (concept := without_selector(points)) not in spoken:
            dropped["no name"] += 1
        else:
            file = path.relative_to(folder).as_posix()
            drafts.append(_draft(concept, spoken[concept], file, "openmoji"))
    return Found(drafts, dropped)


def _glyphs(folder: Path) -> Found:
    """Noto's bitmaps: one glyph per sequence, where the font has one of its own."""
    dropped, drafts = Counter(), []
    font = str(folder / "NotoColorEmoji.ttf")
    for concept, captions in concepts().items():
        if SKIN_TONES & set(concept):
            dropped["skin tone variant"] += 1
        elif glyph_name(font, concept) is None:
            dropped["no glyph of its own"] += 1
        else:
            hexes = "-".join(f"{point:X}" for point in concept)
            file = f"NotoColorEmoji.ttf#{hexes}"
            drafts.append(_draft(concept, captions, file, "noto"))
    return Found(drafts, dropped)


def _draft(concept: tuple[int, ...], captions: dict, file: str, style: str) -> Item:
    name = captions["en"][0]
    return Item(
        key="",
        name=f"{style}/{'-'.join(f'{point:X}' for point in concept)}",
        image=Path(file),
        captions=captions,
        targets={"class": name},
        style=style,
        group="emoji " + "-".join(f"{point:X}" for point in concept),
    )


@cache
def concepts() -> dict[tuple[int, ...], dict[str, tuple[str, ...]]]:
    """Code points without selectors -> names by language, English first; later aliases follow."""
    spoken: dict[tuple[int, ...], dict[str, tuple[str, ...]]] = {}
    taken: set[str] = set()
    names.config.load_language()
    for text, entry in names.EMOJI_DATA.items():
        concept = without_selector(tuple(map(ord, text)))
        english = _spoken(entry["en"])
        if concept in spoken or english in taken or SKIN_TONES & set(concept):
            continue
        taken.add(english)
        aliases = (_spoken(alias) for alias in entry.get("alias", ()))
        said = {"en": tuple(dict.fromkeys([english, *aliases]))}
        for code in names.LANGUAGES:
            if code != "en" and entry.get(code):
                said[code] = (_spoken(entry[code]),)
        spoken[concept] = said
    return spoken


def _spoken(name: str) -> str:
    """ ":red_apple:" -> "red apple"."""
    return " ".join(name.strip(":").replace("_", " ").split())


def without_selector(points: tuple[int, ...]) -> tuple[int, ...]:
    """Code points without the one that only asks for colour."""
    return tuple(point for point in points if point != SELECTOR)


@cache
def _ligatures(font: str) -> tuple[dict[int, str], dict[tuple[str, ...], str], frozenset[str]]:
    """Of a colour font: code point -> glyph, sequence of glyphs -> glyph, glyphs with a bitmap."""
    from fontTools.ttLib import TTFont

    with TTFont(font, lazy=True) as tables:
        single = tables.getBestCmap()
        joined = {}
        for lookup in tables["GSUB"].table.LookupList.Lookup:
            for table in lookup.SubTable:
                table = getattr(table, "ExtSubTable", table)
                for first, ligatures in getattr(table, "ligatures", {}).items():
                    for ligature in ligatures:
                        joined[(first, *ligature.Component)] = ligature.LigGlyph
        drawn = frozenset(glyph for strike in tables["CBDT"].strikeData for glyph in strike)
    return single, joined, drawn


def glyph_name(font: str, concept: tuple[int, ...]) -> str | None:
    """The one glyph that a font draws a concept with, or None if it would take several or none."""
    single, joined, drawn = _ligatures(font)
    parts = tuple(single.get(point) for point in concept)
    if None in parts:
        return None
    glyph = parts[0] if len(parts) == 1 else joined.get(parts)
    return glyph if glyph in drawn else None


@cache
def _bitmaps(font: str) -> dict:
    from fontTools.ttLib import TTFont

    tables = TTFont(font, lazy=True)
    return {name: glyph for strike in tables["CBDT"].strikeData for name, glyph in strike.items()}


@dataclass(frozen=True)
class Glyph:
    """A concept as a colour font draws it; a picklable source for `Item.image`."""

    font: str
    concept: tuple[int, ...]

    @classmethod
    def at(cls, path: Path) -> "Glyph":
        """The glyph of a path "FONT#HEX-HEX"."""
        font, _, hexes = str(path).rpartition("#")
        return cls(font, tuple(int(part, 16) for part in hexes.split("-")))

    def content(self) -> bytes:
        """The glyph's PNG."""
        return _bitmaps(self.font)[glyph_name(self.font, self.concept)].imageData

    def __call__(self) -> Image.Image:
        """The glyph's bitmap, transparent where nothing is drawn."""

        picture = Image.open(io.BytesIO(self.content()))
        picture.load()
        return picture
