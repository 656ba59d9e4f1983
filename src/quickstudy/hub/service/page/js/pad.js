import { colour, h, onTheme } from "./dom.js";
import { draw } from "./strokes.js";

/** A square to draw on, with pen, finger or mouse; it shows pictures as well. */
export class Pad {
  /**
   * @param {{label: string, hint?: string, drawn: (strokes: import("./strokes.js").Stroke[], done: boolean) => void}} options
   *   `drawn` is called at every move, and with done once the pen is up.
   */
  constructor({ label, hint = "", drawn }) {
    this.drawn = drawn;
    this.strokes = [];
    this.pen = null;
    this.canvas = h("canvas", { role: "img", "aria-label": label });
    this.picture = h("img", { alt: "", hidden: true });
    this.hint = h("p", { class: "pad-hint", "aria-hidden": "true" }, hint);
    this.element = h("div", { class: "pad" }, this.hint, this.picture, this.canvas);
    this.ink = colour("ink");
    this.stop = onTheme(() => {
      this.ink = colour("ink");
      this.paint();
    });
    this.sizes = new ResizeObserver(() => this.fit());
    this.sizes.observe(this.element);
    this.listen();
  }

  /** Lets go of what outlives the element. */
  end() {
    this.stop();
    this.sizes.disconnect();
  }

  /** Whether the pen is down. */
  get drawing() {
    return this.pen !== null;
  }

  /** Shows strokes, and nothing else. */
  show(strokes) {
    this.strokes = strokes.map((stroke) => [...stroke]);
    this.picture.hidden = true;
    this.paint();
  }

  /** Shows a picture, and nothing else. */
  showPicture(source, alt) {
    this.strokes = [];
    this.picture.src = source;
    this.picture.alt = alt;
    this.picture.hidden = false;
    this.paint();
  }

  name(label) {
    this.canvas.setAttribute("aria-label", label);
  }

  undo() {
    this.strokes.pop();
    this.paint();
    this.drawn(this.strokes, true);
  }

  fit() {
    const side = Math.round(this.element.clientWidth * Math.min(devicePixelRatio, 2.5));
    if (side && side !== this.canvas.width) {
      this.canvas.width = this.canvas.height = side;
      this.paint();
    }
  }

  paint() {
    this.hint.hidden = this.strokes.length > 0 || !this.picture.hidden;
    if (this.canvas.width) draw(this.canvas, this.strokes, this.ink);
  }

  listen() {
    const { canvas } = this;
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || this.pen !== null) return;
      event.preventDefault();
      canvas.setPointerCapture(event.pointerId);
      this.pen = event.pointerId;
      this.picture.hidden = true;
      this.strokes.push([this.place(event)]);
      this.moved(false);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (event.pointerId !== this.pen) return;
      const parts = event.getCoalescedEvents?.() ?? [];
      for (const part of parts.length ? parts : [event]) this.add(this.place(part));
      this.moved(false);
    });
    for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) {
      canvas.addEventListener(name, (event) => {
        if (event.pointerId !== this.pen) return;
        this.pen = null;
        this.moved(true);
      });
    }
  }

  add(point) {
    const stroke = this.strokes.at(-1);
    const [x, y] = stroke.at(-1);
    if (Math.hypot(point[0] - x, point[1] - y) > 0.006) stroke.push(point);
  }

  moved(done) {
    this.paint();
    this.drawn(this.strokes, done);
  }

  place(event) {
    const box = this.canvas.getBoundingClientRect();
    const inside = (part) => Math.min(1, Math.max(0, part));
    return [inside((event.clientX - box.left) / box.width), inside((event.clientY - box.top) / box.height)];
  }
}
