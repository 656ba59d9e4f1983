import { drop, postJson } from "./api.js";
import { Problem } from "./errors.js";

/** Bytes of pictures that one request carries; the server takes two million by default. */
const MOST = 1_200_000;
/** Milliseconds without a change after which the model learns on its own. */
const PAUSE = 450;
/** Milliseconds until a service that does not answer is tried again. */
const AWAY = 3000;
export const MOST_EXAMPLES = 5;

/**
 * @typedef {object} Example
 * @property {number} id
 * @property {string} data base64 of an image file.
 * @property {string} thumbnail a data URL.
 * @property {string} [shown] a larger one, of a picture.
 * @property {import("./strokes.js").Stroke[] | null} strokes null for a picture.
 * @property {number} version counts its changes.
 * @property {Map<string, string>} refused why models cannot use it as it is, by their names.
 *
 * @typedef {{id: number, colour: number, name: string, hint: string, note: string, examples: Example[]}} Class
 *   The note is about what was last given as its examples.
 */

/**
 * What is taught, and what the server has learned of it. It learns after every change on its own:
 * what only grew is added to what is known, anything else is learned again. What the server refuses
 * is left out from then on, until it changes.
 *
 * Events: "classes" when what is taught changed, "state" when what is known or its trouble did.
 */
export class Lesson extends EventTarget {
  constructor() {
    super();
    /** @type {Class[]} */
    this.classes = [];
    this.model = null;
    this.known = null;
    this.error = null;
    /** Classes that the server takes, once it has refused more. */
    this.most = Infinity;
    this.running = null;
    this.anew = false;
    this.next = 1;
    this.timer = null;
    this.held = () => false;
  }

  /** @returns {Class} a new class, without examples. */
  add(name = "") {
    const taken = new Set(this.classes.map((one) => one.colour));
    const colour = [0, 1, 2, 3, 4, 5, 6, 7].find((number) => !taken.has(number)) ?? this.classes.length % 8;
    const used = new Set(this.classes.map((one) => this.label(one)));
    let number = this.classes.length + 1;
    while (used.has(`class ${number}`)) number++;
    const made = { id: this.next++, colour, name, hint: `class ${number}`, note: "", examples: [] };
    this.classes.push(made);
    this.changed();
    return made;
  }

  /** What a page that is loaded again needs to go on from here, as JSON; a picture is in `shown` already. */
  kept() {
    const classes = this.classes.map(({ name, hint, colour, examples }) => ({
      name, hint, colour, examples: examples.map(({ data, thumbnail, shown, strokes }) => ({ data: shown ? null : data, thumbnail, shown, strokes })),
    }));
    return { model: this.model, known: this.known?.id ?? null, classes };
  }

  /** Goes on from what `kept` gave; it is learned anew once the model is used. */
  restore({ model, classes }) {
    const again = ({ data, shown, ...rest }) => this.example({ ...rest, shown, data: data ?? shown.split(",")[1] });
    this.classes = classes.map(({ name, hint, colour, examples }) => ({ id: this.next++, name, hint, colour, note: "", examples: examples.map(again) }));
    this.model = model;
  }

  remove(one) {
    this.classes = this.classes.filter((other) => other !== one);
    this.changed();
  }

  /** @returns {Example} */
  example({ data, thumbnail, shown = null, strokes = null }) {
    return { id: this.next++, data, thumbnail, shown, strokes, version: 0, refused: new Map() };
  }

  /** @returns {Example} */
  addExample(one, given) {
    const example = this.example(given);
    one.examples.push(example);
    this.changed();
    return example;
  }

  changeExample(example, { data, thumbnail, strokes }) {
    Object.assign(example, { data, thumbnail, strokes, shown: null, version: example.version + 1, refused: new Map() });
    this.changed();
  }

  removeExample(one, example) {
    one.examples = one.examples.filter((other) => other !== example);
    this.changed();
  }

  rename(one, name) {
    one.name = name;
    this.changed();
  }

  /** Uses a model; another one learns the same. */
  use(model) {
    if (this.model === model && this.known) return;
    this.model = model;
    this.changed();
  }

  label(one) {
    return one.name.trim() || one.hint;
  }

  /** The name that two classes share; null where none do. */
  get twice() {
    const seen = new Set();
    for (const one of this.classes) {
      const label = this.label(one);
      if (seen.has(label)) return label;
      seen.add(label);
    }
    return null;
  }

  get working() {
    return this.running !== null;
  }

  /** Classes with an example that can be used, as far as is known. */
  get taughtClasses() {
    return this.classes.filter((one) => one.examples.some((example) => !this.refusal(example)));
  }

  /** Why the model cannot use an example; undefined where nothing is known against it. */
  refusal(example) {
    return example.refused.get(this.model);
  }

  get ready() {
    return this.model !== null && this.taughtClasses.length >= 2 && this.twice === null;
  }

  /** The example behind a number that the server said. */
  behind(number) {
    const id = this.known?.rows[number]?.example;
    for (const one of this.classes) {
      const found = one.examples.find((example) => example.id === id);
      if (found) return { one, example: found };
    }
    return null;
  }

  changed() {
    this.error = null; // it was about what is no longer so
    this.told();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.learn(), PAUSE);
  }

  told() {
    this.dispatchEvent(new Event("classes"));
    this.dispatchEvent(new Event("state"));
  }

  /**
   * Learns what has changed, now; whoever calls while it learns waits for the newest.
   *
   * @param {boolean} [anew] learns all of it, even where nothing has changed.
   */
  learn(anew = false) {
    clearTimeout(this.timer);
    this.anew ||= anew;
    if (this.running) {
      this.again = true;
      return this.running;
    }
    if (this.held()) {
      this.timer = setTimeout(() => this.learn(), PAUSE); // a pen is down: the drawing goes on
      return Promise.resolve();
    }
    this.running = this.learnAll().finally(() => {
      this.running = null;
      this.dispatchEvent(new Event("state"));
    });
    return this.running;
  }

  async learnAll() {
    do {
      this.again = false;
      this.error = null;
      try {
        await this.learnOnce();
      } catch (error) {
        this.error = error; // of what was sent; what has changed since is learned next
        this.most = Number(/^at most (\d+) classes are taken/.exec(error.message)?.[1] ?? this.most);
      }
    } while (this.again);
    // Nobody answered: the service may be back soon, and whoever draws then is not to press a button.
    if (this.error instanceof Problem && this.error.status === 0) this.timer = setTimeout(() => this.learn(), AWAY);
  }

  async learnOnce() {
    const rows = this.wanted();
    if (!this.ready) {
      this.forget();
      return;
    }
    const { anew } = this;
    this.anew = false;
    const kept = !anew && this.known?.model === this.model ? this.known.rows : null;
    const now = new Map(rows.map((row) => [row.example, row]));
    const grew = kept?.every((row) => same(row, now.get(row.example)));
    const old = new Set(kept?.map((row) => row.example));
    const fresh = grew ? rows.filter((row) => !old.has(row.example)) : rows;
    if (grew && fresh.length === 0) return;
    this.dispatchEvent(new Event("state"));
    const { model } = this;
    try {
      await this.send(fresh, grew ? this.known : null);
    } catch (error) {
      if (error instanceof Unusable) {
        this.refuse(error.row, model, error.message);
        this.anew ||= anew;
        this.again = true; // what remains; each turn leaves out one example more, so it ends
      } else if (error instanceof Problem && error.status === 404 && grew) {
        this.known = null; // it has expired meanwhile: all of it once more
        this.again = true;
      } else {
        throw error;
      }
    }
  }

  /** Leaves an example out from now on, unless it has changed since it was sent. */
  refuse(row, model, reason) {
    const example = this.classes.flatMap((one) => one.examples).find(({ id, version }) => id === row.example && version === row.version);
    if (!example) return;
    example.refused.set(model, reason);
    this.told();
  }

  /** Sends examples, in as many requests as they need; keeps the last answer, also before one that fails. */
  async send(rows, before) {
    const started = performance.now();
    const { model } = this;
    let known = before;
    let count = 0;
    try {
      for (const part of portions(rows)) {
        const path = known ? `/v1/adapted/${known.id}/extend` : `/v1/models/${encodeURIComponent(model)}/adapt`;
        const body = { labels: part.map((row) => row.label), images: part.map((row) => row.data) };
        const answer = await postJson(path, body).catch((error) => {
          throw unusable(error, part) ?? error;
        });
        known = { id: answer.adapted_id, model, labels: answer.labels, expires: answer.expires_at, rows: [...(known?.rows ?? []), ...part] };
        count += part.length;
      }
    } finally {
      if (known !== before) {
        if (!before && this.known) drop(`/v1/adapted/${this.known.id}`);
        const old = new Set(before?.rows.map((row) => row.label));
        const fresh = [...new Set(known.rows.map((row) => row.label))].filter((label) => !old.has(label));
        this.known = { ...known, ms: performance.now() - started, how: before ? "extended" : "adapted", fresh, count };
      }
    }
  }

  /** Answers a question with what is known; learns again first where the server has forgotten. */
  async predict(data) {
    const ask = () => postJson(`/v1/adapted/${this.known.id}/predict`, { images: [data], nearest: true });
    if (!this.known) return null;
    const asked = this.known.id;
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof Problem) || error.status !== 404) throw error;
      if (this.known?.id === asked) this.known = null;
      if (!this.known) await this.learn();
      if (!this.known) throw this.error ?? error;
      return await ask();
    }
  }

  forget() {
    if (this.known) drop(`/v1/adapted/${this.known.id}`);
    this.known = null;
  }

  /** The first examples of all classes first, so that the labels come in the order of the cards. */
  wanted() {
    const rows = [];
    const usable = this.classes.map((one) => ({ one, examples: one.examples.filter((example) => !this.refusal(example)) }));
    for (let turn = 0; turn < MOST_EXAMPLES; turn++) {
      for (const { one, examples } of usable) {
        const example = examples[turn];
        if (example) rows.push({ example: example.id, version: example.version, label: this.label(one), data: example.data });
      }
    }
    return rows;
  }
}

const same = (row, now) => now !== undefined && row.version === now.version && row.label === now.label;

function portions(rows) {
  const parts = [[]];
  let size = 0;
  for (const row of rows) {
    // The first request needs two classes; the first two rows are of two.
    if (size + row.data.length > MOST && !(parts.length === 1 && parts[0].length < 2)) {
      parts.push([]);
      size = 0;
    }
    parts.at(-1).push(row);
    size += row.data.length;
  }
  return parts;
}

/** An example that the server refuses. */
class Unusable extends Error {
  constructor(row, reason) {
    super(reason);
    this.row = row;
  }
}

/** The example that a refusal names by its number; null where it names none. */
function unusable(error, part) {
  const [, number, reason] = (error.status === 422 && /^image (\d+) cannot be used: (.+)$/s.exec(error.message)) || [];
  const row = part[number];
  return row ? new Unusable(row, reason) : null;
}
