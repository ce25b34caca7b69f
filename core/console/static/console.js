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
}

document.addEventListener("submit", (e) => {
  const form = e.target;
  if (form.method === "post" && !e.defaultPrevented) setTimeout(() => form.querySelectorAll("button").forEach((b) => (b.disabled = true)));
});
addEventListener("pageshow", (e) => {
  if (e.persisted) location.reload(); // its forms are used up
});

// A part of a page that is shown anew has an id and data-part. One in which somebody is
// writing stays as it is.
const busy = (part) =>
  (part.contains(document.activeElement) && document.activeElement.matches("input, textarea, select, summary, button")) ||
  [...part.querySelectorAll("input:not([type=hidden]), textarea")].some((i) => i.type !== "checkbox" && i.value !== i.defaultValue);

let asked = false;
async function refresh() {
  if (document.hidden || asked) return;
  asked = true;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (answer.status === 401) return location.reload();
    if (!answer.ok) return;
    const next = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of document.querySelectorAll("[data-part]")) {
      const other = next.getElementById(part.id);
      if (!other || busy(part)) continue;
      const open = [...part.querySelectorAll("details")].map((d) => d.open);
      part.replaceWith(other);
      other.querySelectorAll("details").forEach((d, i) => (d.open = open[i] ?? d.open));
    }
    const nav = next.querySelector("header nav");
    if (nav) document.querySelector("header nav")?.replaceWith(nav);
  } catch {
    // the gateway is away; the stream says when it is back
  } finally {
    asked = false;
  }
}

if ("live" in document.body.dataset) {
  let stream, waiting, since = document.body.dataset.live;
  const later = () => {
    clearTimeout(waiting);
    waiting = setTimeout(refresh, 700);
  };
  const listen = () => {
    if (stream || document.hidden) return;
    stream = new EventSource("/stream?since=" + since);
    stream.addEventListener("beat", later);
    stream.addEventListener("happened", (e) => {
      later();
      document.dispatchEvent(new CustomEvent("happened", { detail: JSON.parse(e.data) }));
    });
  };
  const quiet = () => {
    stream?.close();
    stream = undefined;
    since = Date.now();
  };
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return quiet();
    listen();
    later();
  });
  addEventListener("pagehide", quiet);
  listen();
}
