// Resizing and cropping as Pillow and timm do it: a browser's own resizing gives other pixels.
//
// As in Pillow, a pixel is a weighted sum of those that the filter reaches, first along rows, then along columns;
// the weights are whole numbers of 22 bits, and what lies between the two passes is rounded to 8 bits.

const BITS = 22;

// Of each filter: how far it reaches, and its weight at a distance.
const FILTERS = {
  box: [0.5, (x) => (x > -0.5 && x <= 0.5 ? 1 : 0)],
  bilinear: [1, (x) => Math.max(0, 1 - Math.abs(x))],
  hamming: [1, (x) => (x === 0 ? 1 : Math.abs(x) >= 1 ? 0 : sinc(x) * (0.54 + 0.46 * Math.cos(Math.PI * x)))],
  bicubic: [2, (x) => cubic(Math.abs(x))],
  lanczos: [3, (x) => (Math.abs(x) < 3 ? sinc(x) * sinc(x / 3) : 0)],
};

function sinc(x) {
  return x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
}

function cubic(x) {
  const a = -0.5;
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

// For each of `count` results from `first` on: where its sum begins, and the weights.
function sums(filter, from, to, first, count) {
  const scale = from / to;
  const found = [];
  for (let place = first; place < first + count; place++) {
    if (filter === "nearest") {
      const at = Math.min(from - 1, Math.floor((place + 0.5) * scale));
      found.push([at, Int32Array.of(1 << BITS)]);
      continue;
    }
    const [reach, weight] = FILTERS[filter];
    const stretch = Math.max(scale, 1);
    const centre = (place + 0.5) * scale;
    const begin = Math.max(0, Math.trunc(centre - reach * stretch + 0.5));
    const end = Math.min(from, Math.trunc(centre + reach * stretch + 0.5));
    const weights = [];
    for (let x = begin; x < end; x++) weights.push(weight((x - centre + 0.5) * (1 / stretch)));
    const total = weights.reduce((a, b) => a + b, 0);
    const whole = (w) => Math.trunc((w / total) * (1 << BITS) + (w < 0 ? -0.5 : 0.5));
    found.push([begin, Int32Array.from(weights, whole)]);
  }
  return found;
}

// Python's round: halves go to the even neighbour.
function roundHalfEven(x) {
  const floor = Math.floor(x);
  if (x - floor !== 0.5) return Math.round(x);
  return floor % 2 === 0 ? floor : floor + 1;
}

// Width and height before the crop, where torchvision and timm round.
function resizedSize(width, height, how) {
  const [targetHeight, targetWidth] = how.input_size.map((side) => Math.floor(side / how.crop_pct));
  if (how.crop_mode === "squash") return [targetWidth, targetHeight];
  if (how.crop_mode === "center" && targetHeight === targetWidth) {
    const long = Math.trunc((targetWidth * Math.max(width, height)) / Math.min(width, height));
    return width <= height ? [targetWidth, long] : [long, targetHeight];
  }
  const ratios = [height / targetHeight, width / targetWidth];
  const ratio = how.crop_mode === "border" ? Math.max(...ratios) : Math.min(...ratios);
  return [Math.max(1, roundHalfEven(width / ratio)), Math.max(1, roundHalfEven(height / ratio))];
}

// Where the crop lies along one side: [first pixel of the resized image, how many, pixels of border before].
function cropped(resized, wanted) {
  if (resized < wanted) return [0, resized, Math.floor((wanted - resized) / 2)];
  return [roundHalfEven((resized - wanted) / 2), wanted, 0];
}

// Prepare an image as the network expects it.
//
// `rows(first, count)` gives some of its rows: { data, width, step }, `step` bytes a pixel, red first; `how` is the
// preprocessing in timm's words. Returns (height, width, 3) bytes.
function prepare(width, height, rows, how) {
  const [outHeight, outWidth] = how.input_size;
  const [newWidth, newHeight] = resizedSize(width, height, how);
  const [left, across, padLeft] = cropped(newWidth, outWidth);
  const [top, down, padTop] = cropped(newHeight, outHeight);
  const columns = sums(how.interpolation, width, newWidth, left, across);
  const lines = sums(how.interpolation, height, newHeight, top, down);
  // Rounding between the passes makes their order count, and from version 13 on Pillow chooses it by size.
  const linesFirst = how.pillow >= 13 && newHeight < height && height - newHeight > 2 * (width - newWidth);
  let small;
  if (linesFirst) {
    const [begin, end] = span(columns);
    const flat = alongColumns(rows, lines, begin, end);
    small = alongRows(rowsOf(flat, end - begin, 0), columns.map(([at, weights]) => [at - begin, weights]), 0, down);
  } else {
    const [begin, end] = span(lines);
    small = alongColumns(rowsOf(alongRows(rows, columns, begin, end), across, begin), lines, 0, across);
  }
  const fill = how.crop_mode === "border" ? how.mean.map((value) => roundHalfEven(255 * value)) : [0, 0, 0];
  const out = Uint8Array.from({ length: outHeight * outWidth * 3 }, (_, i) => fill[i % 3]);
  for (let y = 0; y < down; y++) {
    out.set(small.subarray(y * across * 3, (y + 1) * across * 3), ((y + padTop) * outWidth + padLeft) * 3);
  }
  return out;
}

// The first place that some sums reach, and the one behind the last.
function span(places) {
  const ends = places.map(([begin, weights]) => begin + weights.length);
  return [Math.min(...places.map(([begin]) => begin)), Math.max(...ends)];
}

// Rows of RGB pixels whose first one is row `first` of the image.
function rowsOf(pixels, width, first) {
  return (from, count) => ({ data: pixels.subarray((from - first) * width * 3, (from - first + count) * width * 3), width, step: 3 });
}

// The pass along rows, of rows `begin` to `end`; a strip at a time, so that of a large photograph little is in memory.
function alongRows(rows, columns, begin, end) {
  const out = new Uint8ClampedArray((end - begin) * columns.length * 3);
  let at = 0;
  for (let first = begin; first < end; first += 256) {
    const count = Math.min(256, end - first);
    const { data, width, step } = rows(first, count);
    for (let row = 0; row < count; row++) {
      for (const [place, weights] of columns) {
        let r = 1 << (BITS - 1), g = r, b = r;
        let from = (row * width + place) * step;
        for (let k = 0; k < weights.length; k++, from += step) {
          r += data[from] * weights[k];
          g += data[from + 1] * weights[k];
          b += data[from + 2] * weights[k];
        }
        out[at++] = r >> BITS;
        out[at++] = g >> BITS;
        out[at++] = b >> BITS;
      }
    }
  }
  return out;
}

// The pass along columns `begin` to `end`.
function alongColumns(rows, lines, begin, end) {
  const out = new Uint8ClampedArray(lines.length * (end - begin) * 3);
  let at = 0;
  for (const [first, weights] of lines) {
    const { data, width, step } = rows(first, weights.length);
    for (let x = begin; x < end; x++) {
      let r = 1 << (BITS - 1), g = r, b = r;
      let from = x * step;
      for (let k = 0; k < weights.length; k++, from += width * step) {
        r += data[from] * weights[k];
        g += data[from + 1] * weights[k];
        b += data[from + 2] * weights[k];
      }
      out[at++] = r >> BITS;
      out[at++] = g >> BITS;
      out[at++] = b >> BITS;
    }
  }
  return out;
}
