import { follow, getJson } from "./api.js";
import { Chart } from "./charts.js";
import { fill, h, say } from "./dom.js";
import { passing, Problem, trouble } from "./errors.js";
import { leaf, lowerIsBetter, measure, metricName, several, value } from "./format.js";
import { chip, RunTable } from "./runtable.js";

/** Milliseconds between two looks at the table: while something runs, and while nothing does. */
const EVERY = 4000;
const SELDOM = 8000;
/** Milliseconds until it is asked again after a line broke or nothing came; from one failure to the next twice as long. */
const SOONEST = 1000;
const LATEST = 16000;
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
    /** Ways to stop those that are read or listened to, by id. @type {Map<string, AbortController>} */
    this.watching = new Map();
    this.loading = null;
    this.wait = SOONEST;
    this.table = new RunTable((id, on) => this.toggle(id, on));
    this.note = h("p", { class: "soft small", role: "status" });
    this.faults = h("div");
    /** By their titles. @type {Map<string, Chart>} */
    this.drawn = new Map();
    this.charts = h("div", { class: "charts" });
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
    for (const stop of this.watching.values()) stop.abort();
    clearTimeout(this.timer);
    for (const chart of this.drawn.values()) chart.end();
  }

  /** Reads the table; whoever asks while it is read waits for the same. */
  load() {
    this.loading ??= this.look().finally(() => (this.loading = null));
    return this.loading;
  }

  async look() {
    clearTimeout(this.timer);
    try {
      this.runs = (await getJson("/v1/runs", this.stopping.signal)).runs;
      if (this.stopping.signal.aborted) return;
      if (this.runs.length) fill(this.faults);
      this.wait = SOONEST;
    } catch (error) {
      if (error.name === "AbortError") return;
      if (!this.faults.textContent.includes(error.message)) fill(this.faults, trouble(error, () => this.load()));
      if (!passing(error)) return;
      this.wait = Math.min(LATEST, 2 * this.wait);
      this.timer = setTimeout(() => this.load(), this.wait);
      return;
    }
    const running = this.runs.filter((run) => run.state === "running").length;
    this.timer = setTimeout(() => this.again(), running ? EVERY : SELDOM);
    if (!this.runs.length) {
      this.body.hidden = true;
      this.choose([]);
      say(this.note, "");
      fill(this.faults, h("div", { class: "panel empty" }, h("h2", {}, "Nothing was trained here yet"), h("p", {}, "A run shows up as soon as it begins: ", h("code", {}, "quickstudy train --recipe demo"))));
      return;
    }
    this.body.hidden = false;
    say(this.note, `${several(this.runs.length, "run")}${running ? `, ${running} running` : ""}`);
    if (this.asked !== null) {
      const known = this.asked.map((id) => this.runs.find((run) => run.id.startsWith(id))?.id).filter(Boolean);
      this.asked = null;
      this.choose(known.length ? known : [this.runs[0].id]);
    } else {
      this.choose([...this.colours.keys()]); // those that are gone leave the comparison
    }
  }

  /** Looks at the table once more, and at those of the chosen that run again. */
  again() {
    for (const run of this.runs) if (run.state === "running" && !this.watching.has(run.id)) this.details.delete(run.id);
    this.load();
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
    for (const [id, stop] of this.watching) {
      if (this.colours.has(id)) continue;
      stop.abort();
      this.watching.delete(id);
      this.details.delete(id);
    }
    this.table.paint(this.runs, this.colours);
    for (const id of chosen) if (!this.details.has(id)) this.watch(id);
    this.paint();
  }

  /** Reads how a run went so far, and listens to one that runs until it has ended. */
  async watch(id) {
    const stop = new AbortController();
    const { signal } = stop;
    const detail = { config: {}, points: new Map(), metric: null, state: "" };
    this.details.set(id, detail);
    this.watching.set(id, stop);
    try {
      const [run, curve] = await Promise.all([getJson(`/v1/runs/${id}`, signal), getJson(`/v1/runs/${id}/curve`, signal)]);
      signal.throwIfAborted();
      detail.config = run.config;
      this.grow(detail, curve);
      this.paint();
      if (detail.state === "running") await this.listen(id, detail, signal);
    } catch (error) {
      if (signal.aborted) return;
      this.details.delete(id);
      fill(this.faults, trouble(error, () => this.choose([...this.colours.keys()])));
    }
    this.watching.delete(id);
    this.paint();
  }

  /** Takes what a run has to tell; comes again where the line breaks, as long as it runs. */
  async listen(id, detail, signal) {
    let wait = SOONEST;
    for (;;) {
      const heard = await this.hear(id, detail, signal);
      if (detail.state !== "running") break;
      wait = heard ? SOONEST : Math.min(LATEST, 2 * wait);
      await new Promise((resolve) => setTimeout(resolve, wait));
      if (!signal.aborted) await this.load(); // a run that is gone leaves the comparison
      signal.throwIfAborted();
    }
    this.load();
  }

  /** @returns {Promise<boolean>} whether anything came before the line broke or ended. */
  async hear(id, detail, signal) {
    let heard = false;
    try {
      for await (const { event, data } of follow(`/v1/runs/${id}/events`, signal)) {
        if (event === "end") break;
        heard = true;
        this.grow(detail, data);
        this.paint();
      }
    } catch (error) {
      if (signal.aborted || (error instanceof Problem && !passing(error))) throw error;
    }
    return heard;
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
    const all = chosen.map((run, i) => ({ run, label: names[i], metric: this.metric(run) }));
    const metrics = [...new Set(all.map((one) => one.metric))].filter((metric) => metric !== null);
    const wanted = (metrics.length ? metrics : [null]).flatMap((metric, i) => {
      const group = all.filter((one) => one.metric === metric || (one.metric === null && i === 0)); // null: nothing was measured yet
      return [
        { ...chartOf(metric), lines: this.lines(group, "validation"), metric },
        { title: metrics.length > 1 ? `Loss of runs measured by ${metricName(metric)}` : "Loss", about: "mean since the point before", lines: this.lines(group, "loss"), metric: null },
      ];
    });
    this.draw(wanted);
    this.paintOptions(chosen, names);
  }

  metric(run) {
    return this.details.get(run.id)?.metric ?? run.metric ?? null;
  }

  lines(group, what) {
    return group.map(({ run, label }) => {
      const points = [...(this.details.get(run.id)?.points.values() ?? [])].map((point) => ({ step: point.step, value: point[what] ?? null }));
      return {
        label,
        colour: this.colours.get(run.id),
        points: points.filter(({ value }) => value !== null).sort((a, b) => a.step - b.step),
        level: what === "validation" ? run.control : null,
      };
    });
  }

  /** Shows these charts; those that were there before are kept. */
  draw(wanted) {
    const before = this.drawn;
    this.drawn = new Map(wanted.map(({ title, about, metric }) => [title, before.get(title) ?? new Chart({ title, about, marks: metric !== null })]));
    for (const [title, chart] of before) if (!this.drawn.has(title)) chart.end();
    const order = [...this.drawn.values()].map((chart) => chart.element);
    if (order.length !== this.charts.children.length || order.some((one, i) => this.charts.children[i] !== one)) fill(this.charts, ...order);
    for (const { title, lines, metric } of wanted) this.drawn.get(title).show(lines, metric);
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
    const metrics = new Set(chosen.map((run) => run.metric).filter(Boolean));
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
            metrics.size > 1 && result("measured by", (run) => (run.metric ? metricName(run.metric) : "–")),
            ...rows.map(([name, values]) => h("tr", {}, h("th", { scope: "row", class: "mono" }, name), ...values.map((one) => h("td", { class: "mono" }, value(one))))),
          ),
        ),
      ),
    );
  }
}

/** How the chart of a metric is called, and what it shows. */
function chartOf(metric) {
  if (metric === null) return { title: "Meta-validation", about: "nothing was measured yet" };
  const better = lowerIsBetter(metric) ? "lower is better; on tasks never trained on" : "on classes never trained on";
  return { title: `Meta-validation: ${metricName(metric)}`, about: `${better}; dashed: the control` };
}
