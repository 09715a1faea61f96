// From ink to the strips that whole numbers are read from: strips.py of the project, step by step.
//
// The functions have the names that they have there, and its docstrings say why each step is
// taken. A number is a list of indices of pieces, each {x, y, w, h, area}; piece 0 is the paper.

"use strict";

/** The strips of the numbers in a picture, line by line and from left to right. */
function numbersIn(pixels, invert = "auto") {
  const amount = writingIn(reduced(upright(pixels), PAGE_SIDE), invert);
  const { labels, pieces } = components(amount);
  return findNumbers(pieces).map((number) => makeStrip(amount, labels, pieces, number));
}

/** The writing in a picture, 0 to 255, in as many pixels as the finder saw. */
function writingIn(colours, invert) {
  const { width, height } = colours[0], longer = Math.max(width, height);
  let scale = Math.min(WRITING_SIDE / longer, Math.max(1, SHORTEST / Math.min(width, height))), writing;
  // Again in more or fewer pixels where the writing is not as high as most that the finder learned.
  for (let look = 0; look < LOOKS; look++) {
    const seen = seenAt(colours, scale);
    writing = inkOf(finder(seen)[1], seen, invert, LEAST_WRITING);
    const high = usualHeight(components(writing).pieces) || BEST_HEIGHT;
    const better = Math.min((scale * BEST_HEIGHT) / high, MOST_WRITING / longer, MOST_ZOOM);
    if (1 / CLOSE < better / scale && better / scale < CLOSE) break;
    scale = better;
  }
  return atTrueRatio({ colours }, writing);
}

/** The connected pieces of ink, as `piecesOf` gives them; those that are faint everywhere have no area. */
function components(amount) {
  const strong = anyOf(amount.values) ? percentile(amount.values.filter((value) => value > 0), 99) : 0;
  const found = piecesOf(above(amount, BOX_LEVEL * strong));
  const sure = new Set(found.labels.filter((_, i) => amount.values[i] > SURE * strong));
  found.pieces.forEach((piece, i) => sure.has(i) || (piece.area = 0));
  return found;
}

/** The height of pieces in which most ink is; 0 if there is none but the paper. */
function usualHeight(pieces) {
  const written = pieces.slice(1).filter(({ area }) => area > DUST);
  const heights = written.flatMap(({ area, h }) => Array(Math.min(area, h * h)).fill(h)); // not of a long stain
  return written.length ? median(Float32Array.from(heights)) : 0;
}

/** Which pieces make up each number, in reading order. */
function findNumbers(pieces) {
  const written = pieces.map((_, i) => i).filter((i) => i > 0 && pieces[i].area > DUST);
  if (!written.length) return [];
  const usual = usualHeight(pieces);
  const isWhole = ({ h }) => SMALL * usual <= h && h <= TALL * usual;
  const lines = groupLines(pieces, written.filter((i) => isWhole(pieces[i])));
  const gaps = lines.map((line) => widestGap(pieces, line, usual));
  // Smaller pieces belong to the line that they are near to, before it is split.
  for (const i of written) {
    if (isWhole(pieces[i]) || pieces[i].h <= SPECK * usual || pieces[i].h >= usual) continue;
    const distances = lines.map((line) => distance(pieces, line, i, usual));
    const nearest = Math.min(...distances);
    if (nearest < 1) lines[distances.indexOf(nearest)].push(i);
  }
  return lines.flatMap((line, n) => splitLine(pieces, line.sort((i, j) => pieces[i].x - pieces[j].x), gaps[n]));
}

/** Pieces that are beside each other, line by line from top to bottom, each from left to right. */
function groupLines(pieces, chosen) {
  const lines = [];
  for (const i of [...chosen].sort((i, j) => pieces[i].x - pieces[j].x)) {
    const shared = lines.map((line) => commonHeight(pieces[line.at(-1)], pieces[i]));
    const most = Math.max(...shared);
    if (most > SAME_LINE) lines[shared.indexOf(most)].push(i);
    else lines.push([i]);
  }
  const middle = (line) => sumOf(line.map((i) => pieces[i].y + pieces[i].h / 2)) / line.length;
  return lines.sort((a, b) => middle(a) - middle(b));
}

/** How many rows two boxes share, as a share of the lower one's height. */
function commonHeight(a, b) {
  return (Math.min(a.y + a.h, b.y + b.h) - Math.max(a.y, b.y)) / Math.min(a.h, b.h);
}

/** How wide a gap within a number of this line may be, in pixels. */
function widestGap(pieces, line, usual) {
  const gaps = [];
  let end = pieces[line[0]].x;
  for (const { x, w } of line.map((i) => pieces[i])) {
    if (x > end) gaps.push(x - end); // what overlaps may be two pieces of a digit
    end = Math.max(end, x + w);
  }
  if (gaps.length < 3) return NEW_NUMBER * usual;
  return Math.min(NEW_NUMBER * usual, Math.max(SPACE * usual, OTHERS * median(Float64Array.from(gaps))));
}

/** A line's pieces as numbers: a gap wider than so many pixels ends one. */
function splitLine(pieces, line, gap) {
  const numbers = [];
  let end = -Infinity;
  for (const i of line) {
    if (pieces[i].x - end > gap) numbers.push([]);
    numbers.at(-1).push(i);
    end = Math.max(end, pieces[i].x + pieces[i].w);
  }
  return numbers;
}

/** How far a box is from the nearest of a line's: 0 where they overlap, 1 where it is not near. */
function distance(pieces, line, i, usual) {
  const { x, y, w, h } = pieces[i];
  return Math.min(...line.map((j) => {
    const other = pieces[j];
    const across = Math.max(other.x - (x + w), x - (other.x + other.w));
    const down = Math.max(other.y - (y + h), y - (other.y + other.h));
    return Math.max(across / NEAR_BESIDE, down / NEAR, 0) / usual;
  }));
}

/** How high the digits of a number are: the median of the higher half, in parts of a digit's width. */
function digitHeight(pageWidth, labels, pieces, number) {
  const heights = number.flatMap((i) => {
    const { x, y, w, h } = pieces[i], parts = Math.max(1, roundHalfEven(w / (BROAD * h)));
    return Array.from({ length: parts }, (_, part) => {
      const from = x + Math.floor((w * part) / parts), to = x + Math.floor((w * (part + 1)) / parts);
      const rows = [];
      for (let row = y; row < y + h; row++) {
        if (labels.subarray(row * pageWidth + from, row * pageWidth + to).includes(i)) rows.push(row);
      }
      return rows.length ? rows.at(-1) - rows[0] + 1 : 0;
    });
  }).sort((a, b) => b - a);
  return median(Float32Array.from(heights.slice(0, (heights.length + 1) >> 1)));
}

/** The ink of some pieces in the middle of 32 rows, at the height of MNIST's digits. */
function makeStrip(amount, labels, pieces, number) {
  const boxes = number.map((i) => pieces[i]);
  const left = Math.min(...boxes.map(({ x }) => x)), top = Math.min(...boxes.map(({ y }) => y));
  const width = Math.max(...boxes.map(({ x, w }) => x + w)) - left;
  const height = Math.max(...boxes.map(({ y, h }) => y + h)) - top;
  let zoom = DIGIT_SIDE / digitHeight(amount.width, labels, pieces, number);
  zoom = Math.min(zoom, HIGHEST / height, (LONGEST - 2 * MARGIN) / width);
  const columns = Math.max(1, roundHalfEven(width * zoom)), rows = Math.max(1, roundHalfEven(height * zoom));
  // A fringe of two pixels of the strip, so that soft edges come along.
  const across = width / columns, down = height / rows;
  const frame = Math.ceil(2 * Math.max(across, down)) + 1;
  const ink = inkOfPieces(amount, labels, new Set(number), [left - frame, top - frame, width + 2 * frame, height + 2 * frame]);
  const edges = [frame - 2 * across, frame - 2 * down, frame + width + 2 * across, frame + height + 2 * down];
  let small = resampled(ink, columns + 4, rows + 4, hamming, edges);
  if (anyOf(small.values)) small = withFullStrength(small);
  const strip = { width: columns + 2 * MARGIN, height: STRIP_HEIGHT, values: new Uint8Array((columns + 2 * MARGIN) * STRIP_HEIGHT) };
  const first = Math.floor((STRIP_HEIGHT + 4 - small.height) / 2) - 2; // two rows may lie outside
  small.values.forEach((value, i) => {
    const x = MARGIN - 2 + (i % small.width), y = first + Math.floor(i / small.width);
    if (y >= 0 && y < STRIP_HEIGHT) strip.values[y * strip.width + x] = roundHalfEven(value);
  });
  return strip;
}

/** The ink of some pieces and of their soft edges in a box x, y, width, height; no ink outside the picture. */
function inkOfPieces(amount, labels, number, [left, top, width, height]) {
  const own = mask(width, height), result = picture(width, height);
  const inPicture = (rule) => {
    for (let y = Math.max(0, -top); y < Math.min(height, amount.height - top); y++) {
      for (let x = Math.max(0, -left); x < Math.min(width, amount.width - left); x++) {
        rule(y * width + x, (top + y) * amount.width + left + x);
      }
    }
  };
  inPicture((i, j) => { own.values[i] = number.has(labels[j]) ? 1 : 0; });
  const near = dilated(own);
  inPicture((i, j) => { if (near.values[i]) result.values[i] = amount.values[j]; });
  return result;
}
