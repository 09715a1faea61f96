// Any picture to what the network was trained on: preprocess.py of the project, step by step.
//
// A picture comes as {width, height, data} with red, green, blue and opacity of each pixel,
// 0 to 255, as a canvas gives it (ImageData). It leaves as 28×28 numbers, ink bright.

"use strict";

/**
 * A picture as MNIST would have it, and what was found on the way.
 *
 * {digit: Uint8Array of 28·28, ink, everything, dark}; `invert` is "auto", "yes" (the ink is
 * dark) or "no" (the ink is bright).
 */
function mnistLike(pixels, invert = "auto") {
  const colours = upright(pixels);
  const { everything, amount, dark } = inkIn(reduced(colours), DARK_INK[invert]);
  const ink = fromNear(colours, amount, dark);
  return { digit: centreDigit(ink), ink, everything, dark };
}

/** The three colours of an opaque picture, or its gray alone: one or three pictures. */
function upright({ width, height, data }) {
  let isOpaque = true, isGray = true;
  for (let i = 0; i < data.length; i += 4) {
    if (data[i + 3] !== 255) isOpaque = false;
    if (data[i] !== data[i + 1] || data[i] !== data[i + 2]) isGray = false;
  }
  const colours = (isGray ? [0] : [0, 1, 2]).map((c) => channel({ width, height, data }, c));
  return isOpaque ? colours : [withoutTransparency(toGray(colours), channel({ width, height, data }, 3))];
}

/** One of the four channels of pixels as a picture. */
function channel({ width, height, data }, c) {
  const result = picture(width, height), { values } = result;
  for (let i = 0; i < values.length; i++) values[i] = data[4 * i + c];
  return result;
}

/** One picture of three colours, with the weights of the eye (ITU-R 601). */
function toGray(colours) {
  if (colours.length === 1) return colours[0];
  const [red, green, blue] = colours.map((colour) => colour.values);
  return mapped(colours[0], (_, i) => (red[i] * 19595 + green[i] * 38470 + blue[i] * 7471 + 32768) >> 16);
}

/** A gray picture laid on a background that makes sense for it; see preprocess.py. */
function withoutTransparency(gray, alpha) {
  const opaque = gray.values.filter((_, i) => alpha.values[i] > 127);
  if (!opaque.length) return picture(gray.width, gray.height); // nothing in it can be seen
  const sorted = opaque.sort();
  const [low, middle, high] = [0.05, 0.5, 0.95].map((share) => sorted[Math.ceil(share * sorted.length) - 1]);
  if (high - low < 32 && smallestOf(alpha.values) <= 127) return alpha;
  return mapped(gray, (value, i) => {
    const mixed = value * alpha.values[i] + middle * (255 - alpha.values[i]) + 128;
    return (mixed + (mixed >> 8)) >> 8; // divided by 255, and rounded
  });
}

/** All ink in a reduced picture, the digit's ink, and whether it is dark. */
function inkIn(colours, dark, within = null) {
  let strokes = null;
  if (Math.min(colours[0].width, colours[0].height) >= SMALLEST) {
    // There is room for lines, frames and shadows.
    strokes = findStrokes(colours, dark, within);
    if (anyOf(strokes.amount.values)) return strokes;
  }
  const ink = findInk(toGray(colours), dark);
  // Where no strokes were found, perhaps the digit is cut so close that no paper is left around it.
  if (strokes === null || largestOf(ink.amount.values) > STRONG_CONTRAST) {
    return { everything: ink.amount, amount: ink.amount, dark: ink.dark };
  }
  return strokes;
}

/** How far each pixel of a small picture is from the paper, on the ink's side. */
function findInk(gray, isDark) {
  const { width, height } = gray, shorter = Math.min(width, height);
  const rim = Math.max(1, Math.floor(shorter / 28));
  const strips = [[0, 0, width, rim], [0, height - rim, width, height], [0, 0, rim, height], [width - rim, 0, width, height]];
  const border = Float32Array.from(strips.flatMap((box) => Array.from(cropped(gray, ...box).values)));
  let paper = median(border), noise = NORMAL * medianDistance(border, paper);
  const contrast = largestOf(gray.values) - smallestOf(gray.values);
  if ((shorter < TINY || noise > MOST_NOISE * contrast) && hasTwoLevels(gray)) {
    [paper, noise] = paperBesideInk(gray, border, isDark);
  } else if (noise > 0 && shorter > 2 * rim + 2) {
    gray = medianOfNine(gray);
  }
  const dark = isDark ?? isDarker(gray, paper);
  let amount = mapped(gray, (value) => {
    const away = Math.max(dark ? paper - value : value - paper, 0);
    return away < 3 * noise ? 0 : away;
  });
  if (largestOf(amount.values) < BLANK_CONTRAST) amount = picture(width, height);
  return { amount, paper, dark };
}

/** Whether a picture's levels are two groups, paper and ink (Otsu's criterion). */
function hasTwoLevels(gray) {
  const { values } = gray, count = values.length;
  const middle = (percentile(values, 5) + percentile(values, 95)) / 2;
  const high = values.filter((value) => value > middle), low = values.filter((value) => value <= middle);
  if (!high.length || !low.length) return false;
  const mean = sumOf(values) / count, share = high.length / count;
  const variance = sumOf(Float64Array.from(values, (value) => (value - mean) ** 2)) / count;
  const apart = sumOf(high) / high.length - sumOf(low) / low.length;
  return share * (1 - share) * apart ** 2 > TWO_LEVELS * variance;
}

/** The paper's level and its noise's deviation where ink is at the border in many places. */
function paperBesideInk(gray, border, isDark) {
  const { width, height, values } = gray;
  const low = percentile(values, 5), high = percentile(values, 95), middle = (low + high) / 2;
  const corners = [0, width - 1, (height - 1) * width, height * width - 1].map((i) => values[i]);
  const isBright = isDark ?? sumOf(corners) / 4 > middle;
  const onPaper = border.filter((value) => value > middle === isBright);
  if (!onPaper.length) return [isBright ? high : low, 0];
  // Ink's soft edges are all on one side of the paper's level, so the other side tells of it.
  const paper = percentile(onPaper, isBright ? 75 : 25);
  const beyond = onPaper.filter((value) => (isBright ? value >= paper : value <= paper));
  return [paper, medianDistance(beyond, paper) / 0.48];
}

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
    : resampled(framed, width + 2 * FRINGE, height + 2 * FRINGE, edges);
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

/** By what whole number a picture of this size is reduced. */
const reduction = (width, height, side = WORKING_SIDE) => Math.ceil(Math.max(width, height) / side);

/** Each k×k pixels averaged, so that the longer side is at most `side`. */
function reduced(colours, side = WORKING_SIDE) {
  const factor = reduction(colours[0].width, colours[0].height, side);
  return factor === 1 ? colours : colours.map((colour) => averaged(colour, factor));
}

/**
 * The means of each k×k pixels, the last ones perhaps of fewer.
 *
 * Rounded as Pillow does, which multiplies by 2²⁴ / count without its fraction.
 */
function averaged(source, factor) {
  const width = Math.ceil(source.width / factor), height = Math.ceil(source.height / factor);
  const result = picture(width, height);
  for (let y = 0; y < height; y++) {
    const bottom = Math.min((y + 1) * factor, source.height);
    for (let x = 0; x < width; x++) {
      const right = Math.min((x + 1) * factor, source.width);
      let sum = 0;
      for (let v = y * factor; v < bottom; v++) {
        for (let u = x * factor; u < right; u++) sum += source.values[v * source.width + u];
      }
      const count = (bottom - y * factor) * (right - x * factor);
      result.values[y * width + x] = Math.floor(((sum + (count >> 1)) * Math.trunc(2 ** 24 / count)) / 2 ** 24);
    }
  }
  return result;
}

/** The ink of a small digit on a large sheet, looked at again at a higher resolution. */
function fromNear(colours, amount, dark) {
  const whole = colours[0], factor = reduction(whole.width, whole.height), box = boundingBox(amount);
  if (box === null || factor === 1) return amount;
  const margin = Math.floor(Math.max(box[2] - box[0], box[3] - box[1]) / 2) + 2;
  const left = Math.max(0, box[0] - margin), top = Math.max(0, box[1] - margin);
  const right = Math.min(amount.width, box[2] + margin), bottom = Math.min(amount.height, box[3] + margin);
  // The last pixels of a reduced picture may be of fewer.
  const end = [Math.min(whole.width, right * factor), Math.min(whole.height, bottom * factor)];
  const close = colours.map((colour) => cropped(colour, left * factor, top * factor, ...end));
  if (Math.max(close[0].width, close[0].height) > 0.7 * Math.max(whole.width, whole.height)) return amount;
  const small = reduced(close), { width, height } = small[0];
  // Two pixels of the reduced picture around what was found there.
  const found = dilated(maskOf(cropped(amount, left, top, right, bottom), (value) => value > 0), 5);
  const within = mask(width, height);
  for (let i = 0; i < width * height; i++) {
    const x = i % width, y = (i - x) / width;
    const row = Math.floor(((y + 0.5) * found.height) / height), column = Math.floor(((x + 0.5) * found.width) / width);
    within.values[i] = found.values[row * found.width + column];
  }
  return inkIn(small, dark, within).amount;
}
