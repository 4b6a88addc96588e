// Pages of the browsable API: what its answers name becomes a link, and its forms are sent as the API reads them.
// (In a function: after a form is sent, REST framework writes the page anew into the same window.)
(() => {
// The API reads JSON and URL-encoded bodies; only these forms have files.
for (const form of document.querySelectorAll('form[enctype="multipart/form-data"]')) {
  if (!form.querySelector('[type="file"]')) form.enctype = "application/x-www-form-urlencoded";
}

const ID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}";
const ROOT = "/api/v1/";
// A field → the list that has what it names.
const LISTS = {
  product_id: "products", category_id: "categories", parent_id: "categories", order_id: "orders",
  user_id: "users", actor_id: "users",
};
// A thing's own address → what there is below it.
const BELOW = {
  orders: ["status", "timeline", "refunds", "pay", "cancel"],
  products: ["variants", "stock", "stock/movements", "images"],
};

const here = location.pathname;
const list = (here.match(new RegExp(`^${ROOT}(products|categories|orders|users)(?:/(?:search|popular|user/${ID}))?$`)) || [])[1];
const thing = here.match(new RegExp(`^${ROOT}(products|orders)/(${ID})(/.*)?$`));

function link(address, text) {
  const anchor = document.createElement("a");
  anchor.href = address;
  anchor.textContent = text;
  return anchor;
}

// `"product_id": "0193…"` in the answer: the id becomes a link.
function linkIds(answer) {
  const walker = document.createTreeWalker(answer, NodeFilter.SHOW_TEXT);
  const texts = [];
  while (walker.nextNode()) texts.push(walker.currentNode);
  let depth = 0;
  let name = "";
  for (const node of texts) {
    const text = node.data;
    const value = text.match(/^"(.*)"$/);
    if (value && /^\s*:/.test(following(node, texts))) name = value[1];
    else if (value && new RegExp(`^${ID}$`).test(value[1])) {
      const place = LISTS[name] || (name === "id" && list && depth === 3 ? list : "");
      if (place) node.replaceWith('"', link(`${ROOT}${place}/${value[1]}`, value[1]), '"');
    }
    for (const character of text.replace(/"(\\.|[^"\\])*"/g, "")) {
      if ("{[".includes(character)) depth += 1;
      if ("}]".includes(character)) depth -= 1;
    }
  }
}

function following(node, texts) {
  return texts.slice(texts.indexOf(node) + 1, texts.indexOf(node) + 3).map((each) => each.data).join("");
}

function showWhatIsBelow() {
  const title = document.querySelector(".page-header");
  if (!thing || !title) return;
  const home = `${ROOT}${thing[1]}/${thing[2]}`;
  const links = document.createElement("nav");
  links.className = "below";
  links.setAttribute("aria-label", "What belongs to it");
  const whole = thing[1] === "orders" ? "The order" : "The product";
  for (const [address, text] of [[home, whole], ...BELOW[thing[1]].map((name) => [`${home}/${name}`, name])]) {
    const anchor = link(address, text);
    if (here === address) anchor.setAttribute("aria-current", "page");
    links.append(anchor);
  }
  title.after(links);
}

// What REST framework's templates leave without a name, for people who hear the page.
function nameThings() {
  document.documentElement.lang = "en";
  for (const button of document.querySelectorAll(".dropdown-toggle")) {
    if (!button.textContent.trim()) button.setAttribute("aria-label", button.dataset.originalTitle || button.title || "More");
  }
  for (const gap of document.querySelectorAll(".pagination a[href='#']")) {
    gap.setAttribute("aria-label", "Pages between");
  }
  for (const arrow of document.querySelectorAll(".pagination a")) {
    if (arrow.textContent.trim() === "«") arrow.setAttribute("aria-label", "Previous page");
    if (arrow.textContent.trim() === "»") arrow.setAttribute("aria-label", "Next page");
  }
  for (const group of document.querySelectorAll(".form-group")) {
    const label = group.querySelector("label");
    const field = group.querySelector("input, select, textarea");
    if (label && field && !field.labels.length) field.setAttribute("aria-label", label.textContent.trim());
  }
}

// After REST framework's own script, which gives the answer its colours.
jQuery(() => {
  for (const answer of document.querySelectorAll(".response-info pre")) {
    // It scrolls, so that people without a mouse must reach it.
    answer.tabIndex = 0;
    linkIds(answer);
  }
  for (const request of document.querySelectorAll(".request-info pre")) request.tabIndex = 0;
});
showWhatIsBelow();
nameThings();
})();
