// Where in an image a model sees a class: the weights behind the pooling, put on the features
// before it. arXiv 1512.04150. Behind a hidden layer it is so to first order at the image.

const RAMP = [[0, 0, 4], [66, 10, 104], [147, 38, 103], [221, 81, 58], [252, 165, 10],
              [252, 255, 164]];
const SLOPES = {
  "": () => 1,
  relu: (z) => (z > 0 ? 1 : 0),
  relu6: (z) => (z > 0 && z < 6 ? 1 : 0),
  hard_swish: (z) => (z > 3 ? 1 : z > -3 ? (2 * z + 3) / 6 : 0),
};

// Return numbers of the model's file, `count` from the `first` one on, as they lie there.
export function stored(file, { offset, type }, first, count) {
  if (type === "float32") return new Float32Array(file, offset + 4 * first, count);
  if (type === "int8") return new Int8Array(file, offset + first, count);
  if (type === "int32") return new Int32Array(file, offset + 4 * first, count);
  return Float32Array.from(new Uint16Array(file, offset + 2 * first, count), wide);
}

// Return a row of numbers as what they stand for: codes times the row's own scale.
function rowOf(file, part, index, count) {
  const codes = stored(file, part, index * count, count);
  if (part.scales === undefined) return codes;
  const [scale] = new Float32Array(file, part.scales + 4 * index, 1);
  return Float32Array.from(codes, (code) => code * scale);
}

function wide(half) {
  const sign = half & 0x8000 ? -1 : 1, power = (half >> 10) & 31, rest = half & 1023;
  if (power === 0) return sign * rest * 2 ** -24;
  return sign * (1024 + rest) * 2 ** (power - 25);
}

// Return how much each feature speaks for a class.
export function featureWeights(file, stages, pooled, index) {
  const last = stages.length - 1;
  const slopes = [];
  let x = pooled;
  for (const { kernel, bias, activation } of stages.slice(0, last)) {
    const z = new Float32Array(kernel.shape[0]);
    for (let o = 0; o < z.length; o++) {
      [z[o]] = rowOf(file, bias, o, 1);
      const row = rowOf(file, kernel, o, x.length);
      for (let i = 0; i < x.length; i++) z[o] += row[i] * x[i];
    }
    slopes.push(z.map(SLOPES[activation]));
    x = z.map((value, o) => value * gain(activation, value));
  }
  let weights = Float32Array.from(rowOf(file, stages[last].kernel, index, x.length));
  for (let stage = last - 1; stage >= 0; stage--) {
    const { kernel } = stages[stage];
    const [outputs, inputs] = kernel.shape;
    const before = new Float32Array(inputs);
    for (let o = 0; o < outputs; o++) {
      const factor = weights[o] * slopes[stage][o];
      if (!factor) continue;
      const row = rowOf(file, kernel, o, inputs);
      for (let i = 0; i < inputs; i++) before[i] += factor * row[i];
    }
    weights = before;
  }
  return weights;
}

// Return what an activation makes of a number, as a share of it.
function gain(activation, z) {
  if (activation === "hard_swish") return Math.min(6, Math.max(0, z + 3)) / 6;
  if (activation === "relu6") return z > 6 ? 6 / z : z > 0 ? 1 : 0;
  return activation === "relu" && z < 0 ? 0 : 1;
}

// Return the map of a class, `height` x `width` numbers, of features with their channels last.
export function classMap(file, stages, features, index) {
  const channels = stages[0].kernel.shape[1], places = features.length / channels;
  const pooled = new Float32Array(channels);
  features.forEach((value, i) => (pooled[i % channels] += value / places));
  const weights = featureWeights(file, stages, pooled, index);
  return Float32Array.from({ length: places }, (_, place) => {
    let sum = 0;
    for (let i = 0; i < channels; i++) sum += weights[i] * features[place * channels + i];
    return sum;
  });
}

// Draw a map over a whole canvas: the lowest number dark, the highest bright.
function drawMap(canvas, map, [height, width]) {
  const low = Math.min(...map), range = Math.max(...map) - low || 1;
  const pen = canvas.getContext("2d");
  const drawn = pen.createImageData(canvas.width, canvas.height);
  const columns = placesOf(canvas.width, width), rows = placesOf(canvas.height, height);
  let to = 0;
  for (const [top, bottom, down] of rows) {
    for (const [left, right, across] of columns) {
      const upper = map[top * width + left] * (1 - across) + map[top * width + right] * across;
      const lower = map[bottom * width + left] * (1 - across) + map[bottom * width + right] * across;
      const share = (upper * (1 - down) + lower * down - low) / range;
      for (const part of colour(share)) drawn.data[to++] = part;
      drawn.data[to++] = 255;
    }
  }
  pen.putImageData(drawn, 0, 0);
}

// Return for each pixel the two places between which it lies, and how near to the second.
function placesOf(pixels, places) {
  return Array.from({ length: pixels }, (_, pixel) => {
    const at = Math.min(places - 1, Math.max(0, ((pixel + 0.5) * places) / pixels - 0.5));
    const first = Math.floor(at);
    return [first, Math.min(places - 1, first + 1), at - first];
  });
}

function colour(share) {
  const at = share * (RAMP.length - 1), first = Math.min(RAMP.length - 2, Math.floor(at));
  return RAMP[first].map((part, i) => part + (RAMP[first + 1][i] - part) * (at - first));
}
