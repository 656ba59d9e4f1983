/**
 * An element.
 *
 * @param {string} tag
 * @param {Record<string, unknown>} [props] `class`, `on` (listeners by event), `data`, properties
 *   that the element has, and attributes; null and undefined leave both out, false an attribute.
 * @param {...(Node | string | number | null | undefined | false)} children
 * @returns {any}
 */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined) continue;
    if (name === "class") element.className = String(value);
    else if (name === "on") for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    else if (name === "data") Object.assign(element.dataset, value);
    else if (name in element && !name.startsWith("aria") && name !== "role" && name !== "list") element[name] = value;
    else if (value !== false) element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Puts these in place of all children. */
export function fill(element, ...children) {
  element.replaceChildren(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Sets a text only where it changed, so that live regions speak once. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Whether the user asked for less motion. */
export const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

/** The colour that a token has in the theme that is shown: canvases cannot read light-dark(). */
export function colour(token) {
  const probe = document.body.appendChild(h("span", { hidden: true }));
  probe.style.color = `var(--${token})`;
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

/** Calls back whenever the theme changes, by the toggle or the system; returns the way to stop. */
export function onTheme(callback) {
  const system = matchMedia("(prefers-color-scheme: dark)");
  system.addEventListener("change", callback);
  document.addEventListener("themechange", callback);
  return () => {
    system.removeEventListener("change", callback);
    document.removeEventListener("themechange", callback);
  };
}
