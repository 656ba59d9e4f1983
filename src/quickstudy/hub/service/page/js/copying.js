import { h } from "./dom.js";
import { icon } from "./icons.js";

/** Code with a button that copies it, and says so. */
export function code(text, label) {
  const button = h("button", { class: "icon-button", type: "button", "aria-label": `Copy ${label}`, title: "Copy" }, icon("copy"));
  const said = h("span", { class: "sr", role: "status" });
  let timer;
  button.addEventListener("click", async () => {
    const done = await copy(text);
    button.replaceChildren(icon(done ? "done" : "warn"));
    button.classList.toggle("done", done);
    said.textContent = done ? "Copied" : "The browser did not allow copying";
    clearTimeout(timer);
    timer = setTimeout(() => {
      button.replaceChildren(icon("copy"));
      button.classList.remove("done");
      said.textContent = "";
    }, 1800);
  });
  return h("div", { class: "code" }, h("pre", { tabIndex: 0, role: "region", "aria-label": label }, h("code", {}, text)), button, said);
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyOld(text);
  }
}

/** Without HTTPS, away from this machine, browsers have no clipboard but this one. */
function copyOld(text) {
  const area = h("textarea", { value: text, class: "sr", readOnly: true });
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done;
}
