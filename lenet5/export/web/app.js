// The page itself: drawing, opening pictures, and showing what the network answers.

"use strict";

const SHEET = 280; // pixels of the sheet's height
const MODES = { // what is read: the sheet's width and a stroke's, in pixels of the sheet, and the texts
  digit: {
    width: SHEET,
    pen: 20,
    lead: "Draw a digit and watch the network read it, layer by layer.",
    bars: "How likely each class is",
  },
  number: {
    width: 3 * SHEET,
    pen: 16,
    lead: "Draw a number and watch the network read it, place by place.",
    bars: "How sure each digit is",
  },
};
const PICTURES_KEPT = 3; // of those that were opened
const MOST_ENLARGED = 4; // times the sheet's pixels, when something is drawn on a picture
const SLOW = 16; // milliseconds: where reading takes longer, the pen goes first
const SPOKEN_AFTER = 500; // milliseconds without a change: nobody wants to hear each step of a stroke
const STEP = 8; // pixels that an arrow key moves the pen
const MOST_STRIPS = 8; // that are shown
const ENLARGED = 6; // a strip's pixels, at most
const find = (id) => document.getElementById(id);
const sheet = find("sheet"), paint = sheet.getContext("2d", { willReadFrequently: true });

let network; // the one that reads digits, see network.js
const loadedNetworks = new Map();
const drawings = { digit: [], number: [] };
let mode = "digit";
let actions = drawings[mode]; // what was done: {points}, {picture, pixels} or {cleared}, the last one last
let stroke = null; // the one that is being drawn
let pen = { x: SHEET / 2, y: SHEET / 2, isDown: false }; // the keyboard's
let isWaiting = false; // for the next frame
let restUntil = 0; // on the page's clock: no reading in the middle of a stroke before that
let opened = 0; // pictures so far: one that took longer is not to come after a later one
let speaking = null; // the timer of what a screen reader says
const frameTimes = []; // milliseconds of the last frames

// ---------------------------------------------------------------- the sheet

/** The actions since the sheet was last clear, or since a picture took the place of all. */
function visible() {
  const first = actions.findLastIndex(({ cleared, picture }) => cleared || picture);
  return actions.slice(actions[first]?.picture ? first : first + 1);
}

/** Paint actions on a sheet that is `scale` times as large. */
function paintAll(context, shown, scale) {
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.fillStyle = "#fff";
  context.fillRect(0, 0, sheet.width, SHEET);
  context.imageSmoothingQuality = "high";
  context.lineWidth = MODES[mode].pen;
  context.lineCap = context.lineJoin = "round";
  for (const { picture, points } of shown) {
    if (picture) context.drawImage(picture, ...placeOf(picture));
    if (!points) continue;
    context.beginPath();
    points.forEach(([x, y]) => context.lineTo(x, y));
    if (points.length === 1) context.lineTo(...points[0]); // a dot
    context.stroke();
  }
}

/** Where a picture is on the sheet: in its middle, as large as fits. */
function placeOf({ width, height }) {
  const scale = Math.min(sheet.width / width, SHEET / height), w = width * scale, h = height * scale;
  return [(sheet.width - w) / 2, (SHEET - h) / 2, w, h];
}

function repaint() {
  paintAll(paint, visible(), 1);
  refresh();
}

function add(action) {
  liftPens();
  find("message").textContent = "";
  actions.push(action);
  // Large pictures are kept only as long as somebody may want them back.
  const opened = actions.filter(({ picture }) => picture);
  if (opened.length > PICTURES_KEPT) actions.splice(0, actions.indexOf(opened.at(-PICTURES_KEPT)));
  repaint();
}

function undo() {
  if (!actions.length) return;
  liftPens();
  actions.pop();
  repaint();
}

function clear() {
  if (visible().length) add({ cleared: true });
}

/** End the stroke of the pointer or of the keyboard, if there is one. */
function liftPens() {
  stroke = null;
  pen.isDown = false;
  showPen(false);
}

/** Show where the keyboard's pen is. */
function showPen(isShown) {
  const mark = find("pen");
  mark.hidden = !isShown;
  mark.className = pen.isDown ? "down" : "";
  mark.style.left = `${(100 * pen.x) / sheet.width}%`;
  mark.style.top = `${(100 * pen.y) / SHEET}%`;
}

/** The pixels that are read: of the opened picture itself, with what was drawn on it, or of the sheet. */
function pixels() {
  const shown = visible(), opened = shown[0]?.picture;
  if (!opened) return paint.getImageData(0, 0, sheet.width, SHEET);
  if (shown.length === 1) return shown[0].pixels;
  const scale = Math.max(opened.width / sheet.width, opened.height / SHEET, 1);
  const canvas = new OffscreenCanvas(Math.round(sheet.width * scale), Math.round(SHEET * scale));
  const context = canvas.getContext("2d", { willReadFrequently: true });
  paintAll(context, shown, scale);
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

function place(event) {
  const box = sheet.getBoundingClientRect();
  return [((event.clientX - box.left) * sheet.width) / box.width, ((event.clientY - box.top) * SHEET) / box.height];
}

sheet.addEventListener("pointerdown", (event) => {
  if (event.button !== 0) return;
  event.preventDefault();
  sheet.focus({ preventScroll: true, focusVisible: false });
  sheet.setPointerCapture(event.pointerId);
  const begun = { points: [place(event)], pointer: event.pointerId };
  add(begun);
  stroke = begun;
});
sheet.addEventListener("pointermove", (event) => {
  if (stroke?.pointer !== event.pointerId) return;
  const moves = event.getCoalescedEvents?.() ?? [];
  stroke.points.push(...(moves.length ? moves : [event]).map(place));
  repaint(); // all of it: soft edges painted twice would be harder
});
for (const end of ["pointerup", "pointercancel"]) {
  sheet.addEventListener(end, (event) => {
    if (stroke?.pointer !== event.pointerId) return;
    stroke = null;
    refresh();
  });
}

sheet.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey) return; // the browser's own
  const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  if (event.key in moves) {
    const [dx, dy] = moves[event.key];
    pen.x = clamped(pen.x + STEP * dx, 0, sheet.width);
    pen.y = clamped(pen.y + STEP * dy, 0, SHEET);
    if (pen.isDown) actions.at(-1).points.push([pen.x, pen.y]);
  } else if (event.key === " ") {
    if (!event.repeat) pen.isDown = !pen.isDown;
    if (pen.isDown && !event.repeat) actions.push({ points: [[pen.x, pen.y]] });
  } else return;
  event.preventDefault();
  showPen(true);
  repaint();
});
document.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && !event.shiftKey && event.key.toLowerCase() === "z") undo();
  else if (["Delete", "Backspace"].includes(event.key) && event.target.tagName !== "SELECT") clear();
  else return;
  event.preventDefault();
});
sheet.addEventListener("focus", () => showPen(sheet.matches(":focus-visible")));
sheet.addEventListener("blur", () => {
  pen.isDown = false;
  showPen(false);
});

// ---------------------------------------------------------------- pictures from outside

async function openPicture(file) {
  const number = ++opened;
  let picture;
  try {
    picture = await createImageBitmap(file, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
    const pixels = pixelsOf(picture, file.type === "image/jpeg");
    if (number === opened) add({ picture: canvasOf(pixels), pixels });
  } catch {
    find("message").textContent = `${file.name || "What was pasted"} is not a picture that this browser can read.`;
  } finally {
    picture?.close();
  }
}

/** A picture to be shown, without what can be seen through, in a few times the sheet's pixels at most. */
function canvasOf({ width, height, data }) {
  const whole = new OffscreenCanvas(width, height);
  whole.getContext("2d").putImageData(imageOf(upright({ width, height, data })), 0, 0);
  const scale = Math.min(1, (MOST_ENLARGED * sheet.width) / width, (MOST_ENLARGED * SHEET) / height);
  const canvas = new OffscreenCanvas(Math.ceil(width * scale), Math.ceil(height * scale));
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(whole, 0, 0, canvas.width, canvas.height);
  return canvas;
}

/** The pixels of a picture, reduced by a whole number if it is very large; see preprocess.py. */
function pixelsOf(picture, isJpeg) {
  const { width, height } = picture;
  let factor = Math.max(1, Math.ceil(Math.sqrt((width * height) / MOST_PIXELS)));
  // A photograph is looked at in half, a quarter or an eighth of its size while that is enough.
  const spare = Math.floor(Math.min(width, height) / DRAFT_SIDE);
  if (isJpeg) factor = Math.max(factor, [8, 4, 2, 1].find((size) => size <= Math.max(spare, 1)));
  const result = new ImageData(Math.ceil(width / factor), Math.ceil(height / factor));
  const side = 512 * factor; // of a tile, since a canvas may not be as large as the picture
  for (let top = 0; top < height; top += side) {
    for (let left = 0; left < width; left += side) {
      const w = Math.min(side, width - left), h = Math.min(side, height - top);
      const context = new OffscreenCanvas(w, h).getContext("2d", { willReadFrequently: true });
      context.drawImage(picture, -left, -top);
      const tile = averagedPixels(context.getImageData(0, 0, w, h), factor);
      const row = 4 * tile.width, start = 4 * ((top / factor) * result.width + left / factor);
      for (let y = 0; y < tile.height; y++) {
        result.data.set(tile.data.subarray(y * row, (y + 1) * row), start + 4 * y * result.width);
      }
    }
  }
  return result;
}

function averagedPixels(tile, factor) {
  if (factor === 1) return tile;
  const channels = [0, 1, 2, 3].map((c) => averaged(channel(tile, c), factor));
  const { width, height } = channels[0], data = new Uint8ClampedArray(4 * width * height);
  channels.forEach(({ values }, c) => values.forEach((value, i) => { data[4 * i + c] = value; }));
  return { width, height, data };
}

/** The first picture among what was dropped or pasted. */
function openFirst(files) {
  const file = [...files].find(({ type }) => type.startsWith("image/")) ?? files[0];
  if (file) openPicture(file);
}

find("open").addEventListener("click", () => find("file").click());
find("file").addEventListener("change", (event) => {
  openFirst(event.target.files);
  event.target.value = ""; // so that the same file can be opened again
});
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  openFirst(event.dataTransfer.files);
});
document.addEventListener("paste", (event) => openFirst(event.clipboardData.files));
find("save").addEventListener("click", async () => {
  if (!visible().length) return;
  const { width, height, data } = pixels(); // what is read, so that Python reads the same
  const canvas = new OffscreenCanvas(width, height), link = document.createElement("a");
  canvas.getContext("2d").putImageData(new ImageData(data, width, height), 0, 0);
  link.href = URL.createObjectURL(await canvas.convertToBlob());
  link.download = `${mode}.png`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
});
find("undo").addEventListener("click", undo);
find("clear").addEventListener("click", clear);

// ---------------------------------------------------------------- what the network answers

/** Read the sheet before the next frame is shown, once, however often it was drawn on. */
function refresh() {
  if (isWaiting) return;
  isWaiting = true;
  requestAnimationFrame(() => {
    isWaiting = false;
    if (stroke && performance.now() < restUntil) refresh();
    else readSheet();
  });
}

function readSheet() {
  const started = performance.now();
  if (mode === "number") readNumbers();
  else readDigit();
  const time = performance.now() - started;
  restUntil = time > SLOW ? started + 2 * time : 0;
  frameTimes.push(time);
  if (frameTimes.length > 1000) frameTimes.shift();
  find("time").textContent = `Read in ${time.toFixed(1)} ms.`;
  // Not `disabled`, which would take the keyboard's focus away from a button just used.
  find("undo").setAttribute("aria-disabled", !actions.length);
  for (const id of ["clear", "save"]) find(id).setAttribute("aria-disabled", !visible().length);
}

function readDigit() {
  const found = lookAt(pixels()), answer = read(network, found.digit);
  showSeen(found);
  show(answer, doubt(network, found.digit, answer));
}

const percent = (share) => `${(100 * share).toFixed(share > 0.9995 || share < 0.0005 ? 2 : 1)}\u00a0%`;

/** Say the verdict in a sentence, to those who hear the page once nothing changes any more. */
function say(verdict) {
  find("verdict").textContent = verdict;
  clearTimeout(speaking);
  speaking = setTimeout(() => { if (!stroke) find("spoken").textContent = verdict; }, SPOKEN_AFTER);
}

/** A row with a bar, of a class or of a digit. */
function barRow(name) {
  const row = element("li"), track = element("span", "track");
  track.append(element("span", "bar"));
  row.append(element("span", "", name), track, element("span", "share"));
  return row;
}

function setBar(row, share, className) {
  row.querySelector(".bar").style.transform = `scaleX(${share})`;
  row.querySelector(".share").textContent = percent(share);
  row.className = className;
}

/** A picture of one or three colours for a canvas. */
function imageOf(colours) {
  const { width, height, values } = colours[0], image = new ImageData(width, height);
  const [red, green, blue] = [0, 1, 2].map((c) => (colours[c] ?? colours[0]).values);
  values.forEach((_, i) => image.data.set([red[i], green[i], blue[i], 255], 4 * i));
  return image;
}

/** Show where the finder looked, the ink that it found there, and the digit. */
function showSeen({ view: { colours }, ink, digit }) {
  const { width, height } = colours[0], looked = Object.assign(find("looked"), { width, height });
  looked.getContext("2d").putImageData(imageOf(colours), 0, 0);
  paintOn(find("ink"), ink, 255);
  paintOn(find("seen"), picture(SIDE, SIDE, digit), 255);
}

function show(answer, reason) {
  const order = answer.probabilities.map((_, i) => i).sort((i, j) => answer.probabilities[j] - answer.probabilities[i]);
  const [first, second] = order.map((i) => network.classes[i]);
  find("digit").textContent = { blank: "", null: first }[reason] ?? "?";
  find("digit").className = reason === null && first.length > 1 ? "name" : "";
  say({
    blank: NOTHING,
    "not a digit": `Unsure: hardly ${aName(first)}.`,
    unsure: `Unsure: ${first} or ${second}?`,
    null: `${aName(first)}, ${percent(answer.probabilities[order[0]])} sure.`,
  }[reason]);
  [...find("bars").children].forEach((row, i) => {
    const share = reason === "blank" ? 0 : answer.probabilities[i];
    setBar(row, share, reason === null && i === order[0] ? "best" : "");
  });
  for (const { name, canvas, columns } of shownLayers) paintMaps(canvas, shaped(answer.layers[name]), columns);
  showOutputs(answer.layers.output.values);
}

const NOTHING = "Nothing is drawn yet.";

/** "a 7" or "an 8": how a class is called in a sentence; a name that is no digit stays as it is. */
const aName = (name) => (/^\d$/.test(name) ? `${name === "8" ? "an" : "a"} ${name}` : name);

// ---------------------------------------------------------------- whole numbers

/** The number on a strip: what is seen along it, the answer and the numbers that come after it. */
function readStrip(net, strip) {
  const shares = sharesOf(net, strip), found = search(shares);
  return { strip, shares, found, ...spelledAt(shares, found[0].digits, found[0].probability) };
}

function readNumbers() {
  const net = loadedOnce(numberNetwork);
  const readings = numbersIn(pixels()).map((strip) => readStrip(net, strip));
  showNumbers(readings, readings.filter(({ digits }) => digits.length));
}

/** Show what was read on each strip; on those of `numbers` there are digits. */
function showNumbers(readings, numbers) {
  const text = numbers.map((reading) => reading.text).join(" ");
  find("digit").textContent = readings.length && !text ? "?" : text;
  find("digit").className = text.length > 5 ? "long" : "";
  say(numberVerdict(readings, numbers, text));
  find("bars").replaceChildren(...numbers.flatMap(({ digits, confidences }) => digits.map((digit, i) => {
    const row = barRow(String(digit)), best = confidences[i] >= numberNetwork.rejectBelow ? "best" : "";
    setBar(row, confidences[i], i === 0 ? `${best} begins` : best);
    return row;
  })));
  find("strips").replaceChildren(...readings.slice(0, MOST_STRIPS).map(stripRow));
}

function numberVerdict(readings, numbers, text) {
  if (!readings.length) return NOTHING;
  if (!numbers.length) return "No number: no digit in the ink.";
  const least = numbers.reduce((a, b) => (b.confidence < a.confidence ? b : a));
  if (least.confidence >= numberNetwork.rejectBelow) return `${text}, ${numbers.length > 1 ? "each at least " : ""}${percent(least.confidence)} sure.`;
  const [first, second] = least.found.map(({ digits }) => digits.join("") || "nothing");
  return `Unsure: ${first} or ${second ?? "nothing"}?`;
}

/** A strip as the network sees it, with its digits above their places and the shares along it below. */
function stripRow({ strip, shares, digits, windows, text }) {
  const row = element("div", "strip"), columns = shares.length;
  row.style.width = `${ENLARGED * STRIDE * columns}px`;
  const percentOf = (part, whole) => `${(100 * part) / whole}%`;
  const said = element("div", "said");
  said.append(...digits.map((digit, i) => {
    const mark = element("span", "", digit);
    mark.style.left = percentOf(windows[i] + 0.5, columns);
    return mark;
  }));
  const what = text || "a strip without digits", seen = pictureOf(`${what}, as the network sees it`);
  const scores = element("div", "scores"), map = pictureOf(`How likely each digit is along ${what}`);
  // A column of the shares is as wide as STRIDE pixels of the strip, its window's middle in it.
  const wide = picture(STRIDE * columns, STRIP_HEIGHT);
  strip.values.forEach((value, i) => {
    wide.values[Math.floor(i / strip.width) * wide.width + 1 + (i % strip.width)] = value;
  });
  paintOn(seen, wide, 255);
  const likely = transposed(picture(BLANK + 1, columns, Float32Array.from(shares.flatMap((row) => [...row]))));
  paintOn(map, likely, 1);
  scores.append(map, ...digits.map((digit, i) => {
    const frame = element("span");
    Object.assign(frame.style, {
      left: percentOf(windows[i], columns), width: percentOf(1, columns),
      top: percentOf(digit, BLANK + 1), height: percentOf(1, BLANK + 1),
    });
    return frame;
  }));
  const names = element("ol", "rows");
  names.append(...[..."0123456789–"].map((name) => element("li", "", name)));
  row.append(said, seen, names, scores);
  return row;
}

// ---------------------------------------------------------------- pictures of the layers

const ABOUT = {
  C1: "A convolution: each map looks for one pattern of 5×5 pixels everywhere.",
  S2: "Subsampling: half the size, so that a small shift matters less.",
  C3: "A convolution of what S2 found: corners, ends, curves.",
  S4: "Subsampling again.",
  C5: "Each sees all of S4.",
  F6: "Each sees all of C5.",
  output: "The largest wins.",
};
const ABOUT_1998 = {
  F6: "Here as 7×12 pixels: they are to draw the digit in print.",
  output: "How far F6's drawing is from that of each digit; the nearest wins.",
};
let shownLayers = []; // {name, canvas, columns}

/** The states of a layer as pictures: single units become the pixels of one. */
function shaped(states) {
  if (states.height > 1 || states.width > 1) return states;
  const units = states.maps;
  const isBitmap = network.arch === "lenet5-1998" && units === 84;
  const width = isBitmap ? 7 : units % 20 === 0 ? 20 : units % 14 === 0 ? 14 : units > 32 ? 32 : units;
  const height = Math.ceil(units / width), values = new Float32Array(width * height);
  values.set(states.values);
  return { maps: 1, height, width, values };
}

/** A row of the page for each layer that the network has. */
function makeLayers() {
  const { layers } = read(network, new Uint8Array(SIDE * SIDE));
  const texts = network.arch === "lenet5-1998" ? { ...ABOUT, ...ABOUT_1998 } : ABOUT;
  const names = network.operations.map(({ name }) => name).filter((name) => name && name !== "output");
  shownLayers = names.map((name) => {
    const { maps, height, width } = layers[name];
    const size = height * width > 1 ? `${maps} maps of ${height}×${width}.` : `${maps} units.`;
    const shape = shaped(layers[name]), columns = Math.min(shape.maps, 8);
    const canvas = makeCanvas(shape, columns, `States of ${name}: ${size}`);
    addRow(name, `${size} ${texts[name] ?? ""}`, canvas);
    return { name, canvas, columns };
  });
  makeOutputs(texts.output);
}

function makeCanvas({ maps, height, width }, columns, label) {
  const canvas = pictureOf(label);
  canvas.width = columns * (width + 1) - 1;
  canvas.height = Math.ceil(maps / columns) * (height + 1) - 1;
  // As large as fits into the column, in whole screen pixels for each of the canvas's.
  canvas.style.width = `${canvas.width * clamped(Math.floor(600 / canvas.width), 1, 14)}px`;
  return canvas;
}

/** A canvas, and what it shows, for those who hear the page. */
function pictureOf(label) {
  const canvas = element("canvas");
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", label);
  return canvas;
}

function addRow(name, text, ...contents) {
  const row = element("div", "layer"), about = element("p"), states = element("div");
  about.append(element("strong", "", name), text);
  states.append(...contents);
  row.append(about, states);
  find("maps").append(row);
}

function element(kind, className = "", text = "") {
  const made = document.createElement(kind);
  made.className = className;
  made.textContent = text;
  return made;
}

/** The row of the outputs: each class with its number, of 1998's network with its bitmap. */
function makeOutputs(text) {
  const { kind, weight } = network.operations.at(-1), list = element("ol", "outputs");
  network.classes.forEach((name, i) => {
    const item = element("li");
    if (kind === "rbf") {
      const bitmap = { maps: 1, height: 12, width: 7, values: weight.subarray(84 * i, 84 * (i + 1)) };
      const canvas = makeCanvas(bitmap, 1, `What F6 is to draw for ${name}`);
      canvas.style.width = "28px";
      paintMaps(canvas, bitmap, 1);
      item.append(canvas);
    }
    item.append(element("span", "", name), element("span", "number"));
    list.append(item);
  });
  addRow("Output", text, list);
}

function showOutputs(outputs) {
  const largest = largestOf(outputs), isRbf = network.operations.at(-1).kind === "rbf";
  document.querySelectorAll(".outputs li").forEach((item, i) => {
    item.querySelector(".number").textContent = Math.abs(outputs[i]) < 0.05 ? "0.0"
      : (isRbf ? -outputs[i] : outputs[i]).toFixed(1).replace("-", "−");
    item.classList.toggle("best", outputs[i] === largest);
  });
}

// Orange and blue, which colour-blind people can tell apart; white is the strongest. Of a
// state's share of the largest, from -1 to 1, as the four bytes of a pixel.
const COLOURS = Uint32Array.from({ length: 511 }, (_, i) => {
  const share = (i - 255) / 255;
  const colour = share >= 0 ? [400 * share, 300 * share, 255 * share ** 3] : [0, -150 * share, -255 * share];
  return new Uint32Array(Uint8ClampedArray.of(...colour, 255).buffer)[0];
});

/** Paint a single picture on a canvas of its size. */
function paintOn(canvas, { width, height, values }, most) {
  Object.assign(canvas, { width, height });
  paintMaps(canvas, { maps: 1, height, width, values }, 1, most);
}

/** Paint maps side by side, each state from blue (negative) over black to bright (positive). */
function paintMaps(canvas, { maps, height, width, values }, columns, most = null) {
  const context = canvas.getContext("2d"), image = context.createImageData(canvas.width, canvas.height);
  const pixels = new Uint32Array(image.data.buffer), steps = COLOURS.length >> 1;
  most ??= Math.max(largestOf(values), -smallestOf(values), 1e-6);
  for (let m = 0, i = 0; m < maps; m++) {
    const left = (m % columns) * (width + 1), top = Math.floor(m / columns) * (height + 1);
    for (let y = 0; y < height; y++) {
      const row = (top + y) * canvas.width + left;
      for (let x = 0; x < width; x++) pixels[row + x] = COLOURS[steps + Math.round((steps * values[i++]) / most)];
    }
  }
  context.putImageData(image, 0, 0);
}

// ---------------------------------------------------------------- networks, light and dark

const digitNetworks = NETWORKS.filter(({ kind }) => kind !== "numbers");
const numberNetwork = NETWORKS.find(({ kind }) => kind === "numbers");

function loadedOnce(description) {
  if (!loadedNetworks.has(description)) loadedNetworks.set(description, loaded(description));
  return loadedNetworks.get(description);
}

function choose(index) {
  network = loadedOnce(digitNetworks[index]);
  find("maps").replaceChildren();
  find("bars").replaceChildren(...network.classes.map(barRow));
  makeLayers();
  const accuracy = network.testAccuracy === null ? "" : `, right in ${(100 * network.testAccuracy).toFixed(2)} % of its test images`;
  find("about").textContent = `${network.name} (${network.arch})${accuracy}.`;
  repaint();
}

digitNetworks.forEach(({ name }, i) => find("network").add(new Option(name, i)));
find("network").addEventListener("change", (event) => choose(Number(event.target.value)));

/** Read one digit or a whole number from now on; each has its drawing. */
function setMode(wanted) {
  liftPens();
  mode = wanted;
  actions = drawings[mode];
  const { width, lead, bars } = MODES[mode], isNumber = mode === "number";
  sheet.width = width; // which clears it
  pen = { x: width / 2, y: SHEET / 2, isDown: false };
  document.documentElement.dataset.mode = mode;
  find("lead").textContent = `${lead} Nothing leaves this page.`;
  find("drawing-title").textContent = `Your ${mode}`;
  find("bars").setAttribute("aria-label", bars);
  for (const id of ["choice", "steps", "layers"]) find(id).hidden = isNumber;
  find("along").hidden = !isNumber;
  find("message").textContent = "";
  if (isNumber) repaint();
  else choose(Number(find("network").value));
}

find("modes").hidden = !numberNetwork;
find("modes").addEventListener("change", (event) => setMode(event.target.value));
if (numberNetwork) {
  const { name, arch } = numberNetwork;
  find("about-numbers").textContent = `${name} (${arch}), run over the whole strip: C5 is a convolution.`;
}

const prefersDark = matchMedia("(prefers-color-scheme: dark)");

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  // Dark ink on white paper is what is read; on a dark page it is shown the other way round.
  document.documentElement.toggleAttribute("data-inverted", theme === "dark");
  find("theme").setAttribute("aria-pressed", theme === "dark");
}

find("theme").addEventListener("click", () => {
  setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
});
prefersDark.addEventListener("change", () => setTheme(prefersDark.matches ? "dark" : "light"));

setTheme(prefersDark.matches ? "dark" : "light");
setMode("digit");
