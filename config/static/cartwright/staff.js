// What the theme of the staff pages opens by a click opens by the keyboard too, and says what it is.
const ICON = "material-symbols-outlined";

// The text of an element without its pictures, which are words to a screen reader.
const wordsOf = (element) => {
  const copy = element.cloneNode(true);
  for (const icon of copy.querySelectorAll(`.${ICON}`)) icon.remove();
  return element.classList.contains(ICON) ? "" : copy.textContent.trim();
};

// What only a picture says is said in words too.
const giveName = (element) => {
  if (element.getAttribute("aria-label") || element.title || wordsOf(element)) return;
  const icon = element.classList.contains(ICON) ? element : element.querySelector(`.${ICON}`);
  const words = document.getElementById("staff-words")?.dataset;
  if (icon && words) element.setAttribute("aria-label", words[icon.textContent.trim()] ?? words.more);
};

const makeButton = (element) => {
  giveName(element);
  element.setAttribute("role", "button");
  element.tabIndex = 0;
  element.addEventListener("keydown", (event) => {
    if (event.target === element && (event.key === "Enter" || event.key === " ")) {
      event.preventDefault();
      element.click();
    }
  });
};

document.addEventListener("DOMContentLoaded", () => {
  // The browser shows by itself which files are chosen; the theme would write it into a field that is not there.
  for (const input of document.querySelectorAll("input[type=file].staff-files")) input.hasChangeListener = true;
  for (const element of document.querySelectorAll("[x-on\\:click]")) {
    const isOperable = element.matches("a[href], button, input, select, textarea, summary, label, td, [tabindex]");
    const isBackdrop = element.id === "changelist-filter-close";
    if (!isOperable && !isBackdrop && !element.querySelector("a, button, input")) makeButton(element);
  }
  for (const element of document.querySelectorAll("button, a[href]")) {
    if (element.querySelector(`.${ICON}`) && !element.querySelector("img")) giveName(element);
  }
  for (const icon of document.querySelectorAll(`span.${ICON}:not([role])`)) icon.setAttribute("aria-hidden", "true");
});

// The search in a list of choices is named as its field is, as soon as it is there.
const nameChoices = () => {
  for (const box of document.querySelectorAll(".select2-selection:not([data-named])")) {
    const select = box.closest(".select2")?.previousElementSibling;
    const label = select?.id && document.querySelector(`label[for="${select.id}"]`);
    if (!label) continue;
    label.id ||= `label-of-${select.id}`;
    const shown = box.querySelector(".select2-selection__rendered");
    box.dataset.named = "yes";
    box.setAttribute("aria-labelledby", `${label.id} ${shown?.id ?? ""}`.trim());
    shown?.setAttribute("aria-labelledby", label.id);
  }
};

document.addEventListener("DOMContentLoaded", () => {
  nameChoices();
  new MutationObserver(nameChoices).observe(document.body, { childList: true, subtree: true });
});

// Return takes the first thing that was found, and nothing when there is none: the theme would look for the one before it.
document.addEventListener(
  "keydown",
  (event) => {
    if (event.key !== "Enter" || event.target.id !== "search-input-command") return;
    const search = window.Alpine.$data(event.target);
    if (search.items?.length) search.currentIndex ||= 1;
    else event.stopImmediatePropagation();
  },
  true,
);
