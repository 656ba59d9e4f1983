import { follow, getJson } from "./api.js";
import { Chart } from "./charts.js";
import { fill, h, say } from "./dom.js";
import { trouble } from "./errors.js";
import { leaf, measure, several, value } from "./format.js";
import { chip, RunTable } from "./runtable.js";

/** Milliseconds between two looks at the table while something runs. */
const EVERY = 4000;
/** Runs that are compared at once, at most: as many as there are colours. */
const MOST = 8;

let current = null;

/** Shows the view; returns the way to leave it. */
export function enter(place, rest) {
  current = new Runs(place, rest);
  current.load();
  return () => current.end();
}

/** The address names other runs: compares them, where the view is shown already. */
export function moved(rest) {
  if (rest) current.choose(ids(rest));
  return true;
}

const ids = (rest) => rest.split(",").filter((id) => /^[0-9a-f]{4,32}$/.test(id));

class Runs {
  constructor(place, rest) {
    this.runs = [];
    this.asked = ids(rest);
    /** Colours of those that are compared, by id. @type {Map<string, number>} */
    this.colours = new Map();
    /** What is known of a run: its options, its points and its metric. */
    this.details = new Map();
    this.stopping = new AbortController();
    this.following = new Map();
    this.table = new RunTable((id, on) => this.toggle(id, on));
    this.note = h("p", { class: "soft small", role: "status" });
    this.faults = h("div");
    this.loss = new Chart({ title: "Loss", about: "mean since the point before" });
    this.validation = new Chart({ title: "Meta-validation", about: "on classes never trained on; dashed: the control", marks: true });
    this.charts = h("div", { class: "charts" }, this.validation.element, this.loss.element);
    this.options = h("section", { class: "options" });
    this.body = h("div", { class: "runs-body", hidden: true }, this.table.element, this.charts, this.options);
    fill(
      place,
      h("div", { class: "lead" }, h("div", { class: "lead-text" }, h("h1", {}, "Runs"), h("p", {}, "What was meta-trained here, newest first. Choose several to compare; those that run are drawn as they go.")), this.note),
      this.faults,
      this.body,
    );
  }

  end() {
    this.stopping.abort();
    for (const stop of this.following.values()) stop.abort();
    clearTimeout(this.timer);
    this.loss.end();
    this.validation.end();
  }

  async load() {
    clearTimeout(this.timer);
    try {
      this.runs = (await getJson("/v1/runs", this.stopping.signal)).runs;
      fill(this.faults);
    } catch (error) {
      if (error.name === "AbortError") return;
      fill(this.faults, trouble(error, () => this.load()));
      return;
    }
    if (!this.runs.length) {
      fill(this.faults, h("div", { class: "panel empty" }, h("h2", {}, "Nothing was trained here yet"), h("p", {}, "A run shows up as soon as it begins: ", h("code", {}, "quickstudy train --recipe demo"))));
      return;
    }
    this.body.hidden = false;
    const running = this.runs.filter((run) => run.state === "running").length;
    say(this.note, `${several(this.runs.length, "run")}${running ? `, ${running} running` : ""}`);
    if (this.asked !== null) {
      const known = this.asked.map((id) => this.runs.find((run) => run.id.startsWith(id))?.id).filter(Boolean);
      this.asked = null;
      this.choose(known.length ? known : [this.runs[0].id]);
    } else {
      this.choose([...this.colours.keys()]); // those that are gone leave the comparison
    }
    if (running) this.timer = setTimeout(() => this.load(), EVERY);
  }

  toggle(id, on) {
    const chosen = [...this.colours.keys()].filter((other) => other !== id);
    if (on) chosen.push(id);
    if (chosen.length > MOST) {
      say(this.note, `At most ${MOST} runs are compared at once`);
      this.table.paint(this.runs, this.colours);
      return;
    }
    this.choose(chosen);
    history.replaceState(null, "", `#/runs/${chosen.map((one) => one.slice(0, 12)).join(",")}`);
  }

  /** Compares these runs. */
  choose(wanted) {
    const chosen = wanted.map((id) => this.runs.find((run) => run.id.startsWith(id))?.id).filter(Boolean).slice(0, MOST);
    const before = this.colours;
    this.colours = new Map(chosen.filter((id) => before.has(id)).map((id) => [id, before.get(id)]));
    for (const id of chosen) {
      if (this.colours.has(id)) continue;
      const taken = new Set(this.colours.values());
      this.colours.set(id, [0, 1, 2, 3, 4, 5, 6, 7].find((number) => !taken.has(number)));
    }
    for (const [id, stop] of this.following) {
      if (this.colours.has(id)) continue;
      stop.abort();
      this.following.delete(id);
      this.details.delete(id);
    }
    this.table.paint(this.runs, this.colours);
    for (const id of chosen) if (!this.details.has(id)) this.fetch(id);
    this.paint();
  }

  async fetch(id) {
    const detail = { config: {}, points: new Map(), metric: null, state: "" };
    this.details.set(id, detail);
    try {
      const { signal } = this.stopping;
      const [run, curve] = await Promise.all([getJson(`/v1/runs/${id}`, signal), getJson(`/v1/runs/${id}/curve`, signal)]);
      detail.config = run.config;
      this.grow(detail, curve);
      if (curve.state === "running") this.listen(id, detail);
    } catch (error) {
      if (error.name === "AbortError") return;
      this.details.delete(id);
      fill(this.faults, trouble(error, () => this.choose([...this.colours.keys()])));
    }
    this.paint();
  }

  /** Takes what a running run has to tell until it ends; comes again where the line breaks. */
  async listen(id, detail) {
    const stop = new AbortController();
    this.following.set(id, stop);
    for (let tries = 0; tries < 20 && !stop.signal.aborted; tries++) {
      try {
        for await (const { event, data } of follow(`/v1/runs/${id}/events`, stop.signal)) {
          if (event === "end") {
            this.following.delete(id);
            this.load();
            return;
          }
          this.grow(detail, data);
          this.paint();
        }
      } catch (error) {
        if (stop.signal.aborted) return;
      }
      await new Promise((resolve) => setTimeout(resolve, 1000 * Math.min(10, tries + 1)));
    }
  }

  grow(detail, curve) {
    for (const point of curve.points) detail.points.set(point.step, point);
    detail.metric = curve.metric;
    detail.state = curve.state;
  }

  paint() {
    const chosen = [...this.colours.keys()].map((id) => this.runs.find((run) => run.id === id));
    this.charts.hidden = chosen.length === 0;
    const names = this.names(chosen);
    const lines = (what, level) =>
      chosen.map((run, i) => ({
        label: names[i],
        colour: this.colours.get(run.id),
        points: [...(this.details.get(run.id)?.points.values() ?? [])].filter((point) => point[what] !== null && point[what] !== undefined).map((point) => ({ step: point.step, value: point[what] })).sort((a, b) => a.step - b.step),
        level: level ? run.control : null,
      }));
    this.loss.show(lines("loss", false), null);
    const metrics = new Set(chosen.map((run) => run.metric));
    this.validation.show(lines("validation", true), metrics.size === 1 ? [...metrics][0] : null);
    this.paintOptions(chosen, names);
  }

  /** Names that tell the runs apart: with the beginning of the id where folders share a name. */
  names(chosen) {
    const leaves = chosen.map((run) => leaf(run.folder));
    return leaves.map((name, i) => (leaves.filter((other) => other === name).length > 1 ? `${name} ${chosen[i].id.slice(0, 4)}` : name));
  }

  paintOptions(chosen, names) {
    const configs = chosen.map((run) => this.details.get(run.id)?.config ?? {});
    const said = JSON.stringify([names, configs, chosen]);
    if (said === this.saidOptions) return;
    this.saidOptions = said;
    if (!chosen.length) {
      fill(this.options, h("p", { class: "soft" }, "Choose a run in the table to see how it went."));
      return;
    }
    const all = [...new Set(configs.flatMap(Object.keys))].sort();
    const several_ = chosen.length > 1;
    const rows = all
      .map((name) => [name, configs.map((config) => config[name])])
      .filter(([, values]) => (several_ ? values.some((one) => JSON.stringify(one) !== JSON.stringify(values[0])) : values[0] !== null && JSON.stringify(values[0]) !== "{}"));
    const failed = chosen.filter((run) => run.said);
    const head = chosen.map((run, i) => h("th", { scope: "col", data: { colour: this.colours.get(run.id) } }, h("span", { class: "dot", "aria-hidden": "true" }), names[i]));
    const result = (label, cell) => h("tr", {}, h("th", { scope: "row" }, label), ...chosen.map((run) => h("td", {}, cell(run))));
    fill(
      this.options,
      h("h2", {}, several_ ? "What differs" : "Options"),
      ...failed.map((run) => h("p", { class: "trouble" }, `${leaf(run.folder)}: ${run.said}`)),
      h(
        "div",
        { class: "table-frame panel", tabIndex: 0, role: "region", "aria-label": several_ ? "What differs" : "Options" },
        h(
          "table",
          { class: "differing" },
          h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "option"), ...head)),
          h(
            "tbody",
            {},
            result("state", (run) => chip(run.state)),
            result("meta-validation", (run) => measure(run.validation, run.metric)),
            ...rows.map(([name, values]) => h("tr", {}, h("th", { scope: "row", class: "mono" }, name), ...values.map((one) => h("td", { class: "mono" }, value(one))))),
          ),
        ),
      ),
    );
  }
}
