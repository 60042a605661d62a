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

function toggleRuns(button) {
  const row = document.getElementById(button.getAttribute("aria-controls"));
  row.hidden = !row.hidden;
  button.setAttribute("aria-expanded", String(!row.hidden));
}

function filterMethods(text) {
  const wanted = text.trim().toLowerCase();
  const bodies = Array.from(document.querySelectorAll("tbody[data-method]"));
  bodies.forEach((body) => { body.hidden = !body.dataset.method.toLowerCase().includes(wanted); });
  const shown = bodies.filter((body) => !body.hidden).length;
  document.getElementById("matches").textContent = wanted ? `${shown} of ${bodies.length} rows shown` : "";
}

function filterGroups(slug) {
  document.querySelectorAll("section.group").forEach((group) => { group.hidden = slug !== "" && group.dataset.group !== slug; });
}

document.querySelectorAll("table.main .sort").forEach((button) => {
  button.addEventListener("click", () => sortTable(button.closest("th")));
});
document.querySelectorAll(".open").forEach((button) => button.addEventListener("click", () => toggleRuns(button)));
document.getElementById("filter").addEventListener("input", (event) => filterMethods(event.target.value));
const groupSelect = document.getElementById("group");
if (groupSelect) groupSelect.addEventListener("change", () => filterGroups(groupSelect.value));
