/** Three drawings to begin with, and a question that is like one of them. */

const arc = (x, y, radius, from, to, pieces = 28) =>
  Array.from({ length: pieces + 1 }, (_, i) => {
    const angle = (from + ((to - from) * i) / pieces) * 2 * Math.PI;
    return [x + radius * Math.cos(angle), y + radius * Math.sin(angle)];
  });

const wave = (top, height, times, wobble = 0, pieces = 40) =>
  Array.from({ length: pieces + 1 }, (_, i) => {
    const t = i / pieces;
    return [0.14 + 0.72 * t, top - height * Math.sin(2 * Math.PI * times * t) + wobble * Math.sin(9 * t)];
  });

const ring = [arc(0.5, 0.5, 0.3, 0, 1)];
const waves = [wave(0.38, 0.1, 1.5), wave(0.64, 0.1, 1.5)];
const tree = [
  [[0.5, 0.14], [0.35, 0.37], [0.2, 0.6], [0.5, 0.6], [0.8, 0.6], [0.65, 0.37], [0.5, 0.14]],
  [[0.5, 0.6], [0.5, 0.74], [0.5, 0.88]],
];

/** Classes to begin with. */
export const STARTERS = [
  { name: "ring", strokes: ring },
  { name: "waves", strokes: waves },
  { name: "tree", strokes: tree },
];

/** A drawing by another hand, so to say, of the second class. */
export const QUESTION = [wave(0.36, 0.085, 1.5, 0.025), wave(0.62, 0.115, 1.5, -0.02)];
