// The network that finds a digit's ink: networks/finder.py, its normalisation folded into its kernels.

"use strict";

let kernels = null; // its convolutions, once they are wanted

/** Two masks of 0 to 1 for a picture's colours of 0 to 255: the digit's ink, and all writing. */
function finder(colours) {
  kernels ??= loaded(FINDER).operations;
  let next = 0;
  const block = (states) => applied({ kind: "relu" }, applied(kernels[next++], states));
  let states = block(unshuffled(normalised(colours)));
  const levels = WIDTHS.map((_, level) => {
    states = block(block(level ? applied({ kind: "max_pool" }, states) : states));
    return states;
  });
  states = withMean(states);
  for (const skip of levels.slice(0, -1).reverse()) states = block(joined(skip, doubled(states)));
  return shuffled(applied(kernels[next], states));
}

/** Three maps with mean 0 and deviation 1 together; a gray picture is three times the same. */
function normalised(colours) {
  const { width, height } = colours[0], pixels = width * height, values = new Float32Array(3 * pixels);
  for (let c = 0; c < 3; c++) values.set(colours[c % colours.length].values, c * pixels);
  const mean = sumOf(values) / values.length;
  let squares = 0;
  for (let i = 0; i < values.length; i++) squares += (values[i] - mean) ** 2;
  const deviation = Math.sqrt(squares / values.length) + 255 * LEAST_DEVIATION;
  return { maps: 3, height, width, values: values.map((value) => (value - mean) / deviation) };
}

/** Each 2×2 pixels of a map as one place of four maps. */
function unshuffled({ maps, height, width, values }) {
  const h = height / 2, w = width / 2, result = new Float32Array(values.length);
  for (let m = 0, i = 0; m < 4 * maps; m++) {
    for (let y = 0; y < h; y++) {
      const start = ((m >> 2) * height + 2 * y + ((m >> 1) & 1)) * width + (m & 1);
      for (let x = 0; x < w; x++) result[i++] = values[start + 2 * x];
    }
  }
  return { maps: 4 * maps, height: h, width: w, values: result };
}

/** Each place of four maps as 2×2 pixels of a mask, each from 0 to 1. */
function shuffled({ maps, height, width, values }) {
  return Array.from({ length: maps / 4 }, (_, n) => {
    const result = picture(2 * width, 2 * height);
    for (let part = 0, i = 4 * n * height * width; part < 4; part++) {
      for (let y = 0; y < height; y++) {
        const start = 2 * (2 * y + (part >> 1)) * width + (part & 1);
        for (let x = 0; x < width; x++) result.values[start + 2 * x] = 1 / (1 + Math.exp(-values[i++]));
      }
    }
    return result;
  });
}

/** Maps with the mean of each added to it. */
function withMean(states) {
  const means = applied({ kind: "global_avg_pool" }, states).values, pixels = states.height * states.width;
  return { ...states, values: states.values.map((value, i) => value + means[Math.floor(i / pixels)]) };
}

/** Maps of twice the size, each place as 2×2. */
function doubled({ maps, height, width, values }) {
  const result = new Float32Array(4 * values.length);
  for (let row = 0, i = 0; row < 2 * maps * height; row++) {
    const start = (row >> 1) * width;
    for (let x = 0; x < 2 * width; x++) result[i++] = values[start + (x >> 1)];
  }
  return { maps, height: 2 * height, width: 2 * width, values: result };
}

/** The maps of both. */
function joined(first, second) {
  const values = new Float32Array(first.values.length + second.values.length);
  values.set(first.values);
  values.set(second.values, first.values.length);
  return { ...first, maps: first.maps + second.maps, values };
}
