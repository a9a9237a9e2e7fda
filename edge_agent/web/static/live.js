// Renews the status page as the agent tells it over server-sent events; without scripts the page reloads instead.
"use strict";
const MAX_ROWS = 100;
const ANEW_MS = 3000;
const state = document.getElementById("state");
const body = document.getElementById("live");
const stream = document.getElementById("stream");
const { newest, live, lost } = document.body.dataset;

function cell(row, name, text) {
  const made = row.insertCell();
  made.className = name;
  made.textContent = text;
  return made;
}

// A browser tries again by itself after a broken connection, but not after a refusal: the session ended, or too many watch.
function anew() {
  setTimeout(() => fetch("/healthz").then(() => location.reload(), anew), ANEW_MS);
}

const source = new EventSource("/events?after=" + newest + "&lang=" + document.documentElement.lang.slice(0, 2));
source.onopen = () => { stream.textContent = live; };
source.onerror = () => {
  stream.textContent = lost;
  if (source.readyState === EventSource.CLOSED) anew();
};
source.addEventListener("state", (message) => { state.innerHTML = message.data; });
source.addEventListener("event", (message) => {
  const event = JSON.parse(message.data);
  body.querySelector(".none")?.remove();
  const row = body.insertRow(0);
  if (event.alarm) row.className = "alarm";
  const at = cell(row, "time", event.at);
  if (event.late) {
    const mark = document.createElement("span");
    mark.className = "mark quiet";
    mark.textContent = event.late;
    at.append(" ", mark);
  }
  cell(row, "who", event.device);
  cell(row, "seq", event.seq);
  cell(row, "kind", event.kind);
  cell(row, "text", event.text);
  while (body.rows.length > MAX_ROWS) body.deleteRow(-1);
});
