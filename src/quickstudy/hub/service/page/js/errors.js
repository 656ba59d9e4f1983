import { h } from "./dom.js";
import { icon } from "./icons.js";

/** A request that failed: what the server said, or that it said nothing. */
export class Problem extends Error {
  /**
   * @param {number} status 0 where no answer came.
   * @param {string} detail
   */
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

/** Whether the same request may succeed another time: the server did not answer, was busy or failed. */
export const passing = (error) => error instanceof Problem && (error.status === 0 || error.status === 429 || error.status >= 500);

/** A line that says what went wrong, with a way to try again where there is one. */
export function trouble(error, again) {
  return h(
    "div",
    { class: "trouble", role: "alert" },
    icon("warn"),
    h("p", {}, error instanceof Error ? error.message : String(error)),
    again && h("button", { class: "button", type: "button", on: { click: again } }, "Try again"),
  );
}
