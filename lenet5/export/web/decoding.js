// From a row of answers to a number: decoding.py of the project, with the names that it has there.
//
// `shares` is the row: for each window the probabilities of the ten digits and of "between".

"use strict";

/** The likeliest numbers, each {digits, probability}, the likeliest first: prefix search. */
function search(shares, beam = BEAM, beside = ADJACENT) {
  // Of each beginning of a number, the probability of all rows so far that spell it: of those
  // that end with "between", and of those that end with its last digit.
  let begun = new Map([["", [1, 0]]]);
  for (const row of shares) {
    const blank = row[BLANK], following = new Map();
    if (blank > CLEAR) {
      begun.forEach(([ended, going], prefix) => following.set(prefix, [(ended + going) * blank, 0]));
      begun = following;
      continue;
    }
    const partsOf = (prefix) => {
      if (!following.has(prefix)) following.set(prefix, [0, 0]);
      return following.get(prefix);
    };
    const tried = [...row.keys()].filter((digit) => digit !== BLANK && row[digit] > FAINT);
    for (const [prefix, [ended, going]] of begun) {
      const last = prefix === "" ? null : Number(prefix.at(-1)), same = partsOf(prefix);
      same[0] += (ended + going) * blank;
      if (last !== null) same[1] += going * row[last];
      for (const digit of tried) {
        const before = digit === last ? ended : ended + beside * going;
        if (before > 0) partsOf(prefix + digit)[1] += before * row[digit];
      }
    }
    begun = new Map([...following].sort(([, a], [, b]) => sumOf(b) - sumOf(a)).slice(0, beam));
  }
  const found = Array.from(begun, ([prefix, parts]) => ({ digits: Array.from(prefix, Number), probability: sumOf(parts) }));
  return found.sort((a, b) => b.probability - a.probability);
}

/** Where a number's digits are said, on the likeliest row that spells it, and how sure each of them is. */
function spelledAt(shares, digits, probability) {
  const windows = digits.length ? align(shares, digits) : [];
  // A digit is said by the windows around its own, up to halfway to its neighbours.
  const halves = windows.slice(1).map((window, i) => (windows[i] + window + 1) >> 1);
  const ends = [0, ...halves, shares.length];
  const confidences = digits.map((digit, i) => {
    let unsaid = 1;
    const last = Math.min(ends[i + 1], windows[i] + 3);
    for (let t = Math.max(ends[i], windows[i] - 2); t < last; t++) unsaid *= 1 - shares[t][digit];
    return 1 - unsaid;
  });
  return { digits, windows, confidences, confidence: probability, text: digits.join("") };
}

/** For each digit the window that is surest of it, on the likeliest row that spells them all: Viterbi. */
function align(shares, digits) {
  const states = [BLANK, ...digits.flatMap((digit) => [digit, BLANK])];
  const log = (t, state) => Math.log(Math.max(shares[t][states[state]], 1e-30));
  // Ways to a state: from itself, from the one before, or over "between" from another digit.
  const maySkip = states.map((digit, i) => i > 2 && i % 2 === 1 && digit !== states[i - 2]);
  let score = states.map((_, state) => (state < 2 ? log(0, state) : -Infinity));
  const came = [states.map(() => 0)];
  for (let t = 1; t < shares.length; t++) {
    const steps = states.map((_, i) => {
      const ways = [score[i], i > 0 ? score[i - 1] : -Infinity, maySkip[i] ? score[i - 2] : -Infinity];
      return ways.indexOf(Math.max(...ways));
    });
    score = steps.map((step, i) => score[i - step] + log(t, i));
    came.push(steps);
  }
  let state = score.at(-1) >= score.at(-2) ? states.length - 1 : states.length - 2;
  const windows = digits.map(() => -1);
  for (let t = shares.length - 1; t >= 0; t--) {
    const i = state >> 1;
    // Of windows that are as sure, the last.
    if (state % 2 && (windows[i] < 0 || shares[t][digits[i]] > shares[windows[i]][digits[i]])) windows[i] = t;
    state -= came[t][state];
  }
  return windows;
}
