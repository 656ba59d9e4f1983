import { fill, h } from "./dom.js";
import { icon } from "./icons.js";
import { MOST_EXAMPLES } from "./lesson.js";
import { Pad } from "./pad.js";
import { filesIn, picker, readPicture, takeDrops } from "./pictures.js";
import { png, thumbnail } from "./strokes.js";

/** The card of a class: its name, a pad, and its examples. */
export class Card {
  /**
   * @param {import("./lesson.js").Lesson} lesson
   * @param {import("./lesson.js").Class} one
   */
  constructor(lesson, one) {
    this.lesson = lesson;
    this.one = one;
    /** Settled once all files that were given have been taken. */
    this.taken = Promise.resolve();
    /** The example on the pad; null for a new one. */
    this.active = null;
    this.pad = new Pad({ label: "", hint: "draw", drawn: (strokes, done) => done && this.drew(strokes) });
    this.name = h("input", {
      type: "text", class: "card-name", value: one.name, placeholder: one.hint, maxLength: 60, autocomplete: "off", spellcheck: false,
      on: { input: () => this.rename() },
    });
    this.removing = this.tool("close", () => lesson.remove(one));
    this.undoing = this.tool("undo", () => this.pad.undo());
    this.clearing = this.tool("clear", () => this.clear());
    this.picker = picker("", (files) => this.take(files));
    this.picking = this.tool("picture", () => this.picker.click());
    this.strip = h("ul", { class: "strip" });
    this.notes = h("div", { class: "card-notes", role: "status" });
    this.element = h(
      "li",
      { class: "card panel", data: { colour: one.colour } },
      h("div", { class: "card-head" }, h("span", { class: "dot", "aria-hidden": "true" }), this.name, this.removing),
      this.pad.element,
      h("div", { class: "card-tools" }, this.undoing, this.clearing, this.picking, this.picker),
      this.strip,
      this.notes,
    );
    takeDrops(this.element, (files) => this.take(files));
    this.element.addEventListener("keydown", (event) => {
      if ((event.ctrlKey || event.metaKey) && event.key === "z" && event.target !== this.name && this.pad.strokes.length) {
        event.preventDefault();
        this.pad.undo();
      }
    });
    if (one.examples.length) this.select(one.examples[0]);
    this.paint();
  }

  tool(name, click) {
    return h("button", { class: "icon-button", type: "button", on: { click } }, icon(name));
  }

  end() {
    this.pad.end();
  }

  rename() {
    this.lesson.rename(this.one, this.name.value);
    this.paint();
  }

  /** A stroke was drawn, or undone: the example on the pad changes with it. */
  drew(strokes) {
    if (!strokes.length) {
      if (this.active) this.removeActive();
      return;
    }
    this.one.note = "";
    const made = { data: png(strokes), thumbnail: thumbnail(strokes), strokes: strokes.map((stroke) => [...stroke]) };
    if (this.active) this.lesson.changeExample(this.active, made);
    else if (this.one.examples.length < MOST_EXAMPLES) this.active = this.lesson.addExample(this.one, made);
    this.paint();
  }

  /** Takes files one after another, and those of a second drop after those of the first. */
  take(files) {
    this.taken = this.taken.then(() => this.takeAll(files));
    return this.taken;
  }

  async takeAll(files) {
    const room = Math.max(0, MOST_EXAMPLES - this.one.examples.length);
    const unread = [];
    this.one.note = "";
    for (const file of files.slice(0, room)) {
      let picture;
      try {
        picture = await readPicture(file);
      } catch {
        unread.push(file.name || "a picture without a name");
        continue;
      }
      this.select(this.lesson.addExample(this.one, picture));
    }
    const said = [];
    if (files.length > room) said.push(`A class takes ${MOST_EXAMPLES} examples here; ${room} of these ${files.length} fit.`);
    if (unread.length) said.push(`${unread.length} of ${Math.min(room, files.length)} could not be read: ${unread.join(", ")}. PNG, JPEG, WebP, GIF and BMP can.`);
    this.one.note = said.join(" ");
    this.paint();
  }

  paste(event) {
    const files = filesIn(event.clipboardData);
    if (files.length) this.take(files);
    return files.length > 0;
  }

  select(example) {
    this.active = example;
    if (!example) this.pad.show([]);
    else if (example.strokes) this.pad.show(example.strokes);
    else this.pad.showPicture(example.shown, "");
    this.paint();
  }

  clear() {
    if (this.active) this.removeActive();
    else this.select(null);
  }

  removeActive() {
    const place = this.one.examples.indexOf(this.active);
    this.one.note = "";
    this.lesson.removeExample(this.one, this.active);
    this.select(this.one.examples[Math.max(0, place - 1)] ?? null);
    if (document.activeElement === document.body) this.picking.focus();
  }

  /** What is to be said of the class: of its name, of files, of examples that the server refuses. */
  told(twice) {
    const places = new Map();
    this.one.examples.forEach((example, place) => {
      const reason = this.lesson.refusal(example);
      if (reason) places.set(reason, [...(places.get(reason) ?? []), place + 1]);
    });
    const refused = [...places].map(([reason, numbers]) =>
      numbers.length === 1
        ? `Example ${numbers[0]} cannot be used: ${reason}. It is left out; remove it.`
        : `Examples ${numbers.join(", ")} cannot be used: ${reason}. They are left out; remove them.`,
    );
    return [twice && "Another class has this name.", this.one.note, ...refused].filter(Boolean);
  }

  /** Brings the card in line with the lesson. */
  paint() {
    const { one, lesson } = this;
    const label = lesson.label(one);
    const number = lesson.classes.indexOf(one) + 1;
    const twice = lesson.twice !== null && lesson.twice === label;
    this.name.setAttribute("aria-label", `Name of class ${number}`);
    if (twice) this.name.setAttribute("aria-invalid", "true");
    else this.name.removeAttribute("aria-invalid");
    this.removing.setAttribute("aria-label", `Remove ${label}`);
    this.undoing.setAttribute("aria-label", `Undo the last stroke of ${label}`);
    this.clearing.setAttribute("aria-label", `Remove this example of ${label}`);
    this.picking.setAttribute("aria-label", `Pick pictures of ${label}`);
    this.picker.setAttribute("aria-label", `Pictures of ${label}`);
    for (const [button, title] of [[this.removing, "Remove the class"], [this.undoing, "Undo"], [this.clearing, "Remove this example"], [this.picking, "Pick pictures"]]) button.title = title;
    this.pad.name(`Pad to draw an example of ${label} on; pictures can be picked instead`);
    this.undoing.disabled = this.pad.strokes.length === 0;
    this.clearing.disabled = !this.active;
    this.picking.disabled = one.examples.length >= MOST_EXAMPLES;
    fill(this.strip, ...this.thumbs(label));
    const told = this.told(twice);
    if (told.join() !== this.said) fill(this.notes, ...told.map((text) => h("p", {}, text)));
    this.said = told.join();
    this.element.classList.toggle("at-fault", one.examples.some((example) => lesson.refusal(example)));
  }

  thumbs(label) {
    const { examples } = this.one;
    const had = this.strip.contains(document.activeElement) ? document.activeElement.dataset.place : null;
    const made = examples.map((example, place) => {
      const reason = this.lesson.refusal(example);
      const why = reason && h("span", { class: "sr", id: `refused-${example.id}` }, `cannot be used: ${reason}`);
      return h(
        "li",
        {},
        h(
          "button",
          {
            type: "button", class: reason ? "thumb refused" : "thumb", data: { place: String(place) }, "aria-label": `Example ${place + 1} of ${label}`,
            "aria-describedby": why && why.id, title: why && why.textContent,
            "aria-pressed": String(example === this.active), on: { click: () => this.select(example) },
          },
          h("img", { src: example.thumbnail, alt: "", class: example.strokes ? "inked" : "" }),
        ),
        why,
      );
    });
    if (examples.length && examples.length < MOST_EXAMPLES) {
      const attributes = { type: "button", class: "thumb more", data: { place: "more" }, title: "Another example", "aria-label": `Draw another example of ${label}` };
      made.push(h("li", {}, h("button", { ...attributes, "aria-pressed": String(!this.active), on: { click: () => this.select(null) } }, icon("plus"))));
    }
    if (had !== null) queueMicrotask(() => this.strip.querySelector(`[data-place="${had}"]`)?.focus());
    return made;
  }
}
