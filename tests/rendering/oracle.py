"""The rules of rendering, pixel by pixel and one character at a time: slow, and plain to see."""

from functools import cache

import numpy as np

from towers.data import sources
from towers.rendering.glyphs import unifont


@cache
def hex_lines() -> dict[int, str]:
    """Code point -> digits, of plane 0."""
    path = sources.fetch("unifont") / "unifont.hex"
    pairs = (line.split(":") for line in path.read_text().split())
    return {int(point, 16): bits for point, bits in pairs}


def cell(point: int) -> list[list[bool]]:
    """16 rows of 16 pixels."""
    if 0xD800 <= point < 0xE000:
        point = 0xFFFD
    if point > 0xFFFF:  # these are drawn; another test looks at them
        columns = unifont().columns[unifont().number[point]]
        return [[bool(int(column) >> y & 1) for column in columns] for y in range(16)]
    bits = hex_lines().get(point, "0" * 64)
    digits = len(bits) // 16
    rows = [bits[y * digits : (y + 1) * digits].ljust(4, "0") for y in range(16)]
    return [[digit == "1" for digit in f"{int(row, 16):016b}"] for row in rows]


def glyph(letter: str, scale: int = 1, monospace: bool = False) -> list[list[bool]]:
    """Rows of a character's pixels, cropped."""
    rows = [
        [pixel for pixel in row for _ in range(scale)]
        for row in cell(ord(letter))
        for _ in range(scale)
    ]
    if monospace:
        return rows
    inked = [x for x in range(16 * scale) if any(row[x] for row in rows)]
    start = max(inked[0] - 1, 0) if inked else 0
    end = max(inked[-1] + 1 if inked else 0, start + 4)
    return [row[start:end] for row in rows]


def lines_by_character(widths: list[int], size: int) -> list[list[int]]:
    """Numbers of the characters in each line, by the paper's rule."""
    lines: list[list[int]] = []
    end = 0
    for number, width in enumerate(widths):
        end += width
        line = end // (size - max(widths))
        lines += [[] for _ in range(line + 1 - len(lines))]
        lines[line].append(number)
    return lines


def lines_by_word(text: str, widths: list[int], size: int) -> list[list[int]]:
    """Numbers of the characters in each line, words whole where they fit."""
    lines = []
    at = 0
    while at < len(text):
        end = at
        while end < len(text) and sum(widths[at : end + 1]) <= size:
            end += 1
        if end < len(text):
            places = [i for i in range(at + 1, end + 1) if text[i - 1] == " " or text[i] == " "]
            end = places[-1] if places else end
        lines.append(list(range(at, end)))
        at = end
        while at < len(text) and text[at] == " ":
            at += 1
    return lines


def picture(
    text: str,
    size: int = 224,
    lower: bool = True,
    characters: int | None = 768,
    monospace: bool = False,
    word_wrap: bool = False,
    font_size: int = 16,
    ink: int = 0,
    background: int = 127,
) -> np.ndarray:
    """The picture of one text."""
    if lower:
        text = "".join(chr(ord(c) + 32) if "A" <= c <= "Z" else c for c in text)
    text = text[:characters]
    glyphs = [glyph(letter, font_size // 16, monospace) for letter in text]
    widths = [len(rows[0]) for rows in glyphs]
    lines = lines_by_word(text, widths, size) if word_wrap else lines_by_character(widths, size)
    image = np.full((size, size), background, np.uint8)
    for number, line in enumerate(lines):
        x = 0
        for i in line:
            for dy, row in enumerate(glyphs[i]):
                for dx, black in enumerate(row):
                    if black and number * font_size + dy < size:
                        image[number * font_size + dy, x + dx] = ink
            x += widths[i]
    return image


def cut(image: np.ndarray, patch: int, background: int = 127) -> tuple[list[np.ndarray], list[int]]:
    """Patches of a picture that are not blank, and their positions."""
    grid = len(image) // patch
    pieces, positions = [], []
    for row in range(grid):
        for column in range(grid):
            piece = image[row * patch : (row + 1) * patch, column * patch : (column + 1) * patch]
            if (piece != background).any():
                pieces.append(piece)
                positions.append(row * grid + column)
    return pieces, positions
