import { colour, h, onTheme } from "./dom.js";
import { measure } from "./format.js";
import uPlot from "../vendor/uPlot.esm.js";

const HEIGHT = 260;

/**
 * A chart of one number of several runs over their steps.
 *
 * A line is {label, colour (0..7), points: {step, value}[], level: a dashed control or null}.
 */
export class Chart {
  /** @param {{title: string, about: string, metric?: string | null, marks?: boolean}} options */
  constructor({ title, about, metric = null, marks = false }) {
    Object.assign(this, { title, metric, marks });
    this.lines = [];
    this.hole = h("div", { class: "chart-hole", role: "img" });
    this.element = h("figure", { class: "chart panel" }, h("figcaption", {}, h("h3", {}, title), h("span", { class: "small soft" }, about)), this.hole);
    this.sizes = new ResizeObserver(() => this.fit());
    this.sizes.observe(this.hole);
    this.stop = onTheme(() => this.build());
  }

  end() {
    this.stop();
    this.sizes.disconnect();
    this.plot?.destroy();
  }

  /** Shows these lines. */
  show(lines, metric) {
    const sort = (all) => all.map((line) => `${line.label}|${line.colour}|${line.level}`).join();
    const same = this.plot && sort(lines) === sort(this.lines) && metric === this.metric;
    this.lines = lines;
    this.metric = metric;
    this.hole.setAttribute("aria-label", this.told());
    if (same) this.plot.setData(this.table());
    else this.build();
  }

  /** The chart in words. */
  told() {
    const each = this.lines.map(({ label, points, level }) => {
      const last = points.at(-1);
      const control = level === null ? "" : `, control ${measure(level, this.metric)}`;
      return last ? `${label}: ${measure(last.value, this.metric)} at step ${last.step}${control}` : `${label}: nothing yet`;
    });
    return `${this.title} over steps. ${each.join("; ")}`;
  }

  fit() {
    const width = this.hole.clientWidth;
    if (!width) return;
    if (this.plot) this.plot.setSize({ width, height: HEIGHT });
    else this.build();
  }

  /** Columns as uPlot takes them: the steps of all lines, then a value or null of each. */
  table() {
    const steps = [...new Set(this.lines.flatMap(({ points }) => points.map(({ step }) => step)))].sort((a, b) => a - b);
    const columns = this.lines.flatMap(({ points, level }) => {
      const values = new Map(points.map(({ step, value }) => [step, value]));
      const own = steps.map((step) => values.get(step) ?? null);
      return level === null ? [own] : [own, steps.map(() => level)];
    });
    return [steps, ...columns];
  }

  build() {
    this.plot?.destroy();
    this.plot = null;
    const width = this.hole.clientWidth;
    if (!width || !this.lines.length) return;
    const format = (value) => measure(value, this.metric);
    const axis = { stroke: colour("soft"), grid: { stroke: colour("line"), width: 1 }, ticks: { stroke: colour("line"), width: 1, size: 4 }, font: "12px system-ui, sans-serif" };
    const series = this.lines.flatMap((line) => {
      const stroke = colour(`c${line.colour}`);
      const own = { label: line.label, stroke, width: 2, spanGaps: true, points: { show: this.marks, size: 6, fill: stroke }, value: (_, value) => (value === null ? "–" : format(value)) };
      const level = { label: `${line.label}, control`, stroke, width: 1.5, dash: [6, 5], points: { show: false }, value: (_, value) => (value === null ? "–" : format(value)) };
      return line.level === null ? [own] : [own, level];
    });
    const options = {
      width, height: HEIGHT, series: [{ label: "step", value: (_, step) => (step === null ? "–" : String(step)) }, ...series],
      scales: { x: { time: false } },
      axes: [{ ...axis, size: 34 }, { ...axis, size: 58, values: (_, ticks) => ticks.map((tick) => (this.metric === "accuracy" ? `${+(100 * tick).toFixed(2)} %` : String(+tick.toPrecision(4)))) }],
      cursor: { drag: { x: true, y: false }, points: { size: 7 } },
      legend: {
        markers: {
          width: (_, i) => (series[i - 1]?.dash ? 1.5 : 0),
          dash: () => "dashed",
          stroke: (_, i) => series[i - 1]?.stroke,
          fill: (_, i) => (series[i - 1]?.dash ? "transparent" : series[i - 1]?.stroke),
        },
      },
    };
    this.plot = new uPlot(options, this.table(), this.hole);
  }
}
