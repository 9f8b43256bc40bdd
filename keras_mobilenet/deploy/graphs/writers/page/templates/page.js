// What the visitor sees and does.

const TOP = 5, SIDE = 720; // classes shown; pixels at most of a side of the image as it is shown
const byId = (id) => document.getElementById(id);
const stage = byId("stage"), shown = byId("image"), heat = byId("map");
// `chosen` is the class whose map the visitor asked for, null for the most probable one.
const state = { latest: 0, answer: null, index: 0, chosen: null, stream: null,
                busy: Promise.resolve() };
let model, labels;

// Say where things stand; an answer is there to see, and is said to those who cannot see it.
function say(text, kind = "") {
  if (byId("status").textContent !== text) byId("status").textContent = text;
  byId("status").className = kind;
}

// Look at an image that is open, `width` x `height`; return what was found, or null if it is late.
async function look(image, width, height, number) {
  const { preprocessing } = model.settings;
  const { size, crop, interpolation } = preprocessing;
  const aspect = preprocessing.keep_aspect ? size : null;
  const part = seenPart(region(image, width, height), crop, aspect);
  const begin = performance.now();
  const values = scaledPixels(resized(image, part, size, interpolation), preprocessing);
  const prepared = performance.now();
  const { scores, features } = await model.run(values);
  const done = performance.now();
  if (number !== state.latest) return;
  draw(image, part);
  state.answer = { scores, features, prepare_ms: prepared - begin, run_ms: done - prepared };
  show(scores);
  document.dispatchEvent(new CustomEvent("recognised", { detail: state.answer }));
}

// Return what of an image counts: all of a file; of the camera the square in its middle.
function region(image, width, height) {
  if (!(image instanceof HTMLVideoElement)) return { left: 0, top: 0, width, height };
  const side = Math.min(width, height);
  const left = Math.floor((width - side) / 2), top = Math.floor((height - side) / 2);
  return { left, top, width: side, height: side };
}

function draw(image, { left, top, width, height }) {
  const scale = Math.min(1, SIDE / Math.max(width, height));
  for (const canvas of [shown, heat]) {
    canvas.width = Math.max(1, Math.round(width * scale));
    canvas.height = Math.max(1, Math.round(height * scale));
  }
  const pen = shown.getContext("2d");
  pen.fillStyle = "white";
  pen.fillRect(0, 0, shown.width, shown.height);
  pen.drawImage(image, left, top, width, height, 0, 0, shown.width, shown.height);
  shown.hidden = false;
  byId("hint").hidden = true;
  stage.classList.add("full");
}

function nameOf(index) {
  return labels?.[index] ?? `class ${index}`;
}

function percent(share) {
  return share > 0 && share < 0.0005 ? "< 0.1 %" : `${(100 * share).toFixed(1)} %`;
}

function show(scores) {
  const order = Array.from(scores.keys()).sort((a, b) => scores[b] - scores[a]).slice(0, TOP);
  state.index = state.chosen ?? order[0];
  while (byId("classes").children.length < order.length) byId("classes").append(row());
  order.forEach((index, i) => fill(byId("classes").children[i].firstChild, index, scores[index]));
  const { prepare_ms, run_ms } = state.answer;
  byId("time").textContent =
    `${run_ms.toFixed(0)} ms to recognise it, ${prepare_ms.toFixed(0)} ms to prepare its pixels.`;
  say(`It is ${nameOf(order[0])}.`, "heard");
  showMap();
}

// Return an empty line of the answer. It is filled anew for each image: under a camera's images a
// button stays where it is, and can be pressed.
function row() {
  const [line, button, name, share, track, bar] =
    ["li", "button", "span", "span", "span", "span"].map((tag) => document.createElement(tag));
  [share.className, track.className, bar.className] = ["share", "track", "bar"];
  track.append(bar);
  button.type = "button";
  button.append(name, share, track);
  button.disabled = !model.settings.heat_map;
  button.onclick = () => {
    state.index = state.chosen = Number(button.dataset.index);
    byId("heat-on").checked = true;
    showMap();
  };
  line.append(button);
  return line;
}

function fill(button, index, score) {
  const [name, share, track] = button.children;
  name.textContent = nameOf(index); // never as HTML: a class may be called anything
  share.textContent = percent(score);
  track.firstChild.style.width = `${100 * Math.min(1, Math.max(0, score))}%`;
  button.dataset.index = index;
}

function showMap() {
  for (const button of byId("classes").querySelectorAll("button")) {
    const pressed = Number(button.dataset.index) === state.index && mapIsOn();
    button.setAttribute("aria-pressed", String(pressed));
  }
  heat.hidden = !mapIsOn();
  byId("explained").hidden = !mapIsOn();
  stage.classList.toggle("heated", mapIsOn());
  if (!mapIsOn()) return;
  const { stages, size } = model.settings.heat_map;
  const map = classMap(model.file, stages, state.answer.features, state.index);
  drawMap(heat, map, size);
  state.answer.map = map;
  byId("explained").textContent =
    `Bright is where it sees “${nameOf(state.index)}”. Choose another class to see where that is.`;
}

function mapIsOn() {
  return Boolean(model.settings.heat_map && byId("heat-on").checked && state.answer);
}

// Colours as they are stored, as the model was trained, and upright as the file says.
async function opened(blob) {
  try {
    const parts = withoutProfile(new Uint8Array(await blob.arrayBuffer()));
    const plain = new Blob(parts, { type: blob.type });
    return await createImageBitmap(plain, { colorSpaceConversion: "none", imageOrientation: "from-image" });
  } catch {
    return null;
  }
}

async function lookAtFile(blob) {
  if (!model || !blob) return;
  stopCamera();
  const number = ++state.latest;
  state.chosen = null;
  say("Looking …");
  state.busy = state.busy.then(async () => {
    if (number !== state.latest) return;
    const image = await opened(blob);
    if (!image) return say(`${blob.name || "This"} is no image that this browser can read.`, "wrong");
    await look(image, image.width, image.height, number);
    image.close();
  }).catch(complain);
  await state.busy;
}

async function startCamera() {
  if (!navigator.mediaDevices) {
    return say("Browsers open the camera only for pages from https:// or from this device " +
               "(http://127.0.0.1). Choose an image instead.", "wrong");
  }
  const wanted = { facingMode: "environment", width: { ideal: 640 }, height: { ideal: 640 } };
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: wanted });
  } catch (error) {
    return say(`The camera did not start: ${error.message}.`, "wrong");
  }
  const video = document.createElement("video");
  Object.assign(video, { srcObject: stream, muted: true, playsInline: true });
  await video.play();
  state.stream = stream;
  byId("camera").textContent = "Stop the camera";
  const number = ++state.latest;
  state.chosen = null;
  state.busy = state.busy.then(() => watch(video, number)).catch(complain);
}

async function watch(video, number) {
  while (number === state.latest && state.stream) {
    await look(video, video.videoWidth, video.videoHeight, number);
    await new Promise(requestAnimationFrame); // the page is drawn, and does not run while hidden
  }
}

function stopCamera() {
  state.stream?.getTracks().forEach((track) => track.stop());
  state.stream = null;
  byId("camera").textContent = "Start the camera";
}

function complain(error) {
  say(error.message, "wrong");
}

function listen() {
  byId("file").onchange = ({ target }) => {
    lookAtFile(target.files[0]);
    target.value = ""; // the same file may be chosen again
  };
  byId("camera").onclick = () => (state.stream ? stopCamera() : startCamera());
  byId("heat-on").onchange = () => state.answer && showMap();
  addEventListener("paste", ({ clipboardData }) => lookAtFile(clipboardData.files[0]));
  addEventListener("dragover", (event) => {
    event.preventDefault();
    stage.classList.add("over");
  });
  addEventListener("dragleave", () => stage.classList.remove("over"));
  addEventListener("drop", (event) => {
    event.preventDefault(); // the browser would leave the page for the image
    stage.classList.remove("over");
    lookAtFile(event.dataTransfer.files[0]);
  });
}

async function start() {
  if (location.protocol === "file:") {
    throw new Error("This page was opened as a file, and browsers let no such page read the files " +
      "beside it. Put the folder on a web server; on this device: python -m http.server " +
      "--directory FOLDER, then open http://127.0.0.1:8000/");
  }
  if (!window.WebAssembly) throw new Error("This browser has no WebAssembly, which the model needs.");
  const runtime = JSON.parse(byId("runtime").textContent);
  const [settings, names] = await Promise.all(["model.json", "labels.json"].map(
    (file) => fetched(file).then((response) => response.json())));
  labels = names;
  model = await Model.load(runtime, settings);
  const { size } = settings.preprocessing;
  const nothing = new Uint8Array(size[0] * size[1] * 3);
  await model.run(scaledPixels(nothing, settings.preprocessing)); // the first time takes longer
  byId("heat").hidden = !settings.heat_map;
  byId("file").disabled = byId("camera").disabled = false;
  say("Ready. Choose an image, drop one on the page, or start the camera.");
}

listen();
start().catch(complain);
