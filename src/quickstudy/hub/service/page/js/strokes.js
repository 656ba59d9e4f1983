/**
 * Drawings: strokes of points [x, y] in 0..1, so that they are sharp at every size and take the
 * ink of every theme.
 *
 * @typedef {[number, number][]} Stroke
 */

const WIDTH = 0.046;
/** Side in pixels of what is sent: a multiple of what models see, for smooth lines. */
const SENT = 224;

/** Draws strokes over all of a canvas. */
export function draw(canvas, strokes, ink, paper = null) {
  const side = canvas.width;
  const pen = canvas.getContext("2d");
  pen.clearRect(0, 0, side, side);
  if (paper) {
    pen.fillStyle = paper;
    pen.fillRect(0, 0, side, side);
  }
  pen.strokeStyle = ink;
  pen.fillStyle = ink;
  pen.lineWidth = WIDTH * side;
  pen.lineCap = "round";
  pen.lineJoin = "round";
  for (const stroke of strokes) line(pen, stroke, side);
}

function line(pen, stroke, side) {
  const points = stroke.map(([x, y]) => [x * side, y * side]);
  pen.beginPath();
  if (points.length < 3) {
    const [first, last] = [points[0], points.at(-1)];
    if (points.length === 1) {
      pen.arc(first[0], first[1], pen.lineWidth / 2, 0, 2 * Math.PI);
      pen.fill();
      return;
    }
    pen.moveTo(...first);
    pen.lineTo(...last);
  } else {
    // Curves through the middles of the pieces are smooth where the points are coarse.
    pen.moveTo(...points[0]);
    for (let i = 1; i < points.length - 1; i++) {
      const [x, y] = points[i];
      const [next, below] = points[i + 1];
      pen.quadraticCurveTo(x, y, (x + next) / 2, (y + below) / 2);
    }
    pen.lineTo(...points.at(-1));
  }
  pen.stroke();
}

/** A drawing as a PNG's base64, black on white: what models are sent, whatever the theme. */
export function png(strokes) {
  const canvas = sized(SENT);
  draw(canvas, strokes, "#000", "#fff");
  return canvas.toDataURL("image/png").split(",")[1];
}

/** A drawing as a small picture, black on nothing: the theme decides how it looks. */
export function thumbnail(strokes) {
  const canvas = sized(112);
  draw(canvas, strokes, "#000");
  return canvas.toDataURL("image/png");
}

/** A canvas that is not shown. */
export function sized(width, height = width) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  return canvas;
}
