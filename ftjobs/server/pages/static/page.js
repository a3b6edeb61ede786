// Keeps a page up to date, copies names, and reads values off curves.
"use strict";
document.documentElement.classList.add("scripted");

// --- what changes while it is looked at ------------------------------------------------------

const LONGEST = 60; // seconds between two tries while the server is away
const PATIENCE = 20; // seconds for one answer
let wait = 0, timer = 0, failures = 0, turn = 0;
const live = () => document.querySelector("[data-live]");

// Make `old` equal to `fresh`, and leave every node alone that is so already: what has the focus
// keeps it, what is selected stays so, and what is open stays open.
function morph(old, fresh) {
  for (const { name, value } of fresh.attributes)
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  for (const name of old.getAttributeNames())
    if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  const known = new Map([...old.children].filter((node) => node.id).map((node) => [node.id, node]));
  let place = old.firstChild;
  for (const node of [...fresh.childNodes]) {
    const match = node.id ? known.get(node.id) : alike(place, node) ? place : null;
    if (!match) {
      old.insertBefore(node, place);
      continue;
    }
    if (match === place) place = place.nextSibling;
    else old.insertBefore(match, place);
    if (match.nodeType === Node.ELEMENT_NODE) morph(match, node);
    else if (match.data !== node.data) match.data = node.data;
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
}

const alike = (old, node) => old && old.nodeName === node.nodeName && !old.id;

function say(words) {
  const line = document.getElementById("connection");
  if (line && line.textContent !== words) line.textContent = words;
}

async function look() {
  clearTimeout(timer);
  if (document.hidden || !wait) return;
  const mine = ++turn; // an answer that a later question has overtaken is old
  let why = "The server cannot be reached.";
  try {
    const answer = await fetch(live().dataset.live, {
      redirect: "error", signal: AbortSignal.timeout(PATIENCE * 1000),
    });
    const text = await answer.text();
    if (mine !== turn) return;
    if (answer.status === 401) {
      say("You are signed out. Load the page again to sign in.");
      return;
    }
    if (!answer.ok) throw new Error((why = `The server answered ${answer.status}.`));
    const fresh = new DOMParser().parseFromString(text, "text/html");
    morph(live(), fresh.querySelector("[data-live]"));
    if (hovered?.plot.isConnected) read(hovered);
    wait = Number(live().dataset.again);
    failures = 0;
    say("");
  } catch {
    if (mine !== turn) return;
    failures += 1;
    wait = Math.min(LONGEST, 2 ** failures);
    say(`${why} What you see may be old; next try in ${wait} s.`);
  }
  if (wait) timer = setTimeout(look, wait * 1000);
}

if (live()) {
  wait = Number(live().dataset.again);
  if (wait) timer = setTimeout(look, wait * 1000);
  document.addEventListener("visibilitychange", look);
}

// Until its frame has loaded, a report's page says that it is being made.
addEventListener("load", () => document.querySelector(".making")?.remove());

// --- names to copy ---------------------------------------------------------------------------

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-copy]");
  if (!button) return;
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Not allowed";
  }
  setTimeout(() => { button.textContent = "Copy"; }, 1500);
});

// --- values of curves ------------------------------------------------------------------------

let hovered = null; // {plot, x}: the curve that the pointer is on, and where

const valuesOf = (line) =>
  line.dataset.values.split(" ").map((pair) => pair.split(",").map(Number));

function nearest(values, step) {
  let best = values[0];
  for (const each of values) if (Math.abs(each[0] - step) < Math.abs(best[0] - step)) best = each;
  return best;
}

// Tell the values of a curve at a step, or its last ones.
function tell(plot, step) {
  let seen = 0;
  for (const line of plot.querySelectorAll("polyline")) {
    const [at, value] = nearest(valuesOf(line), step);
    const key = (name) => plot.closest("figure").querySelector(`[data-${name}=${line.classList[0]}]`);
    key("line").textContent = value.toFixed(4);
    key("step").textContent = `step ${at.toLocaleString("en-US")}`;
    seen ||= at;
  }
  return seen;
}

function read({ plot, x }) {
  const box = plot.getBoundingClientRect();
  const share = Math.min(1, Math.max(0, (x - box.left) / box.width));
  const [first, last] = [Number(plot.dataset.first), Number(plot.dataset.last)];
  const seen = tell(plot, first + share * (last - first));
  for (const end of ["x1", "x2"])
    plot.querySelector(".cursor").setAttribute(end, `${(100 * (seen - first)) / (last - first)}%`);
}

document.addEventListener("pointermove", (event) => {
  const plot = event.target.closest?.(".plot");
  if (hovered && hovered.plot !== plot) tell(hovered.plot, Number.MAX_SAFE_INTEGER);
  hovered = plot ? { plot, x: event.clientX } : null;
  if (hovered) read(hovered);
});
