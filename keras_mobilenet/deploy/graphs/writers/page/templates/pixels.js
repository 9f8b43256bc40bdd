// From an image to the pixels that a model takes, to the bit as Pillow does it: cropped about the
// centre, resized by interpolation over all the pixels that one stands for.
const PRECISION = 22; // bits of a weight behind the point, as in Pillow
const HALF = 2 ** (PRECISION - 1);
const FILTERS = { // how far each reaches, and what a pixel counts at a distance
  bilinear: { reach: 1, share: (x) => Math.max(0, 1 - x) },
  bicubic: { reach: 2, share: (x) => x < 1 ? (1.5 * x - 2.5) * x * x + 1
    : x < 2 ? (((x - 5) * x + 8) * x - 4) * -0.5 : 0 },
};
const BAND = 2 ** 21; // pixels of an image that are looked at together: phones have little memory

const PROFILES = ["iCCP", "cICP", "gAMA", "cHRM", "sRGB"]; // the parts of a PNG that say of colours

// Return the parts of an image's file without its colour profile. Models see colours as they are
// stored, and not every browser leaves them so when it is asked to.
export function withoutProfile(bytes) {
  if (bytes[0] === 0xff && bytes[1] === 0xd8) return jpegParts(bytes);
  return text(bytes, 1, 3) === "PNG" ? pngParts(bytes) : [bytes];
}

function jpegParts(bytes) {
  const parts = [bytes.subarray(0, 2)];
  let at = 2;
  while (bytes[at] === 0xff && bytes[at + 1] > 0xbf && bytes[at + 1] !== 0xda) {
    const end = at + 2 + bytes[at + 2] * 256 + bytes[at + 3];
    const profile = bytes[at + 1] === 0xe2 && text(bytes, at + 4, 11) === "ICC_PROFILE";
    if (!profile) parts.push(bytes.subarray(at, end));
    at = end;
  }
  return [...parts, bytes.subarray(at)];
}

function pngParts(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const parts = [bytes.subarray(0, 8)];
  let at = 8;
  while (at + 8 <= bytes.length && text(bytes, at + 4, 4) !== "IDAT") {
    const end = at + 12 + view.getUint32(at);
    if (!PROFILES.includes(text(bytes, at + 4, 4))) parts.push(bytes.subarray(at, end));
    at = end;
  }
  return [...parts, bytes.subarray(at)];
}

function text(bytes, at, length) {
  return String.fromCharCode(...bytes.subarray(at, at + length));
}

// Return the pixels to cut off each end of a side, of which `keep` stays.
export function margin(length, keep) {
  const exact = ((1 - keep) / 2) * length;
  const below = Math.floor(exact);
  const odd = below % 2 === 1;
  const rounded = exact - below === 0.5 ? below + (odd ? 1 : 0) : Math.round(exact); // to even
  return Math.min(rounded, Math.floor((length - 1) / 2));
}

// Return for each of `to` pixels the first of the `from` ones that it is made of, and their weights.
export function weightsOf(from, to, kind = "bilinear") {
  const scale = from / to, filter = FILTERS[kind];
  const step = Math.max(scale, 1), reach = filter.reach * step;
  return Array.from({ length: to }, (_, place) => {
    const center = (place + 0.5) * scale;
    const first = Math.max(0, Math.trunc(center - reach + 0.5));
    const end = Math.min(from, Math.trunc(center + reach + 0.5));
    const shares = [];
    for (let i = first; i < end; i++) {
      shares.push(filter.share(Math.abs((i - center + 0.5) * (1 / step))));
    }
    const sum = shares.reduce((a, b) => a + b, 0);
    const whole = shares.map((share) =>
      Math.trunc((share < 0 ? -0.5 : 0.5) + (share / sum) * 2 ** PRECISION));
    return { first, weights: Int32Array.from(whole) };
  });
}

// Return whether columns are squeezed before rows, as Pillow 13 does where that spares much.
export function tallFirst({ width, height }, size) {
  return height > size[0] && height - size[0] > 2 * (width - size[1]);
}

function level(sum) {
  return Math.max(0, Math.min(255, sum >> PRECISION));
}

// Squeeze the rows of an image, `width` pixels long; of its channels, 3 or 4, 3 are kept.
export function squeezeRows(pixels, channels, width, height, table) {
  const made = new Uint8Array(height * table.length * 3);
  let to = 0;
  for (let y = 0; y < height; y++) {
    for (const { first, weights } of table) {
      let red = HALF, green = HALF, blue = HALF;
      let from = (y * width + first) * channels;
      for (let i = 0; i < weights.length; i++, from += channels) {
        red += pixels[from] * weights[i];
        green += pixels[from + 1] * weights[i];
        blue += pixels[from + 2] * weights[i];
      }
      made[to++] = level(red);
      made[to++] = level(green);
      made[to++] = level(blue);
    }
  }
  return made;
}

// Squeeze the columns of an image whose rows have `length` numbers.
export function squeezeColumns(rows, length, table) {
  const made = new Uint8Array(table.length * length);
  table.forEach(({ first, weights }, y) => {
    for (let x = 0; x < length; x++) {
      let sum = HALF;
      for (let i = 0; i < weights.length; i++) sum += rows[(first + i) * length + x] * weights[i];
      made[y * length + x] = level(sum);
    }
  });
  return made;
}

// Return a part of an image as RGB, resized to [height, width]; `read(y, count)` gives rows of the
// part as RGBA, `most` pixels at once.
export function resizedBands(read, part, size, most = BAND, kind = "bilinear") {
  const [height, width] = size;
  const columns = weightsOf(part.height, height, kind);
  const table = weightsOf(part.width, width, kind);
  const tall = tallFirst(part, size);
  const rows = new Uint8Array(part.height * (tall ? part.width : width) * 3);
  const count = Math.max(1, Math.floor(most / part.width));
  const whole = weightsOf(part.width, part.width); // leaves pixels as they are
  for (let y = 0; y < part.height; y += count) {
    const band = Math.min(count, part.height - y);
    const made = squeezeRows(read(y, band), 4, part.width, band, tall ? whole : table);
    rows.set(made, y * (tall ? part.width : width) * 3);
  }
  if (!tall) return squeezeColumns(rows, width * 3, columns);
  return squeezeRows(squeezeColumns(rows, part.width * 3, columns), 3, part.width, height, table);
}

// Return the part of an image that a model sees; `aspect` is a size whose aspect it has, or null.
export function seenPart({ left, top, width, height }, keep, aspect = null) {
  let wide = keep, tall = keep;
  if (aspect) {
    const times = Math.min(height / aspect[0], width / aspect[1]);
    tall = keep * times * aspect[0] / height;
    wide = keep * times * aspect[1] / width;
  }
  const x = margin(width, wide), y = margin(height, tall);
  return { left: left + x, top: top + y, width: width - 2 * x, height: height - 2 * y };
}

// Return an image's part as RGB, resized; what is transparent is laid over white.
function resized(image, part, size, kind) {
  const canvas = document.createElement("canvas");
  canvas.width = part.width;
  canvas.height = Math.min(part.height, Math.max(1, Math.floor(BAND / part.width)));
  const pen = canvas.getContext("2d", { willReadFrequently: true, alpha: false });
  pen.imageSmoothingEnabled = false;
  const read = (y, rows) => {
    pen.fillStyle = "white";
    pen.fillRect(0, 0, part.width, rows);
    pen.drawImage(image, part.left, part.top + y, part.width, rows, 0, 0, part.width, rows);
    return pen.getImageData(0, 0, part.width, rows).data;
  };
  return resizedBands(read, part, size, BAND, kind);
}

// Return RGB pixels as the model takes them: scaled channel by channel, or grey. Each step rounds to
// float32, as in Python: to the codes of an int8 model many pixels lie half way between two.
export function scaledPixels(rgb, { std, offset, channels, dtype }) {
  const pixels = channels === 3 ? rgb : grey(rgb);
  if (dtype === "uint8") return pixels;
  const [stds, offsets] = [std, offset].map((numbers) => Float32Array.from(numbers));
  return Float32Array.from(pixels, (pixel, i) =>
    Math.fround(pixel / stds[i % channels]) + offsets[i % channels]);
}

function grey(rgb) {
  return Uint8Array.from({ length: rgb.length / 3 }, (_, i) =>
    Math.round(0.299 * rgb[3 * i] + 0.587 * rgb[3 * i + 1] + 0.114 * rgb[3 * i + 2]));
}
