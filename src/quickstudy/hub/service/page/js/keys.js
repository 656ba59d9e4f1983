import { h } from "./dom.js";

const NAME = "quickstudy-key";
let memory = null;
let asking = null;

/** The key that goes with requests; it lives as long as the tab. */
export function currentKey() {
  try {
    return sessionStorage.getItem(NAME) ?? memory;
  } catch {
    return memory;
  }
}

function keep(key) {
  memory = key;
  try {
    sessionStorage.setItem(NAME, key);
  } catch {
    // Forbidden storage: the key lives as long as the page.
  }
  document.dispatchEvent(new CustomEvent("keychange"));
}

/**
 * Asks for a key, once however many requests want one.
 *
 * @param {string | null} refused the key that was sent.
 * @param {string} why what the server said.
 * @returns {Promise<boolean>} whether there is another key now.
 */
export async function askKey(refused, why) {
  if (currentKey() !== refused) return true; // entered while this request was under way
  asking ??= open(refused, why).finally(() => (asking = null));
  return asking;
}

function open(refused, why) {
  const input = h("input", { type: "password", id: "key-input", autocomplete: "off", spellcheck: false, required: true, placeholder: "qs_…", maxLength: 200 });
  const cancel = h("button", { class: "button slight", type: "button" }, "Not now");
  const form = h(
    "form",
    {},
    h("h2", { id: "key-title" }, "This server asks for a key"),
    refused && h("p", { class: "trouble", role: "alert" }, why),
    h("p", { class: "soft small", id: "key-why" }, "Whoever runs it makes one: ", h("code", {}, "quickstudy keys create --name me --scope read --scope adapt"), ". The key is kept for this tab only."),
    h("div", { class: "field" }, h("label", { htmlFor: "key-input" }, "API key"), input),
    h("div", { class: "row" }, cancel, h("button", { class: "button main", type: "submit" }, "Use this key")),
  );
  const dialog = h("dialog", { "aria-labelledby": "key-title", "aria-describedby": "key-why" }, form);
  document.body.append(dialog);
  return new Promise((resolve) => {
    let given = false;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      keep(input.value.trim());
      given = true;
      dialog.close();
    });
    cancel.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(given);
    });
    dialog.showModal();
    input.focus();
  });
}

/** Lets the user enter another key. */
export function changeKey() {
  asking ??= open(null, "").finally(() => (asking = null));
  return asking;
}
