// What the theme of the staff pages opens by a click opens by the keyboard too, and its pictures are not read out as words.
document.addEventListener("DOMContentLoaded", () => {
  for (const icon of document.querySelectorAll("span.material-symbols-outlined")) {
    if (!icon.hasAttribute("x-on:click")) icon.setAttribute("aria-hidden", "true");
  }
  for (const each of document.querySelectorAll("[x-on\\:click]")) {
    const isOperable = each.matches("a[href], button, input, select, textarea, summary, label, [tabindex]");
    const hasName = each.getAttribute("aria-label") || each.title || each.innerText.trim();
    if (isOperable || !hasName || each.querySelector("a, button, input")) continue;
    each.setAttribute("role", "button");
    each.tabIndex = 0;
    each.addEventListener("keydown", (event) => {
      if (event.target === each && (event.key === "Enter" || event.key === " ")) {
        event.preventDefault();
        each.click();
      }
    });
  }
});
