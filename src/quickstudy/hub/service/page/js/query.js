import { fill, h, say } from "./dom.js";
import { passing, trouble } from "./errors.js";
import { latency, percent } from "./format.js";
import { icon } from "./icons.js";
import { Pad } from "./pad.js";
import { filesIn, picker, readPicture, takeDrops } from "./pictures.js";
import { png } from "./strokes.js";

/** Milliseconds between two questions while the pen moves. */
const EVERY = 80;
/** Milliseconds of rest after which screen readers are told. */
const SPOKEN = 700;

/** The question: a pad, what the model makes of it, and the example it is most like. */
export class Question {
  /** @param {import("./lesson.js").Lesson} lesson */
  constructor(lesson) {
    this.lesson = lesson;
    this.data = null;
    this.wanted = false;
    this.asking = false;
    this.answer = null;
    this.last = 0;
    this.pad = new Pad({ label: "Pad to draw a question on; a picture can be picked instead", hint: "draw anything", drawn: (strokes, done) => this.drew(strokes, done) });
    this.picker = picker("Picture to ask about", (files) => this.take(files));
    this.undoing = this.tool("undo", "Undo", () => this.pad.undo());
    this.clearing = this.tool("clear", "Clear", () => this.clear());
    this.picking = h("button", { class: "button slight", type: "button", on: { click: () => this.picker.click() } }, icon("picture"), "Pick a picture");
    this.verdict = h("p", { class: "verdict" });
    this.bars = h("ul", { class: "bars" });
    this.near = h("div", { class: "near" });
    this.time = h("span", { class: "small soft number time" });
    this.faults = h("div");
    this.note = h("p", { class: "small soft", role: "status" });
    this.spoken = h("p", { class: "sr", "aria-live": "polite", role: "status" });
    this.element = h(
      "section",
      { class: "ask panel", "aria-labelledby": "ask-title" },
      h("div", { class: "section-head" }, h("h2", { id: "ask-title" }, h("span", { class: "step", "aria-hidden": "true" }, "2"), "Ask"), this.time),
      this.pad.element,
      h("div", { class: "ask-tools" }, this.undoing, this.clearing, this.picking, this.picker),
      this.note,
      this.faults,
      h("div", { class: "answer" }, h("div", { class: "answer-head" }, this.verdict, this.near), this.bars),
      this.spoken,
    );
    takeDrops(this.element, (files) => this.take(files));
    this.changed = () => this.paint();
    this.learned = () => this.relearned();
    lesson.addEventListener("classes", this.changed);
    lesson.addEventListener("state", this.learned);
    this.paint();
  }

  end() {
    this.pad.end();
    clearTimeout(this.timer);
    clearTimeout(this.speaking);
    this.lesson.removeEventListener("classes", this.changed);
    this.lesson.removeEventListener("state", this.learned);
  }

  tool(name, label, click) {
    return h("button", { class: "icon-button", type: "button", "aria-label": `${label} the question`, title: label, on: { click } }, icon(name));
  }

  drew(strokes, done) {
    this.strokes = strokes;
    if (!strokes.length) {
      this.clear();
      return;
    }
    say(this.note, "");
    clearTimeout(this.timer);
    const wait = done ? 0 : Math.max(0, this.last + EVERY - performance.now());
    this.timer = setTimeout(() => {
      this.last = performance.now();
      if (!this.strokes?.length) return;
      this.data = png(this.strokes);
      this.ask();
    }, wait);
    this.paintTools();
  }

  async take(files) {
    const note = files.length > 1 ? `One picture at a time: this is the first of ${files.length}.` : "";
    try {
      const picture = await readPicture(files[0]);
      this.pad.showPicture(picture.shown, "The picture that is asked about");
      this.strokes = null;
      this.data = picture.data;
      say(this.note, note);
      this.ask();
    } catch (error) {
      this.failed(error);
    }
    this.paintTools();
  }

  paste(event) {
    const files = filesIn(event.clipboardData);
    if (files.length) this.take(files);
    return files.length > 0;
  }

  clear() {
    clearTimeout(this.timer);
    this.data = null;
    this.strokes = null;
    this.answer = null;
    this.pad.show([]);
    fill(this.faults);
    say(this.note, "");
    this.paint();
  }

  /** What is known changed: the same question may have another answer. */
  relearned() {
    if (this.lesson.known !== this.knew) {
      this.knew = this.lesson.known;
      if (this.knew && this.data) this.ask();
      if (!this.knew) this.answer = null;
    }
    this.paint();
  }

  /** Asks what is on the pad; while an answer is awaited only the newest question counts. */
  async ask() {
    this.wanted = true;
    if (this.asking || !this.lesson.known) {
      this.paint();
      return;
    }
    this.asking = true;
    try {
      while (this.wanted && this.data && this.lesson.known) {
        this.wanted = false;
        const started = performance.now();
        const answer = await this.lesson.predict(this.data);
        if (!this.data || !answer || !this.lesson.known) break;
        this.answer = { ...answer.predictions[0], ms: performance.now() - started };
        fill(this.faults);
        this.paint();
      }
    } catch (error) {
      this.failed(error);
    } finally {
      this.asking = false;
    }
  }

  failed(error) {
    this.answer = null;
    fill(this.faults, trouble(error, passing(error) ? () => this.ask() : null));
    this.paint();
  }

  paintTools() {
    this.undoing.disabled = this.pad.strokes.length === 0;
    this.clearing.disabled = this.pad.strokes.length === 0 && this.pad.picture.hidden;
  }

  paint() {
    const { lesson, answer } = this;
    this.paintTools();
    say(this.time, answer ? `answered in ${latency(answer.ms)}` : "");
    const chances = answer?.probabilities ?? {};
    const shown = lesson.taughtClasses;
    this.paintBars(shown, chances);
    const best = answer && shown.find((one) => lesson.label(one) === String(answer.label));
    if (best) {
      this.verdict.dataset.colour = best.colour;
      fill(this.verdict, h("strong", {}, lesson.label(best)), h("span", { class: "number" }, percent(chances[answer.label])));
    } else {
      delete this.verdict.dataset.colour;
      fill(this.verdict, h("span", { class: "soft" }, this.waits()));
    }
    this.paintNearest(answer?.nearest);
    clearTimeout(this.speaking);
    if (!best) say(this.spoken, "");
    else this.speaking = setTimeout(() => say(this.spoken, `Most likely ${lesson.label(best)}, ${percent(chances[answer.label])}`), SPOKEN);
  }

  waits() {
    if (this.lesson.taughtClasses.length < 2) return "Teach two classes first.";
    if (!this.lesson.known) return "Not learned yet.";
    return this.data ? "…" : "Draw, and it answers as you go.";
  }

  /** One bar a class; bars that stay are kept, so that they glide. */
  paintBars(shown, chances) {
    const kept = new Map([...this.bars.children].map((row) => [row.dataset.id, row]));
    const rows = shown.map((one) => {
      const row = kept.get(String(one.id)) ?? bar(one);
      const label = this.lesson.label(one);
      const chance = chances[label];
      say(row.querySelector(".bar-name"), label);
      say(row.querySelector(".bar-value"), chance === undefined ? "" : percent(chance));
      row.querySelector(".bar-fill").style.transform = `translateX(${100 * ((chance ?? 0) - 1)}%)`;
      row.classList.toggle("best", this.answer?.label !== undefined && String(this.answer.label) === label);
      return row;
    });
    if (rows.length !== this.bars.children.length || rows.some((row, i) => this.bars.children[i] !== row)) fill(this.bars, ...rows);
  }

  paintNearest(nearest) {
    const found = nearest && this.lesson.behind(nearest.example);
    this.near.hidden = !found;
    if (!found) return;
    const { one, example } = found;
    if (this.near.dataset.example === `${example.id}.${example.version}.${this.lesson.label(one)}`) return;
    this.near.dataset.example = `${example.id}.${example.version}.${this.lesson.label(one)}`;
    fill(
      this.near,
      h("span", { class: "small soft" }, "nearest example"),
      h("span", { class: "near-thumb", data: { colour: one.colour } }, h("img", { src: example.thumbnail, alt: `an example of ${this.lesson.label(one)}`, class: example.strokes ? "inked" : "" })),
    );
  }
}

function bar(one) {
  return h(
    "li",
    { data: { id: String(one.id), colour: one.colour } },
    h("span", { class: "bar-name" }),
    h("span", { class: "bar-track", "aria-hidden": "true" }, h("span", { class: "bar-fill" })),
    h("span", { class: "bar-value number" }),
  );
}
