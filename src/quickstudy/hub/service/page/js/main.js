import { fill, h } from "./dom.js";
import { trouble } from "./errors.js";
import { icon } from "./icons.js";
import { changeKey, currentKey } from "./keys.js";

/** Views by name: each is loaded when it is first looked at. */
const VIEWS = {
  try: { title: "Try it", load: () => import("./try.js") },
  runs: { title: "Runs", load: () => import("./runs.js") },
  models: { title: "Models", load: () => import("./models.js") },
};
const main = document.getElementById("main");
let leave = () => {};
let shown = null;
let first = true;
let turn = 0;

/** @returns {{name: string, rest: string}} what the address asks for. */
function route() {
  const [name, ...rest] = location.hash.replace(/^#\/?/, "").split("/");
  return { name: Object.hasOwn(VIEWS, name) ? name : "try", rest: decoded(rest.join("/")) };
}

/** A part of an address as it was before it was encoded; as it is where it never was. */
function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

async function show() {
  if (location.hash === "#main") return;
  const { name, rest } = route();
  const mine = ++turn;
  for (const link of document.querySelectorAll(".views a")) {
    if (link.dataset.view === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (shown !== name) {
    leave(); // what is not highlighted is not shown either, however long its successor takes to load
    leave = () => {};
    shown = null;
    main.setAttribute("aria-busy", "true");
    fill(main);
  }
  document.title = `${VIEWS[name].title} · quickstudy`;
  try {
    const view = await VIEWS[name].load();
    if (mine !== turn) return;
    if (shown === name && view.moved?.(rest)) return;
    leave();
    leave = () => {};
    const place = h("div", { class: `view view-${name}` });
    fill(main, place);
    leave = view.enter(place, rest) ?? (() => {});
    shown = name;
    main.removeAttribute("aria-busy");
    if (!first) {
      main.focus({ preventScroll: true });
      scrollTo(0, 0);
    }
    first = false;
  } catch (error) {
    if (mine !== turn) return;
    main.removeAttribute("aria-busy");
    fill(main, trouble(error, () => location.reload()));
  }
}

const dark = matchMedia("(prefers-color-scheme: dark)");
const toggle = document.getElementById("theme");
const isDark = () => (document.documentElement.dataset.theme ?? (dark.matches ? "dark" : "light")) === "dark";

function paintToggle() {
  fill(toggle, icon(isDark() ? "sun" : "moon"));
  toggle.setAttribute("aria-pressed", String(isDark()));
}

toggle.addEventListener("click", () => {
  const chosen = isDark() ? "light" : "dark";
  document.documentElement.dataset.theme = chosen;
  try {
    localStorage.setItem("quickstudy-theme", chosen);
  } catch {
    // Forbidden storage: the choice lasts as long as the page.
  }
  paintToggle();
  document.dispatchEvent(new CustomEvent("themechange"));
});
dark.addEventListener("change", paintToggle);
paintToggle();

const key = document.getElementById("key");
fill(key, icon("key"));
key.hidden = currentKey() === null;
key.addEventListener("click", async () => {
  if (await changeKey()) location.reload();
});
document.addEventListener("keychange", () => (key.hidden = false));

document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
addEventListener("hashchange", show);
show();
fetch("/openapi.json")
  .then((answer) => answer.json())
  .then((about) => (document.getElementById("version").textContent = `quickstudy ${about.info.version}`))
  .catch(() => undefined);
