// Any picture to what the network was trained on: preprocess.py and centring.py, step by step.
//
// A picture comes as {width, height, data} with red, green, blue and opacity of each pixel,
// 0 to 255, as a canvas gives it (ImageData). It leaves as 28×28 numbers, ink bright.

"use strict";

/**
 * What was found in a picture.
 *
 * {view, ink, digit}: what was looked at last, the digit's ink there, and 28·28 numbers as MNIST has
 * them; `invert` is "auto", "yes" (the ink is dark) or "no" (the ink is bright).
 */
function lookAt(pixels, invert = "auto") {
  const colours = upright(pixels), ink = plainInk(colours, invert), view = viewOf(reduced(colours));
  return ink === null ? findInk(view, invert) : { view, ink, digit: centreDigit(ink) };
}

/** The three colours of a picture on opaque paper, or its gray alone: one or three pictures. */
function upright(pixels) {
  const [opacity, ...own] = [3, 0, 1, 2].map((c) => channel(pixels, c));
  const isOpaque = smallestOf(opacity.values) === 255, paper = isOpaque ? 0 : paperBehind(toGray(own), opacity);
  const colours = isOpaque ? own : own.map((colour) => mapped(colour, (value, i) => {
    const mixed = value * opacity.values[i] + paper * (255 - opacity.values[i]) + 128;
    return (mixed + (mixed >> 8)) >> 8; // divided by 255, and rounded
  }));
  const isGray = [1, 2].every((c) => colours[c].values.every((value, i) => value === colours[0].values[i]));
  return withLevels(isGray ? colours.slice(0, 1) : colours);
}

/** A picture; a mask, with levels such as 0 and 1, from black to white. */
function withLevels(colours) {
  const low = Math.min(...colours.map(({ values }) => smallestOf(values)));
  const high = Math.max(...colours.map(({ values }) => largestOf(values)));
  if (low === high || high > MASK_LEVELS) return colours;
  return colours.map((colour) => mapped(colour, (value) => roundHalfEven((255 * (value - low)) / (high - low))));
}

/** One of the four channels of pixels as a picture. */
function channel({ width, height, data }, c) {
  const result = picture(width, height), { values } = result;
  for (let i = 0; i < values.length; i++) values[i] = data[4 * i + c];
  return result;
}

/** One picture of three colours, with the weights of the eye (ITU-R 601). */
function toGray(colours) {
  const [red, green, blue] = colours.map((colour) => colour.values);
  return mapped(colours[0], (_, i) => (red[i] * 19595 + green[i] * 38470 + blue[i] * 7471 + 32768) >> 16);
}

/** The gray level that is farthest from those of all that is visible. */
function paperBehind(gray, opacity) {
  const [width, height] = [gray.width, gray.height].map((side) => Math.min(side, SAMPLED));
  const visible = new Float64Array(256), place = (i, few, side) => Math.floor(((i + 0.5) * side) / few);
  for (let i = 0; i < width * height; i++) {
    const j = place(Math.floor(i / width), height, gray.height) * gray.width + place(i % width, width, gray.width);
    visible[gray.values[j]] += opacity.values[j];
  }
  for (let level = 1; level < 256; level++) visible[level] += visible[level - 1];
  const levels = Array.from({ length: 49 }, (_, i) => visible.findIndex((sum) => sum >= visible[255] * 0.02 * (i + 1)));
  const distances = Array.from({ length: 256 }, (_, paper) => Math.min(...levels.map((level) => Math.abs(level - paper))));
  return distances.indexOf(Math.max(...distances));
}

/** The ink of a small gray picture whose rim has one level but for strokes; null for any other picture. */
function plainInk(colours, invert) {
  const { width, height, values } = colours[0];
  if (colours.length > 1 || Math.max(width, height) > PLAIN_SIDE) return null;
  const isRim = (x, y) => x === 0 || y === 0 || x === width - 1 || y === height - 1;
  const rim = values.filter((_, i) => isRim(i % width, Math.floor(i / width))), paper = median(rim);
  const needed = Math.max(width, height) <= TINY_SIDE ? TINY_RIM : PLAIN_RIM;
  if (rim.filter((value) => value === paper).length < needed * rim.length) return null;
  const highest = largestOf(values) - paper, lowest = smallestOf(values) - paper;
  if (lowest < 0 && highest > 0) return null;
  const isBlank = Math.max(highest, -lowest) < BLANK_CONTRAST || invert === (lowest < 0 ? "no" : "yes");
  return mapped(colours[0], (value) => (isBlank ? 0 : Math.abs(value - paper)));
}

/** Each k×k pixels averaged, so that the longer side is at most `side`, or a strip has LOWEST_STRIP pixels. */
function reduced(colours, side = WORKING_SIDE) {
  const { width, height } = colours[0], most = Math.max(1, Math.floor(Math.min(width, height) / LOWEST_STRIP));
  const factor = Math.min(Math.ceil(Math.max(width, height) / side), most);
  return factor === 1 ? colours : colours.map((colour) => averaged(colour, factor));
}

/** A picture's colours, and what the finder sees of them: of a strip more than FINDER_SIDE. */
function viewOf(colours) {
  const { width, height } = colours[0], longer = Math.max(width, height);
  const inStrip = Math.min(1, LOWEST_STRIP / Math.min(width, height), LONGEST_STRIP / longer);
  return { colours, scaled: seenAt(colours, Math.max(FINDER_SIDE / longer, inStrip)) };
}

/** A picture in so many times as many pixels a side, or about so: its sides are of multiples. */
function seenAt(colours, scale) {
  const [width, height] = [colours[0].width, colours[0].height].map(
    (side) => Math.max(1, roundHalfEven((side * scale) / FINDER_MULTIPLE)) * FINDER_MULTIPLE,
  );
  return colours.map((colour) => resampled(colour, width, height, triangle, undefined, true));
}

/** What was found in a view, seen from near where the ink is small in the picture. */
function findInk(view, invert) {
  let found = maskOf(view, invert);
  for (let look = 1; look < LOOKS; look++) {
    const closer = fromNear(view, found);
    if (closer === null) break;
    view = closer;
    found = maskOf(view, invert);
  }
  const ink = atTrueRatio(view, found);
  return { view, ink, digit: centreDigit(ink) };
}

/** What the finder takes for the digit's ink, 0 to 1. */
const maskOf = ({ scaled }, invert) => inkOf(finder(scaled)[0], scaled, invert);

/** The finder's mask of a view without what is less than `least`; all 0 if no pixel is certainly ink. */
function inkOf(found, scaled, invert, least = LEAST_INK) {
  const { values } = found;
  let isInk = () => true;
  if (invert !== "auto" && smallestOf(values) < CERTAIN_INK) {
    const gray = Float64Array.from(values, (_, i) => sumOf(scaled.map((colour) => colour.values[i])) / scaled.length);
    const paper = median(gray.filter((_, i) => values[i] < CERTAIN_INK));
    isInk = (i) => (invert === "yes" ? gray[i] < paper : gray[i] > paper);
  }
  const kept = mapped(found, (value, i) => (value > least && isInk(i) ? value : 0));
  return largestOf(kept.values) > CERTAIN_INK ? kept : picture(found.width, found.height);
}

/** The part of a picture around its ink, where that is small; null where it is not. */
function fromNear({ colours }, found) {
  const box = boundingBox(mapped(found, (value) => (value > CERTAIN_INK ? value : 0)));
  const { width, height } = colours[0], longest = Math.max(width, height);
  if (box === null || longest <= FINDER_MULTIPLE) return null;
  const across = width / found.width, down = height / found.height;
  const [left, top, right, bottom] = box.map((side, i) => side * (i % 2 ? down : across));
  const longer = Math.max(right - left, bottom - top);
  if (longer > SMALL_INK * longest) return null;
  const margin = NEAR_MARGIN * longer + 2 * Math.max(across, down); // a box is as exact as a mask's pixel
  const start = [left, top].map((side) => Math.max(0, Math.trunc(side - margin)));
  const end = [Math.min(width, Math.trunc(right + margin) + 1), Math.min(height, Math.trunc(bottom + margin) + 1)];
  return viewOf(colours.map((colour) => cropped(colour, ...start, ...end)));
}

/** A mask as ink, 0 to 255, with the width and height of its picture in proportion. */
function atTrueRatio({ colours: [{ width, height }] }, found) {
  const scale = Math.max(found.width, found.height) / Math.max(width, height);
  const [columns, rows] = [width, height].map((side) => Math.max(1, roundHalfEven(side * scale)));
  return mapped(resampled(found, columns, rows, triangle), (value) => 255 * value);
}

// ---------------------------------------------------------------- centring.py

/** [left, top, right, bottom] of the ink, right and bottom exclusive, or null if there is none. */
function boundingBox(amount) {
  const { width, values } = amount, level = BOX_LEVEL * largestOf(values) + ROUNDING;
  let left = Infinity, top = Infinity, right = -1, bottom = -1;
  for (let i = 0; i < values.length; i++) {
    if (!(values[i] > level)) continue;
    const x = i % width, y = (i - x) / width;
    if (x < left) left = x;
    if (x >= right) right = x + 1;
    if (y < top) top = y;
    bottom = y + 1;
  }
  return right < 0 ? null : [left, top, right, bottom];
}

/** Ink of any size as MNIST has it: the box's longer side 20 pixels, the mass in the middle. */
function centreDigit(amount) {
  const box = boundingBox(amount);
  if (box === null) return new Uint8Array(SIDE * SIDE);
  const [left, top, right, bottom] = box, scale = DIGIT_SIDE / Math.max(right - left, bottom - top);
  const width = Math.max(1, roundHalfEven((right - left) * scale));
  const height = Math.max(1, roundHalfEven((bottom - top) * scale));
  // The fringe in pixels of the picture, and a frame of background in which it has room.
  const across = (FRINGE * (right - left)) / width, down = (FRINGE * (bottom - top)) / height;
  const frame = Math.ceil(Math.max(across, down)), framed = widened(amount, frame);
  const edges = [frame + left - across, frame + top - down, frame + right + across, frame + bottom + down];
  const digit = scale === 1
    ? cropped(framed, ...edges.map(Math.trunc))
    : resampled(framed, width + 2 * FRINGE, height + 2 * FRINGE, hamming, edges);
  return putInMiddle(withFullStrength(digit));
}

/** Ink, not all 0, as strong as MNIST's: 0 to 255. */
function withFullStrength(ink) {
  const half = largestOf(ink.values) / 2;
  // In float32, as NumPy does it: some pixels lie halfway between two levels.
  const factor = Math.fround(INK / percentile(ink.values.filter((value) => value > half), 90));
  return mapped(ink, (value) => clamped(value * factor, 0, 255));
}

/** A digit of at most 24×24 in 28×28, moved by whole pixels so that its mass is central. */
function putInMiddle(digit) {
  const { width, height, values } = digit;
  let mass = 0, across = 0, down = 0;
  values.forEach((value, i) => {
    const x = i % width;
    mass += value;
    across += value * x;
    down += (value * (i - x)) / width;
  });
  const place = (centre, length) =>
    clamped(roundHalfEven(MIDDLE - centre) + FRINGE, 0, SIDE + 2 * FRINGE - length) - FRINGE;
  const left = place(across / mass, width), top = place(down / mass, height);
  const result = new Uint8Array(SIDE * SIDE);
  values.forEach((value, i) => {
    const x = left + (i % width), y = top + Math.floor(i / width);
    // The digit's box stays inside; its fringe may be cut off.
    if (x >= 0 && x < SIDE && y >= 0 && y < SIDE) result[y * SIDE + x] = roundHalfEven(value);
  });
  return result;
}
