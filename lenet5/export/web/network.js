// The networks: operations.py of the project, one by one; over whole strips as in space_displacement.py.
//
// A network is a list of operations; the states of a layer are {maps, height, width, values},
// map by map, row by row. Weights are fixed: here nothing learns.

"use strict";

/** The numbers of a packed tensor: a text of whole numbers, signed, `bits` each, times a step. */
function unpacked({ text, step, bits }) {
  const bytes = atob(text), numbers = new Float32Array(Math.floor((8 * bytes.length) / bits));
  for (let i = 0, byte = 0, held = 0, known = 0; i < numbers.length; i++, known -= bits) {
    for (; known < bits; known += 8) held = (held << 8) | bytes.charCodeAt(byte++);
    // To the left end of 32 bits and back, which brings the sign along.
    numbers[i] = step * ((held << (32 - known)) >> (32 - bits));
  }
  return numbers;
}

/** What the page knows of a network, with its numbers unpacked. */
function loaded(network) {
  const operations = network.operations.map(({ weight, bias, ...operation }) => ({
    ...operation,
    weight: weight && unpacked(weight),
    weightShape: weight?.shape,
    bias: bias && unpacked(bias),
  }));
  return { ...network, operations };
}

/** The states of one operation. */
function applied({ kind, amount, weight, weightShape, bias }, { maps, height, width, values }) {
  const states = (m, h, w, numbers = new Float32Array(m * h * w)) => ({ maps: m, height: h, width: w, values: numbers });
  const each = (rule) => states(maps, height, width, values.map(rule));
  const pixels = height * width;
  switch (kind) {
    case "crop":
      return croppedMaps({ maps, height, width, values }, amount);
    case "convolution":
      return convolved({ maps, height, width, values }, weight, weightShape, bias, amount);
    case "max_pool":
    case "avg_pool":
      return subsampled({ maps, height, width, values }, kind);
    case "global_avg_pool": {
      const result = states(maps, 1, 1);
      for (let m = 0; m < maps; m++) result.values[m] = sumOf(values.subarray(m * pixels, (m + 1) * pixels)) / pixels;
      return result;
    }
    case "scale":
      return each((x, i) => x * weight[Math.floor(i / pixels)] + bias[Math.floor(i / pixels)]);
    case "relu":
      return each((x) => Math.max(x, 0));
    case "tanh":
      return each(Math.tanh);
    case "scaled_tanh":
      return each((x) => AMPLITUDE * Math.tanh(STEEPNESS * x));
    case "linear":
      // Of single units at each place of a wide picture: a convolution of 1×1.
      if (pixels > 1 && weightShape[1] === maps) {
        return convolved({ maps, height, width, values }, weight, [weightShape[0], maps, 1], bias, 0);
      }
    // falls through
    case "rbf": {
      const [units, inputs] = weightShape, result = states(units, 1, 1);
      for (let unit = 0; unit < units; unit++) {
        let sum = kind === "linear" ? bias[unit] : 0;
        for (let i = 0, j = unit * inputs; i < inputs; i++, j++) {
          sum += kind === "linear" ? weight[j] * values[i] : -((values[i] - weight[j]) ** 2);
        }
        result.values[unit] = sum;
      }
      return result;
    }
    default:
      throw new Error(`no operation is called ${kind}`);
  }
}

function croppedMaps({ maps, height, width, values }, amount) {
  const h = height - 2 * amount, w = width - 2 * amount, result = new Float32Array(maps * h * w);
  for (let m = 0, i = 0; m < maps; m++) {
    for (let y = 0; y < h; y++) {
      for (let x = 0; x < w; x++) result[i++] = values[(m * height + y + amount) * width + x + amount];
    }
  }
  return { maps, height: h, width: w, values: result };
}

/** Each map is the sum of all maps below through kernels of its own, and a bias. */
function convolved(below, weight, [maps, channels, size], bias, padding) {
  const { height, width, values } = paddedMaps(below, padding);
  const h = height - size + 1, w = width - size + 1, result = new Float32Array(maps * h * w);
  // Two maps at a time, along the whole of a map below as if it were one row, by three numbers
  // of a kernel's row at a time: a quarter of the time of number by number.
  const length = (h - 1) * width + w, one = new Float32Array(length), two = new Float32Array(length);
  for (let m = 0; m < maps; m += 2) {
    one.fill(bias[m]);
    two.fill(bias[m + 1]);
    for (let row = 0; row < channels * size; row++) {
      const start = (Math.floor(row / size) * height + (row % size)) * width;
      for (let u = 0; u < size; u += 3) {
        const factor = (map, i) => (map < maps && u + i < size ? weight[(map * channels * size + row) * size + u + i] : 0);
        addRows(one, two, values.subarray(start + u), [0, 1, 2].map((i) => factor(m, i)), [0, 1, 2].map((i) => factor(m + 1, i)));
      }
    }
    for (let y = 0; y < h; y++) {
      result.set(one.subarray(y * width, y * width + w), (m * h + y) * w);
      if (m + 1 < maps) result.set(two.subarray(y * width, y * width + w), ((m + 1) * h + y) * w);
    }
  }
  return { maps, height: h, width: w, values: result };
}

/** Add to two rows the values times three factors for each, of them and of the next two values. */
function addRows(one, two, values, [a, b, c], [d, e, f]) {
  let first = values[0], second = values[1];
  for (let x = 0; x < one.length; x++) {
    const third = values[x + 2];
    one[x] += a * first + b * second + c * third;
    two[x] += d * first + e * second + f * third;
    first = second;
    second = third;
  }
}

/** Maps in a frame of 0, and two numbers more after the last, for `convolved` to look at. */
function paddedMaps({ maps, height, width, values }, padding) {
  const h = height + 2 * padding, w = width + 2 * padding, result = new Float32Array(maps * h * w + 2);
  for (let m = 0; m < maps; m++) {
    for (let y = 0; y < height; y++) {
      const row = values.subarray((m * height + y) * width, (m * height + y + 1) * width);
      result.set(row, (m * h + y + padding) * w + padding);
    }
  }
  return { maps, height: h, width: w, values: result };
}

/** The largest or the mean of each 2×2. */
function subsampled({ maps, height, width, values }, kind) {
  const h = height >> 1, w = width >> 1, result = new Float32Array(maps * h * w);
  for (let m = 0, i = 0; m < maps; m++) {
    for (let y = 0; y < h; y++) {
      for (let x = 0; x < w; x++) {
        const j = (m * height + 2 * y) * width + 2 * x;
        const a = values[j], b = values[j + 1], c = values[j + width], d = values[j + width + 1];
        result[i++] = kind === "avg_pool" ? (a + b + c + d) / 4 : Math.max(a, b, c, d);
      }
    }
  }
  return { maps, height: h, width: w, values: result };
}

/** The network's input of 28×28 pixels: padded, scaled to [0, 1], normalised. */
function toInput(digit, { mean, std }) {
  const side = SIDE + 2 * PADDING, values = new Float32Array(side * side).fill(-mean / std);
  for (let i = 0; i < SIDE * SIDE; i++) {
    values[(PADDING + Math.floor(i / SIDE)) * side + PADDING + (i % SIDE)] = digit[i] / (255 * std) - mean / std;
  }
  return { maps: 1, height: side, width: side, values };
}

/** The states of each layer by its name, "input" first, and the calibrated probabilities. */
function read(network, digit) {
  let states = toInput(digit, network);
  const layers = { input: states };
  for (const operation of network.operations) {
    states = applied(operation, states);
    if (operation.name) layers[operation.name] = states;
  }
  return { layers, ...answerOf(network, states.values) };
}

/** The logarithm of the sum of logits' exponentials. */
function logSum(logits) {
  const largest = largestOf(logits);
  return Math.log(sumOf(logits.map((value) => Math.exp(value - largest)))) + largest;
}

/** Calibrated probabilities of logits, and how far they are from all being alike, in nats. */
function answerOf(network, outputs) {
  const logits = Float64Array.from(outputs, (value) => value / network.temperature);
  const total = logSum(logits);
  const probabilities = Array.from(logits, (value) => Math.exp(value - total));
  const evidence = total - sumOf(logits) / logits.length - Math.log(logits.length);
  return { probabilities, evidence };
}

/** Why an answer is refused, in words for people; null where it stands (as in Python). */
function doubt(network, digit, { probabilities, evidence }) {
  if (!anyOf(digit)) return "blank";
  if (evidence < network.leastEvidence && network.knowsNonDigits) return "not a digit";
  const isSure = Math.max(...probabilities) >= network.rejectBelow && evidence >= network.leastEvidence;
  return isSure ? null : "unsure";
}

// ---------------------------------------------------------------- whole numbers (space_displacement.py)

/** A strip as input, with half a window of paper at either end: the first window's middle is its first pixel. */
function stripInput({ width, height, values }, { mean, std }) {
  const half = WINDOW / 2, wide = half + Math.ceil(width / MULTIPLE) * MULTIPLE + half;
  const result = new Float32Array(wide * height).fill(-mean / std);
  values.forEach((value, i) => {
    result[Math.floor(i / width) * wide + half + (i % width)] = value / (255 * std) - mean / std;
  });
  return { maps: 1, height, width: wide, values: result };
}

/** Logits of each window of a wide input, of which the t-th begins at pixel STRIDE·t: a run for each start. */
function rowOfAnswers(network, input) {
  const row = [];
  for (let start = 0; start < MULTIPLE; start += STRIDE) {
    const windows = Math.floor((input.width - WINDOW - start) / MULTIPLE) + 1;
    const { width, height, values } = cropped(input, start, 0, start + MULTIPLE * (windows - 1) + WINDOW, input.height);
    const states = network.operations.reduce((below, operation) => applied(operation, below), { maps: 1, width, height, values });
    for (let n = 0; n < windows; n++) {
      row[(start + MULTIPLE * n) / STRIDE] = Float64Array.from({ length: states.maps }, (_, c) => states.values[c * windows + n]);
    }
  }
  return row;
}

/** The probabilities of the classes in each window of a strip. */
function sharesOf(network, strip) {
  const row = rowOfAnswers(network, stripInput(strip, network)).slice(0, Math.floor(strip.width / STRIDE) + 1);
  return row.map((answer) => {
    const logits = answer.map((value) => value / network.temperature), total = logSum(logits);
    return logits.map((value) => Math.exp(value - total));
  });
}
