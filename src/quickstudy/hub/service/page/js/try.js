import { getJson } from "./api.js";
import { Card } from "./cards.js";
import { code } from "./copying.js";
import { fill, h, say, still } from "./dom.js";
import { passing, trouble } from "./errors.js";
import { latency, several } from "./format.js";
import { QUESTION, STARTERS } from "./glyphs.js";
import { icon } from "./icons.js";
import { keep } from "./keeping.js";
import { Lesson } from "./lesson.js";
import { Question } from "./query.js";
import { adaptSnippets, predictSnippet } from "./snippets.js";
import { png, thumbnail } from "./strokes.js";

/** Outlives the view: what was taught is still there when one comes back. */
const lesson = new Lesson();
keep(lesson);

/** Shows the view; returns the way to leave it. */
export function enter(place, wanted) {
  const view = new Try(place, wanted);
  view.load();
  return () => view.end();
}

class Try {
  constructor(place, wanted) {
    this.place = place;
    this.wanted = wanted;
    this.cards = new Map();
    this.select = h("select", { id: "model", disabled: true, on: { change: () => this.choose(this.select.value) } }, h("option", {}, "…"));
    this.body = h("div", { class: "try-body" });
    fill(
      place,
      h(
        "div",
        { class: "lead" },
        h("div", { class: "lead-text" }, h("h1", {}, "Teach it in one drawing"), h("p", {}, "Give one to five examples of each class, drawn or as pictures. The model adapts in milliseconds, without training, and tells new drawings apart.")),
        h("div", { class: "field model-field" }, h("label", { htmlFor: "model" }, "Model"), this.select),
      ),
      this.body,
    );
  }

  async load() {
    try {
      this.models = (await getJson("/v1/models")).models;
      if (this.ended) return;
    } catch (error) {
      fill(this.body, trouble(error, () => this.load()));
      return;
    }
    const named = this.models.find((model) => model.name === (this.wanted || lesson.model));
    const chosen = named ?? this.models.find((model) => model.reads === "images") ?? this.models[0];
    fill(this.select, ...this.models.map((model) => h("option", { value: model.name }, `${model.name} (${model.learner})`)));
    this.select.disabled = false;
    this.choose(chosen.name);
  }

  choose(name) {
    const model = this.models.find((one) => one.name === name);
    this.select.value = name;
    this.clear();
    if (model.reads === "images" && model.targets === "classes") {
      this.build();
      lesson.use(name);
    } else {
      fill(this.body, instead(model));
    }
  }

  build() {
    this.list = h("ol", { class: "cards" });
    this.adding = h("button", { class: "add-class", type: "button", on: { click: () => this.addClass() } }, icon("plus"), "Add a class");
    this.enough = h("p", { class: "card-full" });
    this.addItem = h("li", { class: "card-add" }, this.adding);
    this.state = h("span", { class: "chip", role: "status" });
    this.adapting = h("button", { class: "button slight", type: "button", on: { click: () => lesson.learn(true) } }, "Adapt now");
    this.starting = h("button", { class: "button main", type: "button", on: { click: () => this.start() } }, icon("spark"), "Start with an example");
    this.over = h("button", { class: "button slight", type: "button", on: { click: () => this.startOver() } }, "Start over");
    this.faults = h("div");
    this.code = h("details", { class: "from-code" }, h("summary", {}, "Ask what it learned from your own code"), h("div"));
    this.question = new Question(lesson);
    fill(
      this.body,
      h(
        "section",
        { class: "teach", "aria-labelledby": "teach-title" },
        h("div", { class: "section-head" }, h("h2", { id: "teach-title" }, h("span", { class: "step", "aria-hidden": "true" }, "1"), "Teach"), this.state, h("div", { class: "section-end" }, this.over, this.adapting, this.starting)),
        this.faults,
        this.list,
        this.code,
      ),
      this.question.element,
    );
    lesson.held = () => [...this.cards.values()].some((card) => card.pad.drawing);
    this.listeners = { classes: () => this.paintCards(), state: () => this.paintState() };
    for (const [event, listener] of Object.entries(this.listeners)) lesson.addEventListener(event, listener);
    this.pasted = (event) => this.paste(event);
    document.addEventListener("paste", this.pasted);
    if (!lesson.classes.length) for (let i = 0; i < 2; i++) lesson.add();
    this.paintCards();
    this.paintState();
  }

  clear() {
    this.question?.end();
    this.question = null;
    for (const card of this.cards.values()) card.end();
    this.cards.clear();
    for (const [event, listener] of Object.entries(this.listeners ?? {})) lesson.removeEventListener(event, listener);
    document.removeEventListener("paste", this.pasted);
    lesson.held = () => false;
    cancelAnimationFrame(this.frame);
  }

  end() {
    this.ended = true;
    this.clear();
  }

  addClass() {
    const one = lesson.add();
    this.cards.get(one).name.focus();
  }

  paste(event) {
    const into = [...this.cards.values()].find((card) => card.element.contains(document.activeElement)) ?? this.question;
    if (into.paste(event)) event.preventDefault();
  }

  /** Teaches three classes and draws a question, so that a newcomer sees what this is. */
  start() {
    for (const one of [...lesson.classes]) lesson.remove(one);
    for (const { name, strokes } of STARTERS) {
      lesson.addExample(lesson.add(name), { data: png(strokes), thumbnail: thumbnail(strokes), strokes });
    }
    this.repaint();
    lesson.learn();
    this.over.focus({ preventScroll: true });
    if (matchMedia("(max-width: 900px)").matches) this.question.element.scrollIntoView({ behavior: still() ? "auto" : "smooth", block: "end" });
    this.drawItself(QUESTION);
  }

  startOver() {
    for (const one of [...lesson.classes]) lesson.remove(one);
    for (let i = 0; i < 2; i++) lesson.add();
    this.question.clear();
    this.starting.focus();
  }

  /** Draws a question stroke by stroke, as a hand would; at once where less motion is wanted. */
  drawItself(strokes) {
    const { question } = this;
    const total = strokes.reduce((sum, stroke) => sum + stroke.length, 0);
    const started = performance.now();
    const step = () => {
      let left = still() ? total : Math.ceil((total * (performance.now() - started)) / 1100);
      const part = [];
      const done = left >= total;
      for (const stroke of strokes) {
        if (left > 0) part.push(stroke.slice(0, left));
        left -= stroke.length;
      }
      if (question.pad.drawing) return; // the user took the pen
      question.pad.show(part);
      question.drew(part, done);
      if (!done) this.frame = requestAnimationFrame(step);
    };
    this.frame = requestAnimationFrame(step);
  }

  /** Cards anew where examples came from elsewhere than the cards. */
  repaint() {
    for (const card of this.cards.values()) card.end();
    this.cards.clear();
    this.paintCards();
  }

  paintCards() {
    for (const [one, card] of this.cards) {
      if (lesson.classes.includes(one)) continue;
      card.end();
      this.cards.delete(one);
    }
    for (const one of lesson.classes) {
      if (!this.cards.has(one)) this.cards.set(one, new Card(lesson, one));
    }
    const items = [...lesson.classes.map((one) => this.cards.get(one).element), this.addItem];
    this.paintOffer();
    if (items.length !== this.list.children.length || items.some((item, i) => this.list.children[i] !== item)) {
      const focused = document.activeElement;
      fill(this.list, ...items);
      if (this.list.contains(focused)) focused.focus();
      else if (document.activeElement === document.body && focused !== document.body) this.list.querySelector(".add-class, .card-name")?.focus();
    }
    for (const card of this.cards.values()) card.paint();
  }

  /** Another class is offered as long as the server is not known to refuse it. */
  paintOffer() {
    const full = lesson.classes.length >= lesson.most;
    if (full) say(this.enough, `This server takes at most ${several(lesson.most, "class", "classes")}.`);
    const offer = full ? this.enough : this.adding;
    if (this.addItem.firstChild !== offer) fill(this.addItem, offer);
  }

  paintState() {
    const { known, error, working } = lesson;
    const any = lesson.classes.some((one) => one.examples.length);
    this.starting.hidden = any;
    this.over.hidden = !any;
    this.adapting.hidden = !any;
    this.adapting.disabled = !lesson.ready;
    const [kind, text] = stateOf(lesson, known, error, working);
    this.state.className = `chip ${kind}`;
    say(this.state, text);
    fill(this.faults, error && trouble(error, passing(error) ? () => lesson.learn() : null));
    this.paintOffer();
    this.code.hidden = !known;
    if (known && this.code.dataset.id !== known.id) {
      this.code.dataset.id = known.id;
      fill(this.code.lastChild, code(predictSnippet(known.id), "curl command"));
    }
  }
}

function stateOf(lesson, known, error, working) {
  if (error) return ["bad", "Not learned"];
  if (lesson.twice !== null) return ["warn", "Two classes share a name"];
  if (working) return ["busy", "Learning"];
  if (!lesson.ready) {
    const missing = 2 - lesson.taughtClasses.length;
    return ["", missing === 2 ? "Draw an example of two classes" : "One more class needs an example"];
  }
  if (!known) return ["busy", "Learning"];
  const refused = lesson.classes.flatMap((one) => one.examples).filter((example) => lesson.refusal(example)).length;
  const left = refused ? `; ${several(refused, "example")} left out` : "";
  if (known.how === "extended" && known.fresh.length) return ["good", `Added ${known.fresh.join(", ")} in ${latency(known.ms)}; nothing forgotten${left}`];
  if (known.how === "extended") return ["good", `Added ${several(known.count, "example")} in ${latency(known.ms)}${left}`];
  return ["good", `Learned ${several(known.labels.length, "class", "classes")} in ${latency(known.ms)}${left}`];
}

/** For models that nothing can be drawn for: how to ask them from elsewhere. */
function instead(model) {
  const takes = { table: `the columns of a table: ${(model.features ?? []).join(", ")}`, numbers: "numbers" }[model.reads] ?? "images, and gives numbers";
  return h(
    "div",
    { class: "panel empty instead" },
    h("h2", {}, `${model.name} does not read drawings`),
    h("p", {}, `It reads ${takes}, so there is nothing to draw here. It adapts as quickly over HTTP:`),
    ...adaptSnippets(model).map(({ label, text }) => code(text, label)),
  );
}
