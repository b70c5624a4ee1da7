// Keeps the page of an issue that is being sent fresh: by a stream, or by asking every few seconds where none comes through.
"use strict";
(() => {
  const box = document.getElementById("live");
  if (!box) return;
  const age = document.getElementById("live-age");
  const said = document.getElementById("live-said");
  const title = document.title.replace(/\(\d+\s?%\) /, "");
  let at = Date.now(), saidAt = 0, stream = null, failures = 0, asking = 0;

  function put(html) {
    const held = box.contains(document.activeElement) && document.activeElement.parentElement.id;
    const open = [...box.querySelectorAll("details[open]")].map((one) => one.id);
    box.innerHTML = html;
    for (const id of open) document.getElementById(id)?.setAttribute("open", "");
    if (held) document.querySelector(`#${CSS.escape(held)} > summary`)?.focus();
  }

  function take(told) {
    // Another state has other buttons, and the end is a page of its own.
    if (told.is_over || told.state !== box.dataset.state) return location.reload();
    at = Date.now();
    failures = 0;
    // Whoever has selected something there wants to copy it.
    const selection = getSelection();
    if (selection.isCollapsed || !box.contains(selection.anchorNode)) put(told.html);
    document.title = `(${box.dataset.percent.replace("{percent}", told.percent)}) ${title}`;
    if (at - saidAt >= 15000) {
      saidAt = at;
      said.textContent = told.say;
    }
    tell();
  }

  function tell() {
    const seconds = Math.round((Date.now() - at) / 1000);
    age.textContent = age.dataset.words.replace("{seconds}", seconds);
    age.classList.toggle("warn", seconds >= 15);
  }

  async function ask() {
    try {
      const answer = await fetch(box.dataset.once, { headers: { Accept: "application/json" } });
      if (answer.ok && !answer.redirected) take(await answer.json());
      else if (answer.redirected || answer.status === 401) location.reload();
    } catch { /* The next try is in three seconds; the age says so meanwhile. */ }
  }

  function poll() {
    stream?.close();
    stream = null;
    asking ||= setInterval(ask, 3000);
  }

  function listen() {
    if (!window.EventSource) return poll();
    stream = new EventSource(box.dataset.stream);
    stream.onmessage = (event) => take(JSON.parse(event.data));
    stream.addEventListener("full", poll);
    stream.onerror = () => {
      failures += 1;
      if (failures > 2 || stream.readyState === EventSource.CLOSED) poll();
    };
    // A proxy may hold a stream back without an error.
    setTimeout(() => { if (Date.now() - at > 7000) poll(); }, 8000);
  }

  setInterval(tell, 1000);
  addEventListener("pagehide", () => stream?.close());
  listen();
})();
