import { getJson } from "./api.js";
import { code } from "./copying.js";
import { fill, h } from "./dom.js";
import { trouble } from "./errors.js";
import { count, duration, measure, value } from "./format.js";
import { adaptSnippets } from "./snippets.js";

/** Shows the view; returns the way to leave it. */
export function enter(place) {
  const stopping = new AbortController();
  const body = h("div", { class: "models" });
  fill(
    place,
    h("div", { class: "lead" }, h("div", { class: "lead-text" }, h("h1", {}, "Models"), h("p", {}, "What this server adapts: how well each does on classes it has never seen, beside a control that learns nothing, and where it comes from."))),
    body,
  );
  const load = async () => {
    try {
      const { models } = await getJson("/v1/models", stopping.signal);
      fill(body, ...models.map(card));
    } catch (error) {
      if (error.name !== "AbortError") fill(body, trouble(error, load));
    }
  };
  load();
  return () => stopping.abort();
}

function card(model) {
  const title = `model-${model.name}`;
  const drawn = model.reads === "images" && model.targets === "classes";
  return h(
    "article",
    { class: "model panel", "aria-labelledby": title },
    h(
      "header",
      { class: "model-head" },
      h("div", {}, h("h2", { id: title }, model.name), h("p", { class: "soft" }, about(model))),
      drawn && h("a", { class: "button main", href: `#/try/${encodeURIComponent(model.name)}` }, "Try it"),
    ),
    h("div", { class: "model-parts" }, h("div", { class: "model-left" }, scores(model), lineage(model)), snippets(model)),
  );
}

function about(model) {
  const takes = {
    images: model.input_shape ? `images of ${model.input_shape[1]}×${model.input_shape[2]} pixels, ${model.input_shape[0] === 1 ? "grey" : "in colour"}` : "images",
    table: `tables with ${(model.features ?? []).join(", ")}`,
    numbers: model.input_shape ? `numbers, ${model.input_shape.join("×")}` : "numbers",
  }[model.reads];
  return `${model.learner} · reads ${takes}${model.transductive ? " · transductive: queries of one request influence each other" : ""}`;
}

/** The score and its control as bars on one scale, with their intervals. */
function scores(model) {
  const { validation, control } = model.metrics;
  if (!validation) return h("p", { class: "soft" }, "No meta-validation was kept with this model.");
  const metric = validation.metric;
  const share = metric === "accuracy";
  const most = share ? 1 : Math.max(validation.mean, control?.mean ?? 0) * 1.1 || 1;
  const rows = [
    [model.learner, validation, "0"],
    [control ? `control (${control.name})` : "control", control, "7"],
  ].filter(([, score]) => score);
  const setting = [validation.ways && `${validation.ways}-way`, validation.shots && `${validation.shots}-shot`, validation.tasks && `${count(validation.tasks)} tasks`].filter(Boolean).join(", ");
  return h(
    "section",
    { class: "scores" },
    h("h3", {}, `Meta-validation, ${metric}`),
    h("p", { class: "big number" }, measure(validation.mean, metric), validation.interval95 !== undefined && h("span", { class: "soft" }, ` ± ${measure(validation.interval95, metric)}`)),
    h("p", { class: "soft small" }, setting),
    h(
      "ul",
      { class: "score-bars" },
      ...rows.map(([label, score, colour]) => {
        const filled = h("span", { class: "bar-fill" });
        filled.style.transform = `translateX(${100 * (Math.min(1, score.mean / most) - 1)}%)`;
        return h("li", { data: { colour } }, h("span", {}, label), h("span", { class: "bar-track", "aria-hidden": "true" }, filled), h("span", { class: "number" }, measure(score.mean, metric)));
      }),
    ),
    share && validation.ways && h("p", { class: "soft small" }, `Guessing gets ${measure(1 / validation.ways, metric)}.`),
  );
}

function lineage(model) {
  const { config = {}, steps, seconds, device, stopped_early: early } = model.training;
  const facts = [
    ["Data", config.data],
    ["Steps", steps === undefined ? null : `${count(steps)}${early ? ", stopped early" : ""}`],
    ["Time", seconds === undefined ? null : `${duration(seconds)}${device ? ` on ${device}` : ""}`],
    ["Recipe", config.recipe],
    ["Digest", h("code", { title: model.digest }, model.digest.slice(0, 12))],
  ].filter(([, fact]) => fact !== null && fact !== undefined);
  const options = Object.entries(config).filter(([, one]) => one !== null && JSON.stringify(one) !== "{}");
  return h(
    "section",
    { class: "lineage" },
    h("h3", {}, "Where it comes from"),
    h("dl", {}, ...facts.flatMap(([name, fact]) => [h("dt", {}, name), h("dd", {}, fact)])),
    options.length > 0 && h("details", {}, h("summary", {}, `All ${options.length} options of its run`), h("dl", { class: "mono" }, ...options.flatMap(([name, one]) => [h("dt", {}, name), h("dd", {}, value(one))]))),
  );
}

function snippets(model) {
  return h("section", { class: "snippets" }, h("h3", {}, "From your own code"), ...adaptSnippets(model).map(({ name, label, text }) => h("div", {}, h("p", { class: "small soft" }, name), code(text, `${label} for ${model.name}`))));
}
