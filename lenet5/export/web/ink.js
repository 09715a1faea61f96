// Where the ink is in a picture of a digit: ink.py of the project, step by step.
//
// The functions have the names that they have there, and its docstrings say why each
// step is taken. `colours` is a list of one or three pictures, 0 to 255.

"use strict";

const NORMAL = 1.4826; // times the median distance from the median is a normal deviation

/** What `Strokes` has in ink.py: {amount, everything, dark, sharpness, cleared, least, edge}. */
function findStrokes(colours, dark = null, within = null) {
  if (colours.length === 3 && mostColour(colours) < GRAY) colours = [colours[1]];
  colours = denoised(colours);
  const [paper, isPlain] = paperAtBorder(colours);
  if (!isPlain) return ofLikelierPolarity(colours, dark, within, 0);
  if (dark === null) dark = isDarker(meanOf(colours), sumOf(paper) / paper.length);
  // More of the same paper around it, so that no stroke is at the edge.
  const margin = Math.floor(Math.max(colours[0].width, colours[0].height) / 6);
  return ofLikelierPolarity(colours.map((colour, i) => widened(colour, margin, paper[i])), dark, within, margin);
}

/** How far apart the three colours of a pixel are at most. */
function mostColour(colours) {
  const [red, green, blue] = colours.map((colour) => colour.values);
  let most = 0;
  for (let i = 0; i < red.length; i++) {
    const spread = Math.max(red[i], green[i], blue[i]) - Math.min(red[i], green[i], blue[i]);
    if (spread > most) most = spread;
  }
  return most;
}

function ofLikelierPolarity(colours, dark, within, margin) {
  if (dark === null) {
    const gray = meanOf(colours);
    const evidence = darkness(mapped(gray, (value) => Math.log(value + 16))) + darkness(gray);
    if (Math.abs(evidence) <= UNDECIDED) {
      // Both ways: what is not the ink has fewer edges than the ink.
      const [ifDark, ifBright] = [true, false].map((way) => strokesOf(colours, way, within, margin));
      return ifBright.sharpness > ifDark.sharpness ? ifBright : ifDark;
    }
    dark = evidence > 0;
  }
  return strokesOf(colours, dark, within, margin);
}

/** The commonest level of the border in each colour, and whether it is that of plain paper. */
function paperAtBorder(colours) {
  const { width, height } = colours[0];
  const rim = Math.max(1, Math.floor(Math.min(width, height) / 28));
  const ring = [];
  for (let y = 0; y < height; y++) {
    const isInside = y >= rim && y < height - rim;
    for (let x = 0; x < width; x++) {
      if (isInside && x === rim && width > 2 * rim) x = width - rim; // over to the right edge
      ring.push(y * width + x);
    }
  }
  const levels = colours.map((colour) => median(Float32Array.from(ring, (i) => colour.values[i])));
  const away = new Float32Array(width * height);
  colours.forEach((colour, c) => {
    for (let i = 0; i < away.length; i++) {
      const distance = Math.abs(colour.values[i] - levels[c]);
      if (distance > away[i]) away[i] = distance;
    }
  });
  const strong = 0.6 * percentile(away, 99.5);
  const ink = above(picture(width, height, away), strong);
  let onPaper = 0, ringOnPaper = 0, ringOnEither = 0;
  for (let i = 0; i < away.length; i++) if (away[i] < ALIKE) onPaper++;
  for (const i of ring) {
    ringOnPaper += away[i] < ALIKE;
    ringOnEither += away[i] < ALIKE || ink.values[i];
  }
  const isPlain = ringOnPaper > 0.5 * ring.length && onPaper > 0.25 * away.length
    && ringOnEither > 0.65 * ring.length
    // What is as wide as that is no ink, but the light beside a shadow.
    && !hasSquare(ink, roundHalfEven(0.35 * Math.max(width, height)));
  return [levels, isPlain];
}

function isDarker(gray, paper) {
  let dark = 0, bright = 0;
  for (let i = 0; i < gray.values.length; i++) {
    const away = gray.values[i] - paper;
    if (away < 0) dark += away * away;
    else bright += away * away;
  }
  return dark > bright;
}

/** The digit's ink where the polarity is known. */
function strokesOf(colours, dark, within, margin) {
  // Bright ink on dark paper becomes dark ink on bright paper.
  if (!dark) colours = colours.map((colour) => mapped(colour, (value) => 255 - value));
  const light = evenLight(meanOf(colours));
  const flat = colours.map((colour) => divided(colour, light));
  // Where there are no shadows, the widest look sees all there is.
  const shares = isEvenlyLit(flat) ? STROKES.slice(-1) : STROKES;
  const looks = shares.map((share) => look(flat, share, within, dark, margin));
  // A wide reach is for wide strokes; where there are none, it only brings in shadows.
  const sharpest = Math.max(...looks.map((found) => found.sharpness));
  return looks.find((found, i) => found.sharpness >= ENOUGH * sharpest
    && !looks.slice(i + 1).some((wider) => isHollow(found, wider))) ?? looks.at(-1);
}

function isEvenlyLit(colours) {
  let paper = 0, either = 0;
  const { values } = meanOf(colours);
  for (let i = 0; i < values.length; i++) {
    const isPaper = Math.abs(values[i] - 1) < 0.03;
    if (isPaper) paper++;
    if (isPaper || values[i] < 0.6) either++;
  }
  return paper > 0.4 * values.length && either > 0.93 * values.length;
}

/** Whether a look for narrow strokes missed what a wider one sees as strong as the ink itself. */
function isHollow(narrow, wide) {
  const ink = narrow.everything.values.filter((_, i) => narrow.amount.values[i] > 0).length;
  if (!ink) return anyOf(wide.amount.values);
  const level = median(wide.everything.values.filter((_, i) => narrow.amount.values[i] > 0));
  const missed = wide.everything.values.filter((value, i) => wide.amount.values[i] > 0
    && value > 0.7 * level && narrow.everything.values[i] < 0.5 * level).length;
  return missed > 0.05 * ink;
}

function meanOf(colours) {
  if (colours.length === 1) return colours[0];
  const [red, green, blue] = colours.map((colour) => colour.values);
  return mapped(colours[0], (_, i) => (red[i] + green[i] + blue[i]) / 3);
}

/** Smoothed as far as its grain asks for, and not at all if it has none. */
function denoised(colours) {
  const gray = meanOf(colours), level = smoothedSamples(gray, 2, SAMPLED);
  const rest = sampled(gray.values, SAMPLED).map((value, i) => Math.abs(value - level[i]));
  const noise = NORMAL * median(rest);
  if (noise < 0.7) return colours;
  const most = 0.012 * Math.max(Math.min(gray.width, gray.height), 100);
  return colours.map((colour) => smoothed(colour, Math.min(most, 0.4 + 0.3 * noise)));
}

// ---------------------------------------------------------------- paper, light and ink

/** Above 0 where what is narrow is darker than what is around it. */
function darkness(gray) {
  const side = Math.min(gray.width, gray.height);
  let sigma = Math.max(1, side / 160), evidence = 0, narrow = smoothed(gray, sigma);
  while (sigma < side / 10) {
    const wide = smoothed(narrow, 1.25 * sigma); // with what was smoothed before, 1.6 sigma
    let squares = 0, cubes = 0;
    for (let i = 0; i < wide.values.length; i++) {
      const detail = narrow.values[i] - wide.values[i];
      squares += detail * detail;
      cubes += detail * detail * detail;
    }
    const count = wide.values.length;
    evidence -= cubes / count / (squares / count + 1e-9) ** 1.5;
    sigma *= 1.6;
    narrow = wide;
  }
  return evidence;
}

/** The brightness of the paper as a parabola of both axes, fitted without ink and shadows. */
function evenLight(gray) {
  const side = 24;
  const values = Float64Array.from(meansOfParts(gray, side).values, (value) => Math.log(value + 1));
  const terms = Array.from(values, (_, i) => {
    const x = (2 * (i % side)) / (side - 1) - 1, y = (2 * Math.floor(i / side)) / (side - 1) - 1;
    return [1, x, y, x * x, x * y, y * y];
  });
  const middle = median(values) - 1e-4; // plain paper has one level, however it was rounded
  let weights = Float64Array.from(values, (value) => (value >= middle ? 1 : 0));
  let fit;
  for (let round = 0; round < 5; round++) {
    fit = fitted(terms, values, weights);
    const rest = Float64Array.from(values, (value, i) => value - dot(terms[i], fit));
    const counted = Float64Array.from(rest.filter((_, i) => weights[i] > 0), Math.abs);
    if (largestOf(counted) < 0.01) break; // as good as it gets
    const limit = 4 * NORMAL * median(counted) + 0.02;
    weights = rest.map((value) => Math.max(1 - (value / limit) ** 2, 0) ** 2); // Tukey's biweight
  }
  const low = smallestOf(values), high = largestOf(values);
  const surface = Float32Array.from(terms, (term) => Math.max(1, Math.exp(clamped(dot(term, fit), low, high))));
  return interpolated(picture(side, side, surface), gray.width, gray.height);
}

function dot(a, b) {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}

/** Least squares of weighted terms, with bends made small: Gauss's elimination. */
function fitted(terms, values, weights) {
  const bends = [0, 1, 1, 4, 4, 4], size = bends.length;
  const rows = bends.map((bend, i) => Float64Array.from({ length: size + 1 }, (_, j) => (i === j ? bend : 0)));
  terms.forEach((term, n) => {
    for (let i = 0; i < size; i++) {
      const weighted = weights[n] * term[i];
      for (let j = 0; j < size; j++) rows[i][j] += weighted * term[j];
      rows[i][size] += weighted * values[n];
    }
  });
  // The matrix is symmetric and positive, so no rows have to change places.
  for (let i = 0; i < size; i++) {
    for (let k = 0; k < size; k++) {
      if (k === i) continue;
      const factor = rows[k][i] / rows[i][i];
      for (let j = i; j <= size; j++) rows[k][j] -= factor * rows[i][j];
    }
  }
  return rows.map((row, i) => row[size] / row[i]);
}

/** What dark ink takes of the light, 0 to 255, and the deviation of that on bare paper. */
function absorbed(colour, width) {
  const { values } = colour, paper = closed(colour, width).values;
  const amount = picture(colour.width, colour.height);
  for (let i = 0; i < values.length; i++) amount.values[i] = 255 * (1 - values[i] / Math.max(paper[i], 1e-3));
  // Closing follows the brightest grains of the paper; most of it is a little darker.
  const sample = sampled(amount.values, SAMPLED), usual = median(sample);
  for (let i = 0; i < values.length; i++) amount.values[i] -= usual;
  return [amount, NORMAL * medianDistance(sample, usual)];
}

/** The amount from which a pixel is ink: that at the steepest edges, halfway from paper to ink. */
function threshold(amount, least, steep = steepness(amount).values) {
  let total = 0, moment = 0;
  for (let i = 0; i < steep.length; i++) {
    total += steep[i];
    moment += steep[i] * amount.values[i];
  }
  return total > 0 ? Math.max(least, (EDGE * moment) / total) : least;
}

// ---------------------------------------------------------------- what is on the paper

/** The digit's ink if its strokes are at most `share` of the shorter side wide. */
function look(colours, share, within, dark, margin) {
  const { width, height } = colours[0], side = Math.min(width, height);
  const reach = 2 * Math.trunc((share * side) / 2) + 1;
  const found = colours.map((colour) => absorbed(colour, reach));
  // The colours in which the ink shows most beside the paper's grain count most.
  const weights = found.map(([amount, spread]) => Math.max(1, percentile(amount.values, 99.7)) / (spread + 3) ** 2);
  const shares = weights.map((weight) => weight / sumOf(weights));
  const mixed = picture(width, height), sums = mixed.values;
  found.forEach(([{ values }], c) => {
    for (let i = 0; i < sums.length; i++) sums[i] += shares[c] * values[i];
  });
  for (let i = 0; i < sums.length; i++) if (sums[i] < 0) sums[i] = 0;
  const everything = cropped(mixed, margin, margin, width - margin, height - margin);
  const least = Math.max(FAINTEST, NOISE * dot(shares, found.map(([, spread]) => spread)));
  // Plain paper, which has a margin here, does not end within the picture, and lines go to its edge.
  const isPlain = margin > 0;
  let amount;
  if (within === null) amount = withoutLines(withoutFrame(everything, least), least, isPlain ? 0.02 : 0.08);
  else amount = masked(everything, within);
  const [digit, sharpness] = ofTheDigit(amount, least, within === null && !isPlain);
  // The soft edge of the strokes belongs to them.
  const edge = Math.max(3, Math.floor(side / 100) * 2 + 1);
  return { amount: masked(amount, dilated(digit, edge)), everything, dark, sharpness, cleared: amount, least, edge };
}

/** All that is written: nothing is chosen among it, but grain is no ink. */
function writing({ cleared, least, edge }) {
  return masked(cleared, dilated(above(cleared, threshold(cleared, least)), edge));
}

/** The amount of ink without what goes along the whole rim of the picture. */
function withoutFrame(amount, least) {
  let without = amount;
  const level = threshold(amount, least);
  // A strong frame first, then what of a faint or broken one was below the threshold.
  for (const from of [level, least]) {
    const found = piecesOf(above(without, from));
    const areFrames = found.pieces.map((piece, i) => i > 0 && isFrame(found.labels, without, i, piece));
    if (!areFrames.some(Boolean)) continue;
    const frame = maskOf(without, (_, i) => areFrames[found.labels[i]]);
    const taken = dilated(frame, 5).values;
    without = mapped(without, (value, i) => (taken[i] ? 0 : value));
  }
  if (without === amount) return amount;
  return ofTheDigit(without, least)[1] > 0 || level < 2 * least ? without : amount;
}

/** Whether a piece is a bar along the rim from end to end, or goes around the picture. */
function isFrame(labels, { width, height }, label, { x, y, w, h, area }) {
  const rimX = RIM * width, rimY = RIM * height;
  const atRim = [x < rimX, x + w > width - rimX, y < rimY, y + h > height - rimY];
  const isLevel = w > 0.9 * width && h < FRAME * height && (atRim[2] || atRim[3]);
  const isUpright = h > 0.9 * height && w < FRAME * width && (atRim[0] || atRim[1]);
  if (isLevel || isUpright) return true;
  if (w < 0.85 * width || h < 0.85 * height || sumOf(atRim) < 3) return false;
  const count = (left, top, right, bottom) => {
    let pixels = 0;
    for (let v = top; v < bottom; v++) {
      for (let u = left; u < right; u++) pixels += labels[v * width + u] === label;
    }
    return pixels;
  };
  const down = Math.max(1, Math.trunc(0.08 * h)), across = Math.max(1, Math.trunc(0.08 * w));
  const right = x + w, bottom = y + h;
  const corners = [
    count(x, y, x + across, y + down), count(right - across, y, right, y + down),
    count(x, bottom - down, x + across, bottom), count(right - across, bottom - down, right, bottom),
  ];
  const middle = count(x + 2 * across, y + 2 * down, right - 2 * across, bottom - 2 * down);
  return corners.filter(Boolean).length >= 3 && middle < 0.1 * area;
}

/** The amount of ink without straight lines that go nearly level or upright through the picture. */
function withoutLines(amount, least, rim) {
  const ink = above(amount, threshold(amount, least));
  const level = levelLines(ink, rim), upright = levelLines(transposed(ink), rim);
  if (!anyOf(level.values) && !anyOf(upright.values)) return amount;
  const columns = transposed(upright).values;
  const lines = maskOf(level, (value, i) => value || columns[i]);
  const near = dilated(lines, 3).values;
  const without = mapped(amount, (value, i) => {
    const isStroke = ink.values[i] && !lines.values[i];
    return near[i] && !isStroke ? 0 : value;
  });
  return ofTheDigit(without, least)[1] > 0 ? without : amount;
}

/** The ink of nearly level lines from rim to rim. */
function levelLines(ink, rim) {
  const { width, height, values } = ink;
  const thin = Math.max(3, roundHalfEven(THIN * Math.min(width, height)));
  const thick = openedInColumns(ink, thin + 2).values;
  const lines = mask(width, height);
  const found = straightLines(
    maskOf(ink, (value, i) => value !== thick[i]),
    Math.trunc(0.35 * width),
    LINE * width,
    0.3 * width, // a digit may stand on the line
  );
  const atRim = (place, side) => place < rim * side || place >= (1 - rim) * side - 1;
  for (const [x1, y1, x2, y2] of found) {
    const isThrough = (atRim(x1, width) || atRim(y1, height)) && (atRim(x2, width) || atRim(y2, height));
    if (!isThrough || Math.abs(y2 - y1) >= 0.3 * Math.abs(x2 - x1)) continue;
    for (let x = 0; x < width; x++) {
      const y = roundHalfEven(y1 + ((y2 - y1) * (x - x1)) / (x2 - x1));
      markCrossing(values, lines.values, x, y, width, height, thin);
    }
  }
  return lines;
}

/** Mark the run of ink at (x, y) or beside it in its column, if it is no longer than `thin`. */
function markCrossing(ink, lines, x, y, width, height, thin) {
  const isInk = (row) => row >= 0 && row < height && ink[row * width + x];
  const start = [y, y - 1, y + 1].find(isInk);
  if (start === undefined) return;
  let top = start, end = start + 1;
  while (isInk(top - 1) && end - top <= thin) top--;
  while (isInk(end) && end - top <= thin) end++;
  if (end - top <= thin) for (let row = top; row < end; row++) lines[row * width + x] = 1;
}

/** A mask of the pieces that make up the digit, and how sharp the edges of the first of them are. */
function ofTheDigit(amount, least, rim = false) {
  const steep = steepness(amount).values, level = threshold(amount, least, steep);
  const { labels, pieces } = piecesOf(above(amount, level));
  const sharp = new Float64Array(pieces.length), edge = new Float64Array(pieces.length);
  for (let i = 0; i < labels.length; i++) {
    if (!labels[i]) continue;
    sharp[labels[i]] += steep[i];
    edge[labels[i]] += Math.sqrt(steep[i]);
  }
  pieces.forEach(({ area }, i) => { if (area <= DUST) sharp[i] = 0; });
  const contrast = sharp.map((value, i) => value / Math.max(edge[i], 1e-6)); // mean steepness
  const strongest = (isOut) => {
    let best = 0;
    const score = (i) => (isOut[i] ? 0 : sharp[i] * contrast[i]);
    for (let i = 1; i < pieces.length; i++) if (score(i) > score(best)) best = i;
    return best;
  };
  let first = strongest([]);
  if (rim) {
    const along = alongRim(labels, pieces, amount.width, amount.height);
    const elsewhere = strongest(along);
    if (along[first] && sharp[elsewhere] > 0 && edge[elsewhere] > 0.1 * edge[first]) first = elsewhere;
    if (!along[first]) along.forEach((isAlong, i) => { if (isAlong) edge[i] = 0; });
  }
  if (sharp[first] === 0) return [mask(amount.width, amount.height), 0];
  const one = pieces[first];
  const chosen = pieces.map(({ x, y, w, h, area }, i) => {
    const gap = Math.max(x - (one.x + one.w), one.x - (x + w), y - (one.y + one.h), one.y - (y + h));
    const share = gap < 0.25 * Math.max(one.w, one.h) ? 0.06 : 0.4;
    return i > 0 && edge[i] > share * edge[first] && area > 0.02 * one.area
      && contrast[i] > AS_SHARP * contrast[first];
  });
  const digit = mask(amount.width, amount.height);
  for (let i = 0; i < labels.length; i++) if (chosen[labels[i]]) digit.values[i] = 1;
  return [digit, sharp[first]];
}

/** Which pieces are long, thin, nearly all beside the picture's edge, as that of a sheet is. */
function alongRim(labels, pieces, width, height) {
  const down = roundHalfEven(BESIDE * height), across = roundHalfEven(BESIDE * width);
  const within = new Int32Array(pieces.length);
  for (let y = down; y < height - down; y++) {
    for (let x = across; x < width - across; x++) within[labels[y * width + x]]++;
  }
  return pieces.map(({ w, h, area }, i) => i > 0 && within[i] < 0.15 * area
    && Math.max(w / width, h / height) > 0.4 && area < 0.06 * Math.min(width, height) * (w + h));
}
