// From image files to answers on the screen. Nothing here makes a request.

const about = JSON.parse(document.getElementById("about").textContent);
const byId = (id) => document.getElementById(id);
const SHOWN = 5; // classes on a card
const LEVEL = 0.05; // images are called unlike anything in training at or below this p-value
const SURE = "0.95"; // coverage of the sets of classes

// A gzipped file that the page holds as text.
async function unpack(id) {
  const text = byId(id).textContent;
  byId(id).remove();
  const binary = atob(text.trim());
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function load() {
  const runtime = globalThis.onnxRuntime;
  runtime.env.wasm.numThreads = 1; // more need a server that sends certain headers
  runtime.env.wasm.wasmBinary = await unpack("wasm");
  const model = await unpack("model");
  return runtime.InferenceSession.create(model, { executionProviders: ["wasm"], logSeverityLevel: 3 });
}

// Decode a file without changing its colours, upright, and prepare it.
async function pixelsOf(source) {
  const bitmap = await createImageBitmap(source, { colorSpaceConversion: "none" });
  const strip = document.createElement("canvas");
  strip.width = bitmap.width;
  const context = strip.getContext("2d", { willReadFrequently: true });
  const rows = (first, count) => {
    strip.height = count; // this clears it
    context.fillStyle = "white"; // below what is transparent
    context.fillRect(0, 0, bitmap.width, count);
    context.drawImage(bitmap, 0, first, bitmap.width, count, 0, 0, bitmap.width, count);
    return { data: context.getImageData(0, 0, bitmap.width, count).data, width: bitmap.width, step: 4 };
  };
  try {
    return { pixels: prepare(bitmap.width, bitmap.height, rows, about.preprocess), thumbnail: thumbnailOf(bitmap) };
  } finally {
    bitmap.close();
  }
}

function thumbnailOf(bitmap) {
  const scale = Math.min(1, 320 / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas;
}

async function classify(pixels) {
  const input = new globalThis.onnxRuntime.Tensor("uint8", pixels, [1, ...about.preprocess.input_size, 3]);
  const found = await (await session).run({ pixels: input });
  return {
    probabilities: Array.from(found.probabilities.data),
    unfamiliar: found.unfamiliar ? found.unfamiliar.data[0] : null,
  };
}

// Classes that together hold the right one in 95 of 100 images, the most probable first.
function setOf(order, probabilities) {
  const sets = about.prediction_sets;
  const thresholds = sets && sets.thresholds[SURE];
  if (!thresholds) return null;
  let before = 0;
  const members = order.filter((k, place) => {
    const score = sets.method === "lac" ? 1 - probabilities[k] : before;
    before += probabilities[k];
    return place === 0 || score <= thresholds[k] + 1e-6;
  });
  return members.map((k) => about.classes[k]);
}

// --- What is shown

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

const percent = (p) => (p > 0.9995 ? ">99.9%" : p < 0.0005 ? "<0.1%" : `${(100 * p).toFixed(1)}%`);

function answer(card, found) {
  const order = found.probabilities.map((_, k) => k).sort((a, b) => found.probabilities[b] - found.probabilities[a]);
  const strange = found.unfamiliar !== null && found.unfamiliar <= LEVEL;
  const best = about.classes[order[0]];
  const body = card.querySelector(".answer");
  body.replaceChildren();
  if (strange) {
    body.append(
      element("p", { className: "strange" }, "Unlike anything in training"),
      element("p", { className: "hint" }, `Only ${found.unfamiliar < 0.01 ? "1" : Math.round(100 * found.unfamiliar)} in 100 images like those it learned from look this different. The classes below may mean nothing.`),
    );
  }
  const list = element("ol", { className: "bars" });
  for (const k of order.slice(0, SHOWN)) {
    const p = found.probabilities[k];
    const bar = element("span", { className: "bar" });
    bar.style.width = `${Math.max(100 * p, 0.5)}%`;
    list.append(
      element("li", {}, element("span", { className: "name" }, about.classes[k]), element("span", { className: "number" }, percent(p)), element("span", { className: "track" }, bar)),
    );
  }
  body.append(list);
  const set = setOf(order, found.probabilities);
  if (set && set.length > 1 && !strange) {
    body.append(element("p", { className: "hint" }, `Not certain: ${set.length > SHOWN ? `${set.length} classes are` : set.join(", ") + " are"} possible.`));
  }
  card.classList.toggle("unlike", strange);
  results.set(card, { name: card.dataset.name, prediction: best, strange, ...found });
  card.dataset.probabilities = JSON.stringify(found.probabilities);
  card.dataset.unfamiliar = found.unfamiliar ?? "";
  card.dataset.prediction = best;
}

function fail(card, reason) {
  card.classList.add("failed");
  card.querySelector(".answer").replaceChildren(element("p", { className: "strange" }, reason));
  results.set(card, { name: card.dataset.name, error: reason });
}

const results = new Map();

function summarise() {
  const all = [...results.values()];
  byId("tools").hidden = all.length === 0;
  const counts = new Map();
  for (const result of all) if (result.prediction) counts.set(result.prediction, (counts.get(result.prediction) ?? 0) + 1);
  const most = [...counts].sort((a, b) => b[1] - a[1]);
  const words = most.slice(0, 4).map(([name, n]) => `${n} ${name}`);
  if (most.length > 4) words.push(`${most.slice(4).reduce((sum, [, n]) => sum + n, 0)} others`);
  const strange = all.filter((result) => result.strange).length;
  const failed = all.filter((result) => result.error).length;
  byId("summary").textContent =
    (all.length > 1 ? `${all.length} images: ${words.join(", ")}` : `1 image: ${words.join("")}`) +
    (strange ? `; ${strange} unlike anything in training` : "") +
    (failed ? `; ${failed} not readable` : "");
  const waiting = document.querySelectorAll(".card").length - all.length;
  byId("waiting").textContent = waiting > 1 ? `${waiting} images to go` : "";
}

// --- One image after the other

let last = Promise.resolve();

// The card of an image that waits for its turn.
function add(source, name) {
  const picture = element("div", { className: "picture" });
  const card = element("li", { className: "card" }, picture, element("div", { className: "text" }, element("h3", {}, name), element("div", { className: "answer" }, element("p", { className: "hint" }, "waiting …"))));
  card.dataset.name = name;
  last = last.then(() => work(card, picture, source));
  return card;
}

// What was added last stands first: a phone shows little more.
function addAll(sources) {
  byId("results").prepend(...sources.map(([source, name]) => add(source, name)));
  summarise();
}

async function work(card, picture, source) {
  await null; // until the card stands in the list
  if (!card.isConnected) return; // cleared meanwhile
  try {
    const { pixels, thumbnail } = await pixelsOf(source).catch(() => {
      throw new Unreadable();
    });
    thumbnail.setAttribute("role", "img");
    thumbnail.setAttribute("aria-label", card.dataset.name);
    picture.append(thumbnail);
    answer(card, await classify(pixels));
  } catch (error) {
    fail(card, error instanceof Unreadable ? "Cannot be read: this browser does not know the format, or the file is damaged. JPEG, PNG and WebP work everywhere." : `Cannot be classified: ${error.message}`);
  }
  summarise();
  await new Promise((done) => setTimeout(done)); // let the screen follow
}

class Unreadable extends Error {}

function addFiles(files) {
  addAll([...files].map((file) => [file, file.name || "pasted image"]));
}

// --- Ways in

byId("choose").addEventListener("click", () => byId("files").click());
for (const id of ["files", "snapshot"]) {
  byId(id).addEventListener("change", (event) => {
    addFiles(event.target.files);
    event.target.value = ""; // the same file may be chosen again
  });
}

for (const kind of ["dragenter", "dragover"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    byId("drop").classList.add("over");
  });
}
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) byId("drop").classList.remove("over");
});
document.addEventListener("drop", async (event) => {
  event.preventDefault();
  byId("drop").classList.remove("over");
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const files = entries.some((entry) => entry.isDirectory) ? (await Promise.all(entries.map(filesBelow))).flat() : [...event.dataTransfer.files];
  if (files.length === 0) say("That was no image file. Save the picture first, or copy and paste it.");
  else addFiles(files);
});

// All image files of a dropped folder.
async function filesBelow(entry) {
  if (entry.isFile) {
    const file = await new Promise((found, failed) => entry.file(found, failed));
    return /^image\//.test(file.type) ? [file] : [];
  }
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((done, failed) => reader.readEntries(done, failed));
    if (some.length === 0) return found;
    for (const child of some) found.push(...(await filesBelow(child)));
  }
}

document.addEventListener("paste", (event) => {
  const files = [...event.clipboardData.files];
  if (files.length === 0) say("There is no image in the clipboard.");
  else addFiles(files);
});

let stream = null;

byId("camera").addEventListener("click", async () => {
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch {
    byId("snapshot").click(); // the device's own camera program, where there is one
    return;
  }
  byId("video").srcObject = stream;
  byId("viewfinder").hidden = false;
  byId("viewfinder").scrollIntoView({ block: "nearest" });
});

byId("shoot").addEventListener("click", async () => {
  const video = byId("video");
  if (!video.videoWidth) return;
  const canvas = element("canvas", { width: video.videoWidth, height: video.videoHeight });
  canvas.getContext("2d").drawImage(video, 0, 0);
  addAll([[canvas, `camera ${new Date().toLocaleTimeString()}`]]);
});

byId("stop").addEventListener("click", () => {
  stream?.getTracks().forEach((track) => track.stop());
  byId("viewfinder").hidden = true;
});

byId("clear").addEventListener("click", () => {
  byId("results").replaceChildren();
  results.clear();
  summarise();
});

byId("save").addEventListener("click", () => {
  const quoted = (text) => `"${String(text).replaceAll('"', '""')}"`;
  const lines = [["file", "prediction", ...about.classes, "unfamiliar", "error"].map(quoted).join(",")];
  for (const result of results.values()) {
    const numbers = result.probabilities?.map((p) => p.toFixed(6)) ?? about.classes.map(() => "");
    const p = result.unfamiliar ?? "";
    lines.push([quoted(result.name), quoted(result.prediction ?? ""), ...numbers, p, quoted(result.error ?? "")].join(","));
  }
  const link = element("a", { href: URL.createObjectURL(new Blob([lines.join("\n") + "\n"], { type: "text/csv" })), download: "predictions.csv" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
});

function say(text) {
  byId("status").textContent = text;
}

// Some browsers change pixels that a page reads, against being recognised; answers would then differ.
function canvasIsExact() {
  const canvas = element("canvas", { width: 32, height: 32 });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const drawn = context.createImageData(32, 32);
  for (let i = 0; i < drawn.data.length; i++) drawn.data[i] = i % 4 === 3 ? 255 : (i * 37) % 256;
  context.putImageData(drawn, 0, 0);
  return context.getImageData(0, 0, 32, 32).data.every((value, i) => value === drawn.data[i]);
}

const began = performance.now();
const session = load();
session.then(
  () => {
    say("");
    document.body.dataset.ready = Math.round(performance.now() - began);
    if (!canvasIsExact()) say("This browser changes pixels that a page reads (a protection against being recognised), so answers may differ from the classifier's own. Allow this page to read images, or use another browser.");
  },
  (error) => say(`This browser cannot run the classifier (${error.message}). Use a current Chrome, Edge, Firefox or Safari.`),
);
