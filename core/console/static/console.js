// What the console does beyond forms and links: it takes the code from the address, shows
// what changes while a page is open, and keeps a button from being pressed twice.

const login = document.querySelector("form[data-code]");
if (login) {
  const take = () => {
    if (!location.hash) return;
    login.elements.code.value = decodeURIComponent(location.hash.slice(1));
    history.replaceState(null, "", location.pathname);
    login.querySelector("button").focus();
  };
  take();
  addEventListener("hashchange", take);
  if (login.elements.to) new BroadcastChannel("ogp").onmessage = () => login.elements.code.value || location.reload(); // another page is in
}

let sent = false; // a form of this page
document.addEventListener("submit", (e) => {
  const form = e.target;
  if (form.method !== "post" || e.defaultPrevented) return;
  if (over) { // it would not count, and what is in it may be lost
    e.preventDefault();
    return say("over");
  }
  sent = true;
  setTimeout(() => form.querySelectorAll("button").forEach((b) => (b.disabled = true)));
});
addEventListener("pageshow", (e) => {
  if (e.persisted && (sent || !written(document.body))) location.reload(); // its forms are used up
});

// A part of a page that is shown anew has an id and data-part. One in which somebody is
// writing stays as it is.
const written = (part) => [...part.querySelectorAll("input:not([type=hidden]), textarea")].some((i) => i.type !== "checkbox" && i.value !== i.defaultValue);
const busy = (part) => (part.contains(document.activeElement) && document.activeElement.matches("input, textarea, select")) || written(part);

// become makes an element as another one is. What is the same stays where it is, with its
// focus, what is selected in it, and what a reader has unfolded.
function become(old, next) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== next.data) old.data = next.data;
    return;
  }
  for (const { name } of [...old.attributes]) if (name !== "open" && !next.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of next.attributes) if (name !== "open" && old.getAttribute(name) !== value) old.setAttribute(name, value);
  const is = [...old.childNodes], will = [...next.childNodes];
  let from = 0, behind = 0;
  const left = () => Math.min(is.length, will.length) - from - behind;
  while (left() > 0 && alike(is[from], will[from])) from++;
  while (left() > 0 && alike(is.at(-1 - behind), will.at(-1 - behind))) behind++;
  for (let i = 0; i < from; i++) become(is[i], will[i]);
  for (let i = 1; i <= behind; i++) become(is.at(-i), will.at(-i));
  is.slice(from, is.length - behind).forEach((n) => n.remove());
  const at = behind ? is.at(-behind) : null;
  will.slice(from, will.length - behind).forEach((n) => old.insertBefore(n, at));
}

// alike tells whether two nodes are the same thing at two times.
const alike = (a, b) => a.nodeName === b.nodeName && key(a) === key(b);
const key = (n) => {
  if (n.nodeType !== Node.ELEMENT_NODE) return "";
  const within = { LI: ["a[href]", "time"], TR: ["a[href]"], SECTION: ["h2"] }[n.nodeName] ?? [];
  return [n.id, ...["name", "href", "action"].map((a) => n.getAttribute(a)), ...within.map((w) => n.querySelector(w)).map((x) => x && (x.getAttribute("href") ?? x.getAttribute("datetime") ?? x.textContent))].join(" ");
};

// look shows what has changed: at once, but for a fifth of the time at the most, so that a
// thousand events in a second are looked at together.
let timer, looking = false, missed = false, rested = 0;
function look() {
  if (looking) missed = true;
  else timer ??= setTimeout(looks, rested - performance.now());
}
async function looks() {
  const began = performance.now();
  timer = undefined;
  looking = true;
  await refresh();
  looking = false;
  rested = performance.now() + Math.max(1000, 4 * (performance.now() - began));
  if (missed) {
    missed = false;
    look();
  }
}

async function refresh() {
  if (document.hidden) return;
  try {
    const here = new URL(location.href);
    here.searchParams.delete("look"); // that asks another machine, once
    const answer = await fetch(here, { headers: { Accept: "text/html" } });
    if (answer.status === 401) return out();
    if (over) return back(new DOMParser().parseFromString(await answer.text(), "text/html"));
    if (!answer.ok) return;
    const next = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of document.querySelectorAll("[data-part], header nav")) {
      const other = part.id ? next.getElementById(part.id) : next.querySelector("header nav");
      if (!other || busy(part)) continue;
      const were = new Set(eventsOf(part));
      become(part, other);
      heard(eventsOf(part).filter((id) => !were.has(id)).length);
    }
  } catch {
    // the gateway is away; the stream says when it is back
  }
}

// heard has a reader who hears the page told how many events have come, in a sentence every few
// seconds: the list itself can change by a hundred lines in one.
const eventsOf = (part) => [...part.querySelectorAll(".events > li")].map((e) => e.id);
let unsaid = 0, saying;
function heard(n) {
  const place = document.querySelector("[data-more]");
  if (!place || !n) return;
  unsaid += n;
  saying ??= setTimeout(() => {
    place.replaceChildren(unsaid === 1 ? "1 more event" : unsaid + " more events"); // a text of its own each time, so that it is said again
    unsaid = 0;
    saying = undefined;
  }, 4000);
}

// out shows the way in, as the session is over; not over what somebody has written.
let over = false;
function out() {
  if (!written(document.body)) return location.reload();
  over = true;
  say("over");
}

// back makes the forms count again, once this browser has another session.
function back(next) {
  const token = next.querySelector("input[name=token]");
  if (!token) return;
  for (const t of document.querySelectorAll("input[name=token]")) t.value = token.value;
  over = false;
  say("");
  look();
}

// say shows one of the sentences that the page has ready, or none.
function say(name) {
  for (const p of document.querySelectorAll("[data-say]")) p.hidden = p.dataset.say !== name;
}

if ("live" in document.body.dataset) {
  // One page of this browser has the stream, and tells the others: a browser has six
  // connections for all of them. Where it cannot agree on one, each has its own.
  const pages = new BroadcastChannel("ogp");
  let stream, release, away, again, first = "?since=" + document.body.dataset.live;
  const tell = (what) => {
    pages.postMessage(what);
    hear(what);
  };
  const calm = () => {
    clearTimeout(away);
    away = undefined;
  };
  const hear = (what) => {
    calm();
    if (!over) say(what === "away" ? "away" : "");
    look();
  };
  pages.addEventListener("message", (e) => hear(e.data));
  const listen = () => {
    if (stream || document.hidden) return;
    stream = new EventSource("/stream" + first);
    stream.addEventListener("open", () => {
      if (!first) return tell("here"); // something may have come in between
      first = "";
      pages.postMessage("here");
      calm();
    });
    stream.addEventListener("beat", () => tell("beat"));
    stream.addEventListener("happened", () => tell("happened"));
    stream.addEventListener("error", () => {
      away ??= setTimeout(() => tell("away"), 4000);
      if (stream?.readyState !== EventSource.CLOSED) return; // it tries again by itself
      stream = undefined;
      again = setTimeout(listen, 5000);
      look(); // which sees whether the session is over
    });
  };
  const quiet = () => {
    stream?.close();
    stream = undefined;
    clearTimeout(again);
    calm();
    release?.();
    release = undefined;
  };
  const begin = () => {
    if (release || document.hidden) return;
    if (!navigator.locks) return listen();
    const turn = new AbortController();
    release = () => turn.abort();
    const held = () => new Promise((done) => {
      release = done;
      listen();
    });
    navigator.locks.request("ogp", { signal: turn.signal }, held).catch(() => {}); // given up while waiting
  };
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return quiet();
    begin();
    look();
  });
  addEventListener("pagehide", quiet);
  begin();
}
