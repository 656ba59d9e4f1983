import { h } from "./dom.js";
import { sized } from "./strokes.js";

/** Longest side in pixels of a picture that is sent: models see less, and requests are limited. */
const SENT = 320;
const THUMBNAIL = 112;

/**
 * Reads an image file as what is sent and what is shown.
 *
 * @param {Blob} file
 * @returns {Promise<{data: string, shown: string, thumbnail: string}>} base64, and two data URLs.
 * @throws {Error} the browser cannot read it.
 */
export async function readPicture(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    throw new Error(`${file.name || "This"} is no picture that this browser can read; PNG, JPEG, WebP, GIF and BMP are.`);
  }
  // A JPEG has no transparent parts to lose, and is much smaller as one.
  const type = file.type === "image/jpeg" ? "image/jpeg" : "image/png";
  const shown = scaled(bitmap, SENT).toDataURL(type, 0.92);
  const thumbnail = scaled(bitmap, THUMBNAIL).toDataURL(type);
  bitmap.close();
  return { data: shown.split(",")[1], shown, thumbnail };
}

function scaled(bitmap, longest) {
  const by = Math.min(1, longest / Math.max(bitmap.width, bitmap.height));
  const canvas = sized(Math.max(1, Math.round(bitmap.width * by)), Math.max(1, Math.round(bitmap.height * by)));
  const pen = canvas.getContext("2d");
  pen.imageSmoothingQuality = "high";
  pen.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas;
}

/** The image files of a paste; there may be text beside them. */
export const filesIn = (transfer) => [...(transfer?.files ?? [])].filter((file) => file.type.startsWith("image/"));

/** Takes files that are dropped on an element. */
export function takeDrops(element, take) {
  let depth = 0;
  const over = (by) => element.classList.toggle("dropping", (depth = Math.max(0, depth + by)) > 0);
  element.addEventListener("dragenter", (event) => {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    over(1);
  });
  element.addEventListener("dragover", (event) => {
    if (event.dataTransfer.types.includes("Files")) event.preventDefault();
  });
  element.addEventListener("dragleave", () => over(-1));
  element.addEventListener("drop", (event) => {
    event.preventDefault();
    depth = 0;
    over(0);
    if (event.dataTransfer.files.length) take([...event.dataTransfer.files]);
  });
}

/** A file input that is not shown: a button opens it. */
export function picker(label, take) {
  const input = h("input", { type: "file", accept: "image/*", multiple: true, class: "sr", tabIndex: -1, "aria-label": label });
  input.addEventListener("change", () => {
    const files = [...input.files];
    input.value = "";
    if (files.length) take(files);
  });
  return input;
}
