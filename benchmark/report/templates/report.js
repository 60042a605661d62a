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
  const { svg } = image.dataset;
  if (!svg) return; // the observer may tell of an image twice
  const bytes = Uint8Array.from(atob(svg), (character) => character.charCodeAt(0));
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

/* The comparison of two methods: the same drawing as the one that the page comes with. */
function axisScale(values) {
  const low = Math.min(...values);
  const high = Math.max(...values);
  const raw = Math.max(high - low, 0.1) / 4;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= raw);
  return [step * Math.floor(low / step), step * (Math.floor(high / step) + 1), step];
}

// Two decimals; a half is rounded up whatever the order of the sum that it comes from, as in seed_pairs.py.
function hundredths(value) {
  return (value + 1e-9).toFixed(2);
}

function signed(value) {
  const text = hundredths(Math.abs(value));
  return Number(text) === 0 ? text : (value > 0 ? "+" : "−") + text;
}

function pairedSeeds(left, right) {
  if (left.name === right.name) return [[], "Choose two methods."];
  const shared = Object.keys(left.seeds).filter((seed) => seed in right.seeds).sort((a, b) => a - b);
  const differing = shared.filter((seed) => left.seeds[seed][1] !== right.seeds[seed][1]);
  if (!shared.length) return [[], `${left.name} and ${right.name} have no finished seed in common here.`];
  if (differing.length) return [[], `Not paired: trained on different images at seed ${differing.join(", ")}.`];
  return [shared.map((seed) => [`seed ${seed}`, left.seeds[seed][0], right.seeds[seed][0]]), ""];
}

function differenceSentence(left, right, rows, quantiles) {
  const differences = rows.map((row) => row[1] - row[2]);
  const n = differences.length;
  const mean = differences.reduce((sum, value) => sum + value, 0) / n;
  const text = `${left.name} − ${right.name}: ${signed(mean)} points`;
  if (n === 1) return `${text}, one pair of seeds: no interval.`;
  const sd = Math.sqrt(differences.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (n - 1));
  const half = quantiles[n] * sd / Math.sqrt(n);
  return `${text} [${signed(mean - half)}, ${signed(mean + half)}], ${n} pairs of seeds.`;
}

function svgElement(name, attributes, text) {
  const element = document.createElementNS(document.getElementById("pair").namespaceURI, name);
  Object.entries(attributes).forEach(([key, value]) => element.setAttribute(key, value));
  if (text !== undefined) element.textContent = text;
  return element;
}

function pairDot(x, y, method, name, value, hollow) {
  const look = hollow ? { r: 4.25, class: "hollow", style: `--mark: ${method.colour}` } : { r: 5, fill: method.colour };
  const dot = svgElement("circle", { cx: x.toFixed(1), cy: y, ...look });
  dot.append(svgElement("title", {}, `${method.name}, ${name}: ${hundredths(value)} %`));
  return dot;
}

function drawPair(left, right, rows, sizes) {
  const [low, high, step] = axisScale(rows.flatMap((row) => row.slice(1)));
  const place = (value) => sizes.left + (value - low) / (high - low) * (sizes.width - sizes.left - sizes.right);
  const bottom = sizes.row * rows.length;
  const decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const parts = [];
  for (let number = 0; number <= Math.round((high - low) / step); number += 1) {
    const x = place(low + step * number).toFixed(1);
    parts.push(svgElement("line", { class: "grid", x1: x, x2: x, y1: 0, y2: bottom }));
    parts.push(svgElement("text", { x, y: bottom + 16, "text-anchor": "middle" }, (low + step * number).toFixed(decimals)));
  }
  const middle = (sizes.left + sizes.width - sizes.right) / 2;
  parts.push(svgElement("text", { x: middle, y: bottom + 34, "text-anchor": "middle" }, "Test accuracy (%)"));
  rows.forEach(([name, ours, theirs], number) => {
    const y = sizes.row * (number + 0.5);
    const ends = { x1: place(ours).toFixed(1), x2: place(theirs).toFixed(1), y1: y, y2: y };
    parts.push(svgElement("text", { x: 0, y: y + 4 }, name), svgElement("line", { class: "join", ...ends }));
    parts.push(pairDot(place(theirs), y, right, name, theirs, true), pairDot(place(ours), y, left, name, ours, false));
    parts.push(svgElement("text", { x: sizes.width, y: y + 4, "text-anchor": "end" }, signed(ours - theirs)));
  });
  const svg = document.getElementById("pair");
  svg.setAttribute("viewBox", `0 0 ${sizes.width} ${bottom + 40}`);
  svg.replaceChildren(...parts);
}

function comparePair(data) {
  const group = data.groups[Number(document.getElementById("pair-group").value)];
  const absent = (name) => ({ name, colour: "none", seeds: {} });
  const [left, right] = ["pair-left", "pair-right"].map((id) => document.getElementById(id).value)
    .map((name) => group.methods.find((method) => method.name === name) || absent(name));
  const [rows, refusal] = pairedSeeds(left, right);
  document.getElementById("pair").style.display = refusal ? "none" : "";
  document.getElementById("pair-text").textContent = refusal || differenceSentence(left, right, rows, data.t);
  document.getElementById("pair-title").textContent = group.title;
  document.querySelectorAll(".legend > span").forEach((label, number) => {
    const method = [left, right][number];
    label.lastChild.textContent = method.name;
    label.firstElementChild.style.setProperty("--mark", method.colour);
  });
  if (refusal) return;
  const mean = (column) => rows.reduce((sum, row) => sum + row[column], 0) / rows.length;
  drawPair(left, right, [...rows, ["mean", mean(1), mean(2)]], data.sizes);
}

const pairData = document.getElementById("pair-data");
if (pairData) {
  const data = JSON.parse(pairData.textContent);
  ["pair-group", "pair-left", "pair-right"].forEach((id) => {
    document.getElementById(id).addEventListener("change", () => comparePair(data));
  });
}

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
