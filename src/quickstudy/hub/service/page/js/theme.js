// Runs before the first paint, so that a chosen theme never flashes past in the other one.
(() => {
  try {
    const chosen = localStorage.getItem("quickstudy-theme");
    if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen;
  } catch {
    // Storage can be forbidden; the system's theme is shown then.
  }
})();
