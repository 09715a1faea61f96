// Pictures as arrays, and the filters on them that Pillow, NumPy and OpenCV have in Python.
//
// A gray picture is {width, height, values}, row by row. A mask has values of 0 and 1.
// Each function does what its namesake there does with the same borders and roundings,
// since the page is to see what inference.py sees (tests/test_page.py compares them).

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

/** The mask of the values for which `rule` holds. */
function maskOf(source, rule) {
  const { width, height, values } = source;
  const result = new Uint8Array(values.length);
  for (let i = 0; i < values.length; i++) result[i] = rule(values[i], i) ? 1 : 0;
  return mask(width, height, result);
}

// The loops that every frame goes through several times are written out: a function that
// calls a rule for each pixel takes five times as long.

/** Each value divided by that of another picture. */
function divided({ width, height, values }, divisor) {
  const result = new Float32Array(values.length);
  for (let i = 0; i < values.length; i++) result[i] = values[i] / divisor.values[i];
  return picture(width, height, result);
}

/** The mask of the values above a level. */
function above({ width, height, values }, level) {
  const result = new Uint8Array(values.length);
  for (let i = 0; i < values.length; i++) if (values[i] > level) result[i] = 1;
  return mask(width, height, result);
}

/** The values where a mask is set, and 0 elsewhere. */
function masked({ width, height, values }, where) {
  const result = new Float32Array(values.length);
  for (let i = 0; i < values.length; i++) if (where.values[i]) result[i] = values[i];
  return picture(width, height, result);
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

/** The picture with `margin` more pixels of one level on each side. */
function widened(source, margin, level = 0) {
  const result = picture(source.width + 2 * margin, source.height + 2 * margin);
  result.values.fill(level);
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

/** The k-th smallest value; `values` come out in another order (Hoare's quickselect). */
function select(values, k) {
  let low = 0, high = values.length - 1;
  while (low < high) {
    const pivot = values[(low + high) >> 1];
    let i = low, j = high;
    while (i <= j) {
      while (values[i] < pivot) i++;
      while (values[j] > pivot) j--;
      if (i <= j) {
        const kept = values[i];
        values[i++] = values[j];
        values[j--] = kept;
      }
    }
    if (k <= j) high = j;
    else if (k >= i) low = i;
    else break;
  }
  return values[k];
}

/** The level below which `share` percent of the values are, with linear interpolation. */
function percentile(values, share) {
  const place = (share / 100) * (values.length - 1), below = Math.floor(place);
  const copy = values.slice();
  const level = select(copy, below);
  if (below === place) return level;
  let next = Infinity; // what is right of k after the selection is no smaller
  for (let i = below + 1; i < copy.length; i++) if (copy[i] < next) next = copy[i];
  return level + (place - below) * (next - level);
}

const median = (values) => percentile(values, 50);

/** Every `step`-th of the values. */
function sampled(values, step) {
  const result = new Float32Array(Math.ceil(values.length / step));
  for (let i = 0; i < result.length; i++) result[i] = values[i * step];
  return result;
}

/** The median of how far values are from a level. */
const medianDistance = (values, level) => median(values.map((value) => Math.abs(value - level)));

// ---------------------------------------------------------------- smoothing and edges

/** Where a place outside 0 ... length - 1 is reflected to, the edge's pixel twice: cba|abc|cba. */
function reflected(place, length) {
  while (place < 0 || place >= length) place = place < 0 ? -place - 1 : 2 * length - 1 - place;
  return place;
}

/** The weights of a Gaussian of deviation sigma (pixels), cut off at about four of them. */
function gaussian(sigma) {
  const size = roundHalfEven(sigma * 8 + 1) | 1, reach = size >> 1;
  const kernel = Float64Array.from({ length: size }, (_, i) => Math.exp((-0.5 * (i - reach) ** 2) / sigma ** 2));
  const total = sumOf(kernel);
  return kernel.map((weight) => Math.fround(weight / total));
}

function smoothedRows({ width, height, values }, kernel) {
  const reach = kernel.length >> 1, result = new Float32Array(values.length);
  const row = new Float32Array(width + 2 * reach);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) row[x + reach] = values[y * width + x];
    for (let x = 1; x <= reach; x++) {
      row[reach - x] = values[y * width + reflected(-x, width)];
      row[reach + width - 1 + x] = values[y * width + reflected(width - 1 + x, width)];
    }
    for (let x = 0; x < width; x++) {
      let sum = kernel[reach] * row[x + reach];
      for (let i = 1; i <= reach; i++) sum += kernel[reach + i] * (row[x + reach - i] + row[x + reach + i]);
      result[y * width + x] = sum;
    }
  }
  return result;
}

/** Smoothed by a Gaussian, rows first. */
function smoothed(source, sigma) {
  const { width, height } = source, kernel = gaussian(sigma), reach = kernel.length >> 1;
  const across = smoothedRows(source, kernel), result = picture(width, height);
  const sums = new Float64Array(width);
  for (let y = 0; y < height; y++) {
    sums.fill(0);
    for (let i = -reach; i <= reach; i++) {
      const start = reflected(y + i, height) * width, weight = kernel[reach + i];
      for (let x = 0; x < width; x++) sums[x] += weight * across[start + x];
    }
    result.values.set(sums, y * width);
  }
  return result;
}

/** Every `step`-th value of a picture smoothed by a Gaussian. */
function smoothedSamples(source, sigma, step) {
  const { width, height, values } = source, kernel = gaussian(sigma), reach = kernel.length >> 1;
  const across = smoothedRows(source, kernel);
  const result = new Float32Array(Math.ceil(values.length / step));
  for (let n = 0, place = 0; n < result.length; n++, place += step) {
    const x = place % width, y = (place - x) / width;
    let sum = 0;
    for (let i = -reach; i <= reach; i++) sum += kernel[reach + i] * across[reflected(y + i, height) * width + x];
    result[n] = sum;
  }
  return result;
}

/** The squared length of the gradient at each pixel (Sobel), in gray levels a pixel, times 64. */
function steepness(source) {
  const { width, height, values } = source;
  const result = new Float32Array(values.length);
  const beside = (place, length) => (place < 0 ? 1 : place >= length ? length - 2 : place); // cb|abc|ba
  for (let y = 0; y < height; y++) {
    const above = beside(y - 1, height) * width, here = y * width, below = beside(y + 1, height) * width;
    for (let x = 0; x < width; x++) {
      const left = beside(x - 1, width), right = beside(x + 1, width);
      const a = values[above + left], b = values[above + x], c = values[above + right];
      const d = values[here + left], e = values[here + right];
      const f = values[below + left], g = values[below + x], h = values[below + right];
      const across = c - a + 2 * (e - d) + h - f, down = f - a + 2 * (g - b) + h - c;
      result[here + x] = across * across + down * down;
    }
  }
  return picture(width, height, result);
}

// ---------------------------------------------------------------- morphology

/**
 * The largest (sign 1) or smallest (sign -1) value within reach along each row.
 *
 * The window of pixel x begins at x - ⌊size / 2⌋; what is outside the picture does not count.
 * Van Herk's way, three comparisons a pixel whatever the size: the row is cut into blocks of
 * `size`, and each window is the end of one block and the start of the next.
 */
function extremesOfRows({ width, height, values }, size, sign) {
  const before = size >> 1, length = Math.ceil((width + size) / size) * size;
  const result = new values.constructor(values.length);
  const row = new Float32Array(length).fill(-Infinity);
  const starts = new Float32Array(length), ends = new Float32Array(length);
  for (let y = 0; y < height; y++) {
    for (let x = 0, i = y * width; x < width; x++, i++) row[x + before] = sign * values[i];
    for (let block = 0; block < length; block += size) {
      let most = -Infinity;
      for (let i = block; i < block + size; i++) starts[i] = most = row[i] > most ? row[i] : most;
      most = -Infinity;
      for (let i = block + size - 1; i >= block; i--) ends[i] = most = row[i] > most ? row[i] : most;
    }
    for (let x = 0, i = y * width; x < width; x++, i++) {
      const start = ends[x], end = starts[x + size - 1];
      result[i] = sign * (start > end ? start : end);
    }
  }
  return { width, height, values: result };
}

const dilated = (source, side) =>
  transposed(extremesOfRows(transposed(extremesOfRows(source, side, 1)), side, 1));

/** What is dark and narrower than `side` is filled. */
function closed(source, side) {
  // Dilation along rows and columns, then erosion along columns and rows.
  const columns = extremesOfRows(transposed(extremesOfRows(source, side, 1)), side, 1);
  return extremesOfRows(transposed(extremesOfRows(columns, side, -1)), side, -1);
}

/** What is bright and shorter than `size` in its column is taken away. */
const openedInColumns = (source, size) =>
  transposed(extremesOfRows(extremesOfRows(transposed(source), size, -1), size, 1));

/** Whether a mask has a square of `side`, or as much of one as fits in at the picture's edge. */
function hasSquare(source, side) {
  const runs = extremesOfRows(source, side, -1);
  return anyOf(runs.values) && anyOf(extremesOfRows(transposed(runs), side, -1).values);
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

// ---------------------------------------------------------------- straight lines

/** OpenCV's random numbers: whole ones from 0 to below `count`, the same in every run. */
function randomNumbers() {
  let high = 0xffffffff, low = 0xffffffff; // a state of 64 bits
  return (count) => {
    // low · 4164903690 + high, in two halves of 32 bits
    const a = low >>> 16, b = low & 0xffff, lower = b * 4164903690, upper = a * 4164903690;
    const rest = lower + (upper % 65536) * 65536 + high;
    high = Math.floor(upper / 65536) + Math.floor(rest / 4294967296);
    low = rest % 4294967296;
    return low % count;
  };
}

/**
 * Straight lines in a mask, each [x1, y1, x2, y2]: the probabilistic Hough transform (Matas,
 * Galambos, Kittler, 2000) with angles half a degree apart, point by point as OpenCV has it.
 */
function straightLines(source, threshold, shortest, gapAllowed) {
  const { width, height, values } = source;
  const angles = 360, distances = roundHalfEven((width + height) * 2 + 1), middle = (distances - 1) >> 1;
  const cosines = new Float32Array(angles), sines = new Float32Array(angles);
  for (let n = 0; n < angles; n++) {
    cosines[n] = Math.cos((n * Math.PI) / 360);
    sines[n] = Math.sin((n * Math.PI) / 360);
  }
  const place = (n, x, y) => n * distances + middle + roundHalfEven(x * cosines[n] + y * sines[n]);
  const votes = new Int32Array(angles * distances);
  const left = Uint8Array.from(values);
  const points = [];
  for (let i = 0; i < values.length; i++) if (values[i]) points.push(i);
  const random = randomNumbers(), lines = [], one = 65536;
  shortest = roundHalfEven(shortest);
  gapAllowed = roundHalfEven(gapAllowed);

  for (let count = points.length; count > 0; count--) {
    const chosen = random(count), point = points[chosen];
    points[chosen] = points[count - 1];
    if (!left[point]) continue;
    const px = point % width, py = (point - px) / width;
    let most = threshold - 1, best = 0;
    for (let n = 0; n < angles; n++) {
      const number = ++votes[place(n, px, py)];
      if (number > most) {
        most = number;
        best = n;
      }
    }
    if (most < threshold) continue;

    // From the point along the line, both ways, in steps of one pixel of the longer axis.
    const a = -sines[best], b = cosines[best], isLevel = Math.abs(a) > Math.abs(b);
    const dx = isLevel ? Math.sign(a) * one : roundHalfEven((a * one) / Math.abs(b));
    const dy = isLevel ? roundHalfEven((b * one) / Math.abs(a)) : b > 0 ? one : -one;
    const start = [px * one + (isLevel ? 0 : one / 2), py * one + (isLevel ? one / 2 : 0)];
    const ends = [[px, py], [px, py]];
    const walk = (way, visit) => {
      for (let [x, y] = start; ; x += way * dx, y += way * dy) {
        const i = Math.floor(x / one), j = Math.floor(y / one);
        if (i < 0 || i >= width || j < 0 || j >= height || visit(i, j) === false) return;
      }
    };
    [1, -1].forEach((way, k) => {
      let gap = 0;
      walk(way, (x, y) => {
        if (left[y * width + x]) {
          gap = 0;
          ends[k] = [x, y];
        } else if (++gap > gapAllowed) return false;
        return true;
      });
    });
    const [[x1, y1], [x2, y2]] = ends;
    const isLong = Math.abs(x2 - x1) >= shortest || Math.abs(y2 - y1) >= shortest;
    [1, -1].forEach((way, k) => {
      walk(way, (x, y) => {
        if (left[y * width + x]) {
          if (isLong) for (let n = 0; n < angles; n++) votes[place(n, x, y)]--;
          left[y * width + x] = 0;
        }
        return x !== ends[k][0] || y !== ends[k][1];
      });
    });
    if (isLong) lines.push([x1, y1, x2, y2]);
  }
  return lines;
}

// ---------------------------------------------------------------- other sizes

/** Each of `cells` equal parts of a row of `length` pixels: the pixels in it and their shares. */
function sharesOfParts(length, cells) {
  const scale = length / cells;
  return Array.from({ length: cells }, (_, cell) => {
    const start = cell * scale, end = Math.min(start + scale, length);
    const pixels = [];
    for (let i = Math.floor(start); i < Math.min(Math.ceil(end), length); i++) {
      const share = Math.min(end, i + 1) - Math.max(start, i);
      if (share > 1e-3) pixels.push([i, share / (end - start)]);
    }
    return pixels;
  });
}

/** The means of `side`×`side` equal parts of a picture. */
function meansOfParts({ width, height, values }, side) {
  const columns = sharesOfParts(width, side), rows = sharesOfParts(height, side);
  const across = new Float64Array(side * height), result = picture(side, side);
  columns.forEach((pixels, i) => {
    for (const [x, share] of pixels) {
      for (let y = 0; y < height; y++) across[y * side + i] += share * values[y * width + x];
    }
  });
  rows.forEach((pixels, j) => {
    for (const [y, share] of pixels) {
      for (let i = 0; i < side; i++) result.values[j * side + i] += share * across[y * side + i];
    }
  });
  return result;
}

/** A small picture at another size, with values in between interpolated linearly. */
function interpolated(source, width, height) {
  const { values } = source, result = picture(width, height);
  const places = (length, wanted) => Float64Array.from({ length: wanted }, (_, i) =>
    clamped(((i + 0.5) * length) / wanted - 0.5, 0, length - 1));
  const columns = places(source.width, width), rows = places(source.height, height);
  const line = new Float64Array(source.width); // of the small picture, between two of its rows
  for (let y = 0, i = 0; y < height; y++) {
    const above = Math.floor(rows[y]), down = rows[y] - above;
    const first = above * source.width, second = Math.min(above + 1, source.height - 1) * source.width;
    for (let x = 0; x < source.width; x++) line[x] = values[first + x] * (1 - down) + values[second + x] * down;
    for (let x = 0; x < width; x++) {
      const left = Math.floor(columns[x]), across = columns[x] - left;
      result.values[i++] = line[left] * (1 - across) + (across > 0 ? line[left + 1] * across : 0);
    }
  }
  return result;
}

/** The Hamming window of the sinc function, with which Pillow makes pictures smaller. */
function hamming(x) {
  x = Math.abs(x) * Math.PI;
  if (x === 0) return 1;
  return x >= Math.PI ? 0 : (Math.sin(x) / x) * (0.54 + 0.46 * Math.cos(x));
}

/** For each of `wanted` places between `start` and `end` of a row: the first pixel and the weights. */
function windowsOf(length, start, end, wanted) {
  const scale = (end - start) / wanted, stretch = Math.max(scale, 1);
  return Array.from({ length: wanted }, (_, i) => {
    const centre = start + (i + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - stretch + 0.5));
    const last = Math.min(length, Math.trunc(centre + stretch + 0.5));
    const weights = Float64Array.from({ length: last - first }, (_, j) => hamming((first + j - centre + 0.5) / stretch));
    const total = sumOf(weights);
    return [first, weights.map((weight) => weight / total)];
  });
}

/** The part of a picture in a box [left, top, right, bottom], in fractions of pixels, at another size. */
function resampled(source, width, height, box) {
  const [left, top, right, bottom] = box.map(Math.fround);
  const columns = windowsOf(source.width, left, right, width);
  const rows = windowsOf(source.height, top, bottom, height);
  const across = new Float32Array(width * source.height), result = picture(width, height);
  for (let y = 0; y < source.height; y++) {
    columns.forEach(([first, weights], x) => {
      let sum = 0;
      for (let j = 0; j < weights.length; j++) sum += weights[j] * source.values[y * source.width + first + j];
      across[y * width + x] = sum;
    });
  }
  rows.forEach(([first, weights], y) => {
    for (let x = 0; x < width; x++) {
      let sum = 0;
      for (let j = 0; j < weights.length; j++) sum += weights[j] * across[(first + j) * width + x];
      result.values[y * width + x] = sum;
    }
  });
  return result;
}

/** The median of each pixel and its eight neighbours, the edge's pixels going on outside. */
function medianOfNine(source) {
  const { width, height, values } = source;
  const nine = new Float32Array(9);
  return mapped(source, (_, i) => {
    const x = i % width, y = (i - x) / width;
    let count = 0;
    for (let v = y - 1; v <= y + 1; v++) {
      for (let u = x - 1; u <= x + 1; u++) {
        nine[count++] = values[clamped(v, 0, height - 1) * width + clamped(u, 0, width - 1)];
      }
    }
    return nine.sort()[4];
  });
}
