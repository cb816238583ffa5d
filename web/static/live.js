// Keeps pages fresh. Without it they still work: they show what was true when they were loaded.
"use strict";

const formats = new Map();

// Formats times of a zone, of the reader's own if there is none. Nothing for a zone that the browser does not know: then
// the server's words stay.
function formatOf(zone) {
  if (!formats.has(zone)) {
    const style = { dateStyle: "medium", timeStyle: "medium" };
    let format = null;
    try {
      format = new Intl.DateTimeFormat(document.documentElement.lang, { ...style, timeZone: zone });
    } catch {}
    formats.set(zone, format);
  }
  return formats.get(zone);
}

// Times come in UTC. An operator's are shown as in its zone, all others as in the reader's own.
function localizeTimes(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const date = new Date(time.dateTime);
    const format = formatOf(time.dataset.zone);
    if (format && !Number.isNaN(date.getTime())) time.textContent = format.format(date);
  }
}

function partsOf(root) {
  return [...root.querySelectorAll("[data-part]")];
}

// Replaces only the parts that changed, so that focus, selection and open details stay where they are.
function patch(region, sources, html) {
  const fresh = document.createElement("template");
  fresh.innerHTML = html;
  const focused = document.activeElement && document.activeElement.id;
  const open = [...region.querySelectorAll("details[open][id]")].map((details) => details.id);
  const newParts = partsOf(fresh.content);
  const oldParts = partsOf(region);
  const sameParts =
    newParts.length === oldParts.length && newParts.every((part, i) => part.dataset.part === oldParts[i].dataset.part);
  const newSources = newParts.map((part) => part.outerHTML);
  if (sameParts) {
    newParts.forEach((part, i) => {
      if (newSources[i] === sources[i]) return;
      localizeTimes(part);
      oldParts[i].replaceWith(part);
    });
  } else {
    localizeTimes(fresh.content);
    region.replaceChildren(fresh.content);
  }
  for (const id of open) {
    const details = document.getElementById(id);
    if (details) details.open = true;
  }
  if (focused && document.activeElement && document.activeElement.id !== focused) {
    const element = document.getElementById(focused);
    if (element) element.focus({ preventScroll: true });
  }
  return newSources;
}

function watch(region) {
  let sources = partsOf(region).map((part) => part.outerHTML);
  const lost = document.querySelector("[data-lost]");
  const tellLost = (isLost) => {
    if (lost) lost.hidden = !isLost;
  };
  const events = new EventSource(region.dataset.events);
  events.addEventListener("open", () => tellLost(false));
  events.addEventListener("fragment", (event) => {
    tellLost(false);
    sources = patch(region, sources, event.data);
    // Said once it changes, by an element that stays: one that is replaced is not read out.
    const say = document.querySelector("[data-say]");
    const heading = region.querySelector("h1");
    if (say && heading && say.textContent !== heading.textContent) say.textContent = heading.textContent;
  });
  events.addEventListener("end", () => events.close());
  events.addEventListener("reload", () => {
    events.close();
    location.reload();
  });
  events.addEventListener("error", () => {
    // The browser tries again by itself, unless the server refused for good: then the page tells why.
    if (events.readyState === EventSource.CLOSED) setTimeout(() => location.reload(), 5000);
    tellLost(true);
  });
}

for (const region of document.querySelectorAll("[data-events]")) watch(region);
localizeTimes(document);

// A sale named in the address is shown opened.
const named = location.hash && document.getElementById(location.hash.slice(1));
if (named && named.tagName === "DETAILS") named.open = true;
