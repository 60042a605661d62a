"use strict";

function sortKey(body, column) {
  const cell = body.rows[0].cells[column];
  const text = cell.dataset.sort;
  const number = Number(text);
  return text === "" ? null : Number.isNaN(number) ? text : number;
}

function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b));
}

function sortTable(header) {
  const table = header.closest("table");
  const descending = header.getAttribute("aria-sort") === "ascending";
  const column = header.cellIndex;
  const bodies = Array.from(table.tBodies);
  bodies.sort((left, right) => {
    const a = sortKey(left, column);
    const b = sortKey(right, column);
    if (a === null || b === null) return (a === null) - (b === null);
    return descending ? compare(b, a) : compare(a, b);
  });
  table.querySelectorAll(":scope > thead th").forEach((other) => other.removeAttribute("aria-sort"));
  header.setAttribute("aria-sort", descending ? "descending" : "ascending");
  bodies.forEach((body) => table.append(body));
}

function setOpen(row, open) {
  row.hidden = !open;
  document.querySelector(`.open[aria-controls="${row.id}"]`).setAttribute("aria-expanded", String(open));
}

function filterMethods(text) {
  const wanted = text.trim().toLowerCase();
  const bodies = Array.from(document.querySelectorAll("tbody[data-method]"));
  bodies.forEach((body) => { body.hidden = !body.dataset.method.toLowerCase().includes(wanted); });
  const rows = bodies.filter((body) => body.closest(".group"));
  const shown = rows.filter((body) => !body.hidden).length;
  document.getElementById("matches").textContent = wanted ? `${shown} of ${rows.length} rows shown` : "";
}

function filterGroups(slug) {
  document.querySelectorAll("section.overview").forEach((part) => { part.hidden = slug !== ""; });
  document.querySelectorAll("section.group").forEach((group) => { group.hidden = slug !== "" && group.dataset.group !== slug; });
}

/* A link to a cell, from the overview or from elsewhere, opens its runs. */
function followHash() {
  const row = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!row || !row.classList.contains("runs")) return;
  row.closest("section").hidden = false;
  row.closest("tbody").hidden = false;
  setOpen(row, true);
  const button = document.querySelector(`.open[aria-controls="${row.id}"]`);
  button.focus({ preventScroll: true });
  button.closest("tr").scrollIntoView({ block: "start" });
}

/* On a large page figures are stored compressed; one that cannot be unpacked stays the file in the folder beside the page. */
async function unpack(image) {
  const bytes = Uint8Array.from(atob(image.dataset.svg), (character) => character.charCodeAt(0));
  delete image.dataset.svg;
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  image.outerHTML = await new Response(stream).text();
}

const seen = new IntersectionObserver((entries) => {
  entries.filter((entry) => entry.isIntersecting).forEach((entry) => {
    seen.unobserve(entry.target);
    unpack(entry.target);
  });
}, { rootMargin: "800px" });
if ("DecompressionStream" in window) document.querySelectorAll("img[data-svg]").forEach((image) => seen.observe(image));

const THEMES = ["", "light", "dark"];
const theme = document.getElementById("theme");

function stored(value) {
  try {
    if (value === undefined) return localStorage.getItem("smilebench-theme") || "";
    localStorage.setItem("smilebench-theme", value);
  } catch { /* a browser that forbids storage forgets the choice */ }
  return value || "";
}

function setTheme(name) {
  if (name) document.documentElement.dataset.theme = name;
  else delete document.documentElement.dataset.theme;
  theme.textContent = `Colours: ${name || "as the system"}`;
}

theme.addEventListener("click", () => {
  const next = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme || "") + 1) % THEMES.length];
  setTheme(stored(next));
});
setTheme(stored());

document.querySelectorAll("table.main .sort").forEach((button) => {
  button.addEventListener("click", () => sortTable(button.closest("th")));
});
document.querySelectorAll(".open").forEach((button) => {
  const row = document.getElementById(button.getAttribute("aria-controls"));
  button.addEventListener("click", () => setOpen(row, row.hidden));
});
document.getElementById("filter").addEventListener("input", (event) => filterMethods(event.target.value));
const groupSelect = document.getElementById("group");
if (groupSelect) groupSelect.addEventListener("change", () => filterGroups(groupSelect.value));
window.addEventListener("hashchange", followHash);
followHash();
