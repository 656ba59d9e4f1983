import { drop } from "./api.js";

const NAME = "quickstudy-lesson";

/**
 * Keeps what is taught for as long as the tab: a page that is loaded again, by mistake or by a thumb,
 * finds its drawings, and the server learns them again.
 *
 * @param {import("./lesson.js").Lesson} lesson an empty one.
 */
export function keep(lesson) {
  try {
    const kept = JSON.parse(sessionStorage.getItem(NAME));
    sessionStorage.removeItem(NAME); // a tab that this one opens would find it as well
    if (kept) {
      lesson.restore(kept);
      if (kept.known) drop(`/v1/adapted/${kept.known}`);
    }
  } catch {
    // Forbidden storage, or another release's lesson: one begins anew.
  }
  addEventListener("pagehide", () => store(lesson));
  // A phone may end a page that nobody looks at without another word.
  document.addEventListener("visibilitychange", () => document.visibilityState === "hidden" && store(lesson));
}

function store(lesson) {
  try {
    sessionStorage.removeItem(NAME); // better none than an old one, where there is no room
    const taught = lesson.classes.some((one) => one.name || one.examples.length);
    if (taught) sessionStorage.setItem(NAME, JSON.stringify(lesson.kept()));
  } catch {
    // No room, or forbidden.
  }
}
