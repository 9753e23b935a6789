// What the page shares with Airflow's UI, whose frame it may stand in: the theme, and links out of it.

/** The window of Airflow's UI; null where the page stands alone. */
const outside = (() => {
  try {
    return window.parent !== window && window.parent.document ? window.parent : null;
  } catch {
    return null;
  }
})();

export const isInAirflow = outside !== null;

/** Follows Airflow's theme, else that of the system; calls back after each change. */
export function followTheme(changed) {
  const root = document.documentElement;
  const apply = () => {
    const classes = outside?.document.documentElement.classList;
    if (classes?.contains("dark")) root.dataset.theme = "dark";
    else if (classes?.contains("light")) root.dataset.theme = "light";
    else delete root.dataset.theme;
    changed();
  };
  if (outside) {
    new MutationObserver(apply).observe(outside.document.documentElement, {
      attributes: true,
      attributeFilter: ["class"],
    });
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", apply);
  apply();
}

/** The address of a path of Airflow's UI, such as /dags/x; it may lie below a path of its own. */
export const address = (path) => new URL(`..${path}`, document.baseURI).href;

/**
 * Lets a click on a link lead all of Airflow's UI there. The frame is a sandbox that may neither
 * leave itself nor open windows, so the link is followed by the page around it.
 */
export function leaveFrame(event) {
  if (!outside) return;
  event.preventDefault();
  const link = outside.document.createElement("a");
  link.href = event.currentTarget.href;
  if (event.ctrlKey || event.metaKey || event.shiftKey) {
    link.target = "_blank";
    link.rel = "noopener";
  }
  link.click();
}
