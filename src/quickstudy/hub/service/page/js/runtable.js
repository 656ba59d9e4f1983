import { fill, h } from "./dom.js";
import { count, duration, leaf, measure, moment } from "./format.js";

const KINDS = { running: "busy", finished: "good", failed: "bad", stopped: "warn", missing: "" };

/** A run's state as a chip. */
export const chip = (state) => h("span", { class: `chip ${KINDS[state] ?? ""}` }, state);

/** The table of runs; rows are kept from one look to the next, so that the focus stays. */
export class RunTable {
  /** @param {(id: string, on: boolean) => void} chosen */
  constructor(chosen) {
    this.chosen = chosen;
    this.rows = new Map();
    this.body = h("tbody");
    const heads = [["", "Compare"], ["Run"], ["State"], ["Validation", null, "right"], ["Control", null, "right control"], ["Steps", null, "right wide"], ["Time", null, "right wide"], ["Began", null, "right wide"]];
    this.element = h(
      "div",
      { class: "table-frame panel", tabIndex: 0, role: "region", "aria-label": "Runs" },
      h("table", { class: "runs" }, h("thead", {}, h("tr", {}, ...heads.map(([text, hidden, kind]) => h("th", { scope: "col", class: kind }, hidden ? h("span", { class: "sr" }, hidden) : text)))), this.body),
    );
  }

  /**
   * @param {any[]} runs
   * @param {Map<string, number>} colours of those that are compared.
   */
  paint(runs, colours) {
    const kept = new Map();
    for (const run of runs) kept.set(run.id, this.rows.get(run.id) ?? this.row(run));
    this.rows = kept;
    const order = [...kept.values()].map((row) => row.element);
    if (order.length !== this.body.children.length || order.some((one, i) => this.body.children[i] !== one)) fill(this.body, ...order);
    for (const run of runs) this.update(kept.get(run.id), run, colours.get(run.id));
  }

  row(run) {
    const box = h("input", { type: "checkbox", "aria-label": `Compare ${leaf(run.folder)}, ${run.learner}` });
    box.addEventListener("change", () => this.chosen(run.id, box.checked));
    const cells = Array.from({ length: 8 }, (_, i) => h(i === 1 ? "th" : "td", { class: i > 2 ? `number right${i > 4 ? " wide" : ""}${i === 4 ? " control" : ""}` : "", scope: i === 1 ? "row" : null }));
    fill(cells[0], box);
    const element = h("tr", { data: { run: run.id } }, ...cells);
    element.addEventListener("click", (event) => {
      if (event.target === box || getSelection()?.toString()) return;
      this.chosen(run.id, !box.checked);
    });
    return { element, cells, box, said: "" };
  }

  update(row, run, colour) {
    row.box.checked = colour !== undefined;
    row.element.classList.toggle("chosen", colour !== undefined);
    if (colour === undefined) delete row.element.dataset.colour;
    else row.element.dataset.colour = colour;
    const said = JSON.stringify(run);
    if (row.said === said) return;
    row.said = said;
    const data = run.recipe ? `${run.data} · ${run.recipe}` : run.data;
    fill(row.cells[1], h("span", { class: "run-name", title: run.folder }, leaf(run.folder)), h("span", { class: "small soft run-about" }, `${run.learner} · ${data}`));
    fill(row.cells[2], chip(run.state));
    const beside = run.control === null ? null : h("span", { class: "under small soft" }, `control ${measure(run.control, run.metric)}`);
    fill(row.cells[3], measure(run.validation, run.metric), beside);
    fill(row.cells[4], measure(run.control, run.metric));
    fill(row.cells[5], run.step === null || run.step === run.steps ? count(run.steps) : `${count(run.step)} of ${count(run.steps)}`);
    fill(row.cells[6], duration(run.seconds));
    fill(row.cells[7], moment(run.began));
  }
}
