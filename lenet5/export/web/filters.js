// Pictures as arrays, and the filters on them that Pillow, NumPy and OpenCV have in Python.
//
// A gray picture is {width, height, values}, row by row. A mask has values of 0 and 1.
// Each function does what its namesake there does with the same borders and roundings,
// since the page is to see what inference.py sees (tests/export/test_page.py compares them).

"use strict";

const picture = (width, height, values = new Float32Array(width * height)) => ({ width, height, values });

const mask = (width, height, values = new Uint8Array(width * height)) => ({ width, height, values });

/** A picture whose values are `rule` of each value and its index. */
function mapped(source, rule) {
  const { width, height, values } = source;
  const result = new Float32Array(values.length);
  for (let i = 0; i < values.length; i++) result[i] = rule(values[i], i);
  return picture(width, height, result);
}

/** The mask of the values above a level. */
function above({ width, height, values }, level) {
  const result = new Uint8Array(values.length);
  for (let i = 0; i < values.length; i++) if (values[i] > level) result[i] = 1;
  return mask(width, height, result);
}

/** The part of a picture or a mask from (left, top) to (right, bottom), these two exclusive. */
function cropped(source, left, top, right, bottom) {
  const width = right - left, height = bottom - top;
  const values = new source.values.constructor(width * height);
  for (let y = 0; y < height; y++) {
    const start = (top + y) * source.width + left;
    values.set(source.values.subarray(start, start + width), y * width);
  }
  return { width, height, values };
}

/** The picture with `margin` more pixels of 0 on each side. */
function widened(source, margin) {
  const result = picture(source.width + 2 * margin, source.height + 2 * margin);
  for (let y = 0; y < source.height; y++) {
    const row = source.values.subarray(y * source.width, (y + 1) * source.width);
    result.values.set(row, (y + margin) * result.width + margin);
  }
  return result;
}

function transposed(source) {
  const { width, height, values } = source;
  const result = new values.constructor(values.length);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) result[x * height + y] = values[y * width + x];
  }
  return { width: height, height: width, values: result };
}

// ---------------------------------------------------------------- numbers

/** Rounded to the nearest whole number, halves to the even one, as Python and OpenCV do. */
function roundHalfEven(x) {
  const below = Math.floor(x), rest = x - below;
  if (rest !== 0.5) return rest < 0.5 ? below : below + 1;
  return below % 2 === 0 ? below : below + 1;
}

const clamped = (x, low, high) => Math.min(Math.max(x, low), high);

function sumOf(values) {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i];
  return sum;
}

function anyOf(values) {
  for (let i = 0; i < values.length; i++) if (values[i] !== 0) return true;
  return false;
}

function largestOf(values) {
  let largest = -Infinity;
  for (let i = 0; i < values.length; i++) if (values[i] > largest) largest = values[i];
  return largest;
}

function smallestOf(values) {
  let smallest = Infinity;
  for (let i = 0; i < values.length; i++) if (values[i] < smallest) smallest = values[i];
  return smallest;
}

/** The level below which `share` percent of a typed array's values are, with linear interpolation. */
function percentile(values, share) {
  const sorted = values.slice().sort(), place = (share / 100) * (values.length - 1), below = Math.floor(place);
  return sorted[below] + (place - below) * (sorted[Math.min(below + 1, values.length - 1)] - sorted[below]);
}

const median = (values) => percentile(values, 50);

// ---------------------------------------------------------------- masks

/** A mask with the eight neighbours of each of its pixels. */
function dilated({ width, height, values }) {
  const result = mask(width, height);
  for (let i = 0; i < values.length; i++) {
    if (!values[i]) continue;
    const x = i % width, y = (i - x) / width;
    for (let v = Math.max(0, y - 1); v <= Math.min(height - 1, y + 1); v++) {
      result.values.fill(1, v * width + Math.max(0, x - 1), v * width + Math.min(width, x + 2));
    }
  }
  return result;
}

/**
 * The pieces of a mask that hang together, corners included.
 *
 * {labels, pieces}: a number for each pixel, 0 for those outside the mask, and for each
 * number its {x, y, w, h, area}.
 */
function piecesOf(source) {
  const { width, height, values } = source;
  const labels = new Int32Array(values.length), waiting = new Int32Array(values.length);
  const pieces = [{ x: 0, y: 0, w: width, h: height, area: 0 }];
  for (let start = 0; start < values.length; start++) {
    if (!values[start] || labels[start]) continue;
    const label = pieces.length;
    let left = width, right = 0, top = height, bottom = 0, area = 0, count = 0;
    waiting[count++] = start;
    labels[start] = label;
    while (count) {
      const i = waiting[--count], x = i % width, y = (i - x) / width;
      area++;
      if (x < left) left = x;
      if (x > right) right = x;
      if (y < top) top = y;
      if (y > bottom) bottom = y;
      for (let v = Math.max(0, y - 1); v <= Math.min(height - 1, y + 1); v++) {
        for (let u = Math.max(0, x - 1); u <= Math.min(width - 1, x + 1); u++) {
          const j = v * width + u;
          if (values[j] && !labels[j]) {
            labels[j] = label;
            waiting[count++] = j;
          }
        }
      }
    }
    pieces.push({ x: left, y: top, w: right - left + 1, h: bottom - top + 1, area });
  }
  return { labels, pieces };
}

// ---------------------------------------------------------------- other sizes

/** The means of each k×k pixels, the last ones perhaps of fewer. */
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
      // Rounded as Pillow does, which multiplies by 2²⁴ / count without its fraction.
      result.values[y * width + x] = Math.floor(((sum + (count >> 1)) * Math.trunc(2 ** 24 / count)) / 2 ** 24);
    }
  }
  return result;
}

/** Pillow's filter BILINEAR. */
const triangle = (x) => Math.max(0, 1 - Math.abs(x));

/** Pillow's filter HAMMING: that window of the sinc function. */
function hamming(x) {
  x = Math.abs(x) * Math.PI;
  if (x === 0) return 1;
  return x >= Math.PI ? 0 : (Math.sin(x) / x) * (0.54 + 0.46 * Math.cos(x));
}

/** For each of `wanted` places between `start` and `end` of a row: the first pixel and the weights. */
function windowsOf(length, start, end, wanted, filter) {
  const scale = (end - start) / wanted, stretch = Math.max(scale, 1);
  return Array.from({ length: wanted }, (_, i) => {
    const centre = start + (i + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - stretch + 0.5));
    const last = Math.min(length, Math.trunc(centre + stretch + 0.5));
    const weights = Float64Array.from({ length: last - first }, (_, j) => filter((first + j - centre + 0.5) * (1 / stretch)));
    const total = sumOf(weights);
    return [first, weights.map((weight) => weight / total)];
  });
}

/**
 * A picture's box [left, top, right, bottom], in fractions of pixels, at another size.
 *
 * `ofBytes`: as Pillow does it with 8 bits, by weights of 22 bits and rounded after each pass.
 */
function resampled(source, width, height, filter, box = [0, 0, source.width, source.height], ofBytes = false) {
  const [left, top, right, bottom] = box.map(Math.fround);
  const turned = (lines, windows) => transposed(weighted(lines, windows, ofBytes));
  const columns = windowsOf(source.width, left, right, width, filter);
  const rows = windowsOf(source.height, top, bottom, height, filter);
  return turned(turned(source, columns), rows);
}

/** Sums of the pixels of each row in windows, by their weights. */
function weighted(source, windows, ofBytes) {
  const width = windows.length, result = picture(width, source.height);
  windows.forEach(([first, shares], x) => {
    const weights = ofBytes ? shares.map((share) => Math.round(share * 2 ** 22) / 2 ** 22) : shares;
    for (let y = 0; y < source.height; y++) {
      const start = y * source.width + first;
      let sum = 0;
      for (let j = 0; j < weights.length; j++) sum += weights[j] * source.values[start + j];
      result.values[y * width + x] = ofBytes ? Math.min(255, Math.floor(sum + 0.5)) : sum;
    }
  });
  return result;
}
