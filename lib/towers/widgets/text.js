// Draws text as towers.rendering does, and splits it as BERT's uncased tokenizer does.
const SIZE = 224, CELL = 16, GRID = SIZE / CELL, POINTS = 0x110000;
const HANGUL = [0xac00, 0xd7a4], MOST = 768, INK = 0, GROUND = 127;
const HATCH = Uint16Array.from({length: CELL}, (_, y) => 0x8888 >> y % 4 | (y % 4 ? 0x8888 << 4 - y % 4 & 0xffff : 0));

async function inflate(base64) {
  const bytes = Uint8Array.from(atob(base64), letter => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// The table: rows(point) gives 16 rows of 16 bits; has(point) 2 if they are here, 1 if left out.
function glyphTable(bytes) {
  const bit = (start, point) => bytes[start + (point >> 3)] >> (point & 7) & 1;
  const here = point => bit(0, point), known = point => bit(POINTS / 8, point);
  const number = new Int32Array(POINTS).fill(-1);
  let others = 0, korean = 0;
  for (let point = 0; point < POINTS; point++) {
    if (!here(point)) continue;
    number[point] = point >= HANGUL[0] && point < HANGUL[1] ? korean++ : others++;
  }
  const cells = POINTS / 4, syllables = cells + 32 * others;
  const rows = point => Uint16Array.from({length: CELL}, (_, y) => {
    const n = number[point];
    if (n < 0) return 0;
    if (point >= HANGUL[0] && point < HANGUL[1]) {
      return bytes[syllables + y * korean + n] << 8 | bytes[syllables + (CELL + y) * korean + n];
    }
    return bytes[cells + 32 * n + y] << 8 | bytes[cells + 32 * n + CELL + y];
  });
  return {rows, has: point => here(point) ? 2 : known(point) ? 1 : 0};
}

// One glyph, cropped: a column before the ink, four columns at least, no more than the cell.
function cropped(rows) {
  const ink = rows.reduce((all, row) => all | row, 0);
  let first = 0, last = 0;
  if (ink) {
    first = Math.clz32(ink) - 16;
    last = 15 - (31 - Math.clz32(ink & -ink));
  }
  const start = Math.max(first - 1, 0);
  return {rows, start, width: Math.min(Math.max(last + 1, start + 4), CELL) - start};
}

function renderText(text, table) {
  let points = Array.from(text, letter => letter.codePointAt(0)).slice(0, MOST);
  points = points.map(p => p >= 0x41 && p <= 0x5a ? p + 32 : p >= 0xd800 && p < 0xe000 ? 0xfffd : p);
  let missing = 0;
  const glyphs = points.map(point => {
    if (table.has(point) !== 1) return cropped(table.rows(point));
    missing++;
    return {rows: HATCH, start: 0, width: CELL};
  });
  const widest = Math.max(0, ...glyphs.map(glyph => glyph.width));
  const pixels = new Uint8ClampedArray(SIZE * SIZE).fill(GROUND);
  let end = 0, line = 0, x = 0, drawn = 0;
  for (const {rows, start, width} of glyphs) {
    end += width;
    const next = Math.floor(end / (SIZE - widest));
    if (next !== line) [line, x] = [next, 0];
    if (line >= GRID) break;
    for (let y = 0; y < CELL; y++) {
      for (let column = 0; column < width; column++) {
        if (rows[y] >> 15 - start - column & 1) pixels[(line * CELL + y) * SIZE + x + column] = INK;
      }
    }
    x += width;
    drawn++;
  }
  return {pixels, drawn, missing, characters: Array.from(text).length};
}

function inkedPatches(pixels) {
  const found = [];
  for (let position = 0; position < GRID * GRID; position++) {
    const top = Math.floor(position / GRID) * CELL, left = position % GRID * CELL;
    let ink = false;
    for (let y = top; y < top + CELL; y++) {
      for (let x = left; x < left + CELL; x++) ink ||= pixels[y * SIZE + x] !== GROUND;
    }
    if (ink) found.push(position);
  }
  return found;
}

const SPECIAL = /(\[(?:CLS|SEP|MASK|PAD|UNK)\])/;
const IDEOGRAPH = /[\u4e00-\u9fff\u3400-\u4dbf\u{20000}-\u{2a6df}\u{2a700}-\u{2b73f}\u{2b740}-\u{2b81f}\u{2b920}-\u{2ceaf}\uf900-\ufaff\u{2f800}-\u{2fa1f}]/gu;
const MARK = /([!-\/:-@\[-`{-~]|\p{P})/u;

function wordPieces(text, vocabulary) {
  const pieces = [];
  for (const part of text.split(SPECIAL)) {
    if (SPECIAL.test(part)) { pieces.push(part); continue; }
    const clean = part.replace(/[\t\n\r]/g, " ").replace(/[\0\ufffd\p{Cc}\p{Cf}\p{Co}]/gu, "");
    const plain = clean.replace(IDEOGRAPH, " $& ").normalize("NFD").replace(/\p{Mn}/gu, "");
    const lower = Array.from(plain, letter => letter.toLowerCase()).join("");
    for (const word of lower.split(/\s+/u).flatMap(word => word.split(MARK)).filter(Boolean)) {
      pieces.push(...piecesOf(Array.from(word), vocabulary));
    }
  }
  return pieces;
}

function piecesOf(letters, vocabulary) {
  const pieces = [];
  if (letters.length > 100) return ["[UNK]"];
  for (let start = 0; start < letters.length;) {
    let end = letters.length, piece;
    for (; end > start; end--) {
      piece = (start ? "##" : "") + letters.slice(start, end).join("");
      if (vocabulary.has(piece)) break;
    }
    if (end === start) return ["[UNK]"];
    pieces.push(piece);
    start = end;
  }
  return pieces;
}

function element(name, properties = {}, children = []) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

// The picture as a canvas of its own size.
function pictureOf(pixels) {
  const image = new ImageData(SIZE, SIZE);
  pixels.forEach((grey, i) => image.data.set([grey, grey, grey, 255], 4 * i));
  const canvas = element("canvas", {width: SIZE, height: SIZE});
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

function patchOf(picture, position) {
  const left = position % GRID * CELL, top = Math.floor(position / GRID) * CELL;
  const canvas = element("canvas", {width: CELL, height: CELL});
  canvas.getContext("2d").drawImage(picture, left, top, CELL, CELL, 0, 0, CELL, CELL);
  return canvas;
}

function enlarge(picture, canvas, patches) {
  const side = canvas.width / GRID, brush = canvas.getContext("2d");
  brush.imageSmoothingEnabled = false;
  brush.drawImage(picture, 0, 0, canvas.width, canvas.height);
  brush.font = `600 ${side / 3.6}px system-ui, sans-serif`;
  [brush.textAlign, brush.textBaseline, brush.lineJoin] = ["left", "top", "round"];
  patches.forEach((position, index) => {
    const left = position % GRID * side, top = Math.floor(position / GRID) * side;
    [brush.lineWidth, brush.strokeStyle] = [3, "#9fd4ff"];
    brush.strokeRect(left + 1.5, top + 1.5, side - 3, side - 3);
    [brush.lineWidth, brush.strokeStyle, brush.fillStyle] = [5, "#0b3a5c", "#fff"];
    brush.strokeText(index + 1, left + 5, top + 5);
    brush.fillText(index + 1, left + 5, top + 5);
  });
}

function textExplorer(root, data) {
  const still = [...root.childNodes];
  const entry = element("textarea", {value: data.text, rows: 3, spellcheck: false, dir: "auto"});
  const numbered = element("input", {type: "checkbox", checked: true});
  const canvas = element("canvas", {width: 1344, height: 1344});
  canvas.setAttribute("role", "img");
  const sums = element("p", {className: "sums"});
  sums.setAttribute("role", "status");
  const [tiles, tokens] = ["tiles", "tokens"].map(className => element("ol", {className, tabIndex: 0}));
  tiles.setAttribute("aria-label", "patches with ink, in order");
  tokens.setAttribute("aria-label", "word pieces, in order");
  const buttons = Object.entries(data.examples).map(([name, text]) => element("button", {
    type: "button", textContent: name, onclick: () => { entry.value = text; update(); },
  }));
  let table, vocabulary;

  function update() {
    const text = entry.value, {pixels, drawn, missing, characters} = renderText(text, table);
    const patches = inkedPatches(pixels), pieces = wordPieces(text, vocabulary);
    const bytes = new TextEncoder().encode(text).length;
    const unknown = pieces.filter(piece => piece === "[UNK]").length;
    const picture = pictureOf(pixels);
    enlarge(picture, canvas, numbered.checked ? patches : []);
    const said = `The text as a picture of ${SIZE} by ${SIZE} pixels; ${patches.length} of ${GRID * GRID} patches carry ink.`;
    canvas.setAttribute("aria-label", said);
    tiles.replaceChildren(...patches.map(position => element("li", {}, [patchOf(picture, position)])));
    tokens.replaceChildren(...pieces.map(piece => element("li", {
      textContent: piece, className: piece === "[UNK]" ? "unknown" : "",
    })));
    sums.textContent = [
      `patches with ink: ${patches.length} of ${GRID * GRID}`,
      `word pieces: ${pieces.length}` + (unknown ? `, unknown: ${unknown}` : ""),
      `bytes: ${bytes}`,
      drawn < characters && `characters that do not fit: ${characters - drawn} of ${characters}`,
      missing && `characters whose glyph is not on this page, hatched: ${missing}`,
    ].filter(Boolean).join(" · ");
  }

  const start = Promise.all([inflate(data.glyphs), inflate(data.pieces)]).then(([glyphs, words]) => {
    table = glyphTable(glyphs);
    vocabulary = new Set(new TextDecoder().decode(words).split("\n"));
    [entry.oninput, numbered.onchange] = [update, update];
    root.replaceChildren(
      element("label", {className: "entry"}, ["Your text", entry]),
      element("div", {className: "examples"}, buttons),
      sums,
      element("div", {className: "views"}, [
        element("div", {className: "picture"}, [
          canvas, element("label", {}, [numbered, " number the patches"]),
        ]),
        element("div", {className: "sequences"}, [
          element("p", {textContent: "What a pixel tower reads: patches"}), tiles,
          element("p", {textContent: "What a tokenizer makes of it: BERT’s word pieces"}), tokens,
        ]),
      ]),
    );
    update();
    root.explorer = {render: text => renderText(text, table), pieces: text => wordPieces(text, vocabulary)};
  });
  start.catch(error => {
    root.replaceChildren(...still, element("p", {textContent: `This explorer needs a browser of 2023 or later (${error.message}).`}));
  });
}
