"use strict";
/* Of all pages: elements, what the browser keeps, light and dark, requests with the API key. Whatever a person, a model or
 * a server says goes into the page as text, never as HTML. */
const byId = (id) => document.getElementById(id);

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/* A browser may refuse to keep things: then they last as long as the page. */
function keepIn(storage) {
  const here = new Map();
  return {
    get(name) {
      try { return window[storage].getItem("spate." + name) ?? here.get(name) ?? null; } catch { return here.get(name) ?? null; }
    },
    set(name, value) {
      here.set(name, value);
      try { window[storage].setItem("spate." + name, value); return true; } catch { return false; }
    },
  };
}
const kept = keepIn("localStorage"), keptForTab = keepIn("sessionStorage");

/* Also right behind a proxy that puts the server under a path. */
const base = location.pathname.replace(/[^/]*$/, "");

const darkWanted = matchMedia("(prefers-color-scheme: dark)");
function showTheme(theme) {
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  const dark = theme ? theme === "dark" : darkWanted.matches;
  byId("theme").textContent = dark ? "Light" : "Dark";
  byId("theme").setAttribute("aria-label", dark ? "Light colours" : "Dark colours");
  return dark;
}
showTheme(kept.get("theme"));
darkWanted.addEventListener("change", () => showTheme(kept.get("theme")));
byId("theme").addEventListener("click", () => {
  const theme = showTheme(kept.get("theme")) ? "light" : "dark";
  kept.set("theme", theme);
  showTheme(theme);
});

let keyIsWanted = null; /* resolved when a key has been typed */
function askForKey() {
  byId("key-form").hidden = false;
  byId("key").focus();
  keyIsWanted ??= Promise.withResolvers ? Promise.withResolvers() : (() => {
    const made = {};
    made.promise = new Promise((resolve) => { made.resolve = resolve; });
    return made;
  })();
  return keyIsWanted.promise;
}
byId("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  keptForTab.set("key", byId("key").value.trim());
  byId("key").value = "";
  byId("key-form").hidden = true;
  keyIsWanted?.resolve();
  keyIsWanted = null;
});

/* The sentence of an answer that is an error, in whichever of the server's forms. */
function sentenceOf(fields, otherwise) {
  const error = fields?.error;
  return typeof error === "string" ? error : typeof error?.message === "string" ? error.message : otherwise;
}

/* As fetch, with the key; asks for one when the server does, and throws what the server says of other errors. */
async function ask(path, options = {}) {
  for (;;) {
    const headers = { ...options.headers }, key = keptForTab.get("key");
    if (key) headers.Authorization = "Bearer " + key;
    const answer = await fetch(base + path, { ...options, headers, cache: "no-store" });
    if (answer.ok) return answer;
    if (answer.status !== 401) {
      const fields = await answer.json().catch(() => null);
      throw new Error(sentenceOf(fields, `The server answered ${answer.status} to ${path}.`));
    }
    await askForKey();
    options.signal?.throwIfAborted();
  }
}
