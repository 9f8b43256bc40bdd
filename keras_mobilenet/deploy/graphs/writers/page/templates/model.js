// The runtime and the model: what is fetched, checked, and run. LiteRT.js is loaded from bytes
// whose hashes stand in the page: a file that is not the one that was tested is never started.

async function fetched(url, options = {}) {
  let response;
  try {
    response = await fetch(url, { credentials: "omit", ...options });
  } catch (error) {
    throw new Error(`${url} could not be fetched, or is not the file that it should be. (${error.message})`);
  }
  if (!response.ok) throw new Error(`${url} could not be fetched: ${response.status} ${response.statusText}`);
  return response;
}

async function script(file) {
  const text = await (await fetched(file.url, { integrity: file.integrity })).text();
  return text.replace(/^\/\/# sourceMappingURL=.*$/m, "");
}

function address(text) {
  return URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
}

// A module that uses an instruction of relaxed SIMD.
const RELAXED_SIMD = Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0,
  10, 15, 1, 13, 0, 65, 1, 253, 15, 65, 2, 253, 15, 253, 128, 2, 11);

// Return LiteRT.js, loaded.
async function loadRuntime(files) {
  const fast = WebAssembly.validate(RELAXED_SIMD);
  const [library, helpers, glue, binary] = await Promise.all([
    script(files.library),
    script(files.helpers),
    script(fast ? files.glue : files.compatible_glue),
    fetched((fast ? files.wasm : files.compatible_wasm).url,
      { integrity: (fast ? files.wasm : files.compatible_wasm).integrity }).then((r) => r.arrayBuffer()),
  ]);
  const litert = await import(address(library.replace(files.helpers.imported, address(helpers))));
  const quiet = () => {}; // its notes go to the console as errors
  self.Module = { wasmBinary: binary, print: quiet, printErr: quiet };
  await withoutGpu(() => litert.loadLiteRt(`${address(glue)}#.js`));
  return litert;
}

// Load without WebGPU: it computes in half precision, and asks for a device that nothing uses.
async function withoutGpu(load) {
  const none = { limits: {}, features: new Set(), requestDevice: async () => null };
  Object.defineProperty(navigator, "gpu",
    { value: { requestAdapter: async () => none }, configurable: true });
  try {
    return await load();
  } finally {
    delete navigator.gpu;
  }
}

class Model {
  static async load(runtime, settings) {
    const [litert, file] = await Promise.all([
      loadRuntime(runtime),
      fetched(settings.file).then((response) => response.arrayBuffer()),
    ]);
    const compiled = await litert.loadAndCompile(new Uint8Array(file), { accelerator: "wasm" });
    return new Model(litert, compiled, file, settings);
  }

  constructor(litert, compiled, file, settings) {
    Object.assign(this, { litert, compiled, file, settings });
  }

  // Return the classes' probabilities, and the last features where the file puts them out.
  async run(values) {
    const { size, channels } = this.settings.preprocessing;
    const input = new this.litert.Tensor(values, [1, ...size, channels]);
    const outputs = await this.compiled.run([input]);
    const [scores, features] = outputs.map((output) => output.toTypedArray().slice());
    for (const tensor of [input, ...outputs]) tensor.delete();
    return { scores: this.settings.output === "logits" ? softmax(scores) : scores, features };
  }
}

function softmax(logits) {
  const highest = Math.max(...logits);
  const powers = logits.map((value) => Math.exp(value - highest));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((value) => value / sum);
}
