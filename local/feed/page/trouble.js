// What is wrong at the moment, in front of everything else: how much waits, since when, and why.

import { h } from "./dom.js";
import { count, duration, plural } from "./format.js";
import { RELAYS, inWords } from "./panel.js";

const CAUSES = {
  broken: (title) => `Broken on purpose: ${title}`,
  feed_answers: (status) => `This feed is set to answer ${status}`,
  feed_hangs: (time) => `This feed is set to wait ${time} before it answers`,
  relay_away: () => "The relay does not answer",
  retried: (reason) => `The relay tries again: ${inWords(RELAYS, reason)}`,
  waits: (detail) => `The relay waits and tries again: ${detail}`,
  graph_holds: () => "Graph's notifications are not acknowledged",
  slow: () => "Messages arrive more slowly than they are written",
};

export class Trouble {
  #root = document.getElementById("trouble");
  #drawn = "";

  /** Show what `GET /api/stream` says of the health; `at` is the second it speaks of. */
  show(health, at) {
    const waited = health.waiting_since ? at + 1 - Date.parse(health.waiting_since) / 1_000 : 0;
    const lines = health.ok ? [] : [...headline(health, waited), ...health.causes.map(([name, detail]) => CAUSES[name]?.(detail) ?? name)];
    const state = lines.join("\n");
    if (state === this.#drawn) return;
    this.#drawn = state;
    this.#root.hidden = !lines.length;
    this.#root.replaceChildren(h("h2", {}, lines[0] ?? ""), h("ul", {}, ...lines.slice(1).map((line) => h("li", {}, line))));
  }
}

function headline({ queued, pending }, waited) {
  const parts = [
    queued ? `${plural(queued, "queue message")} waiting` : null,
    pending ? `${count(pending)} not yet acknowledged to Graph` : null,
  ].filter(Boolean);
  const since = waited >= 2 ? `, for ${duration(waited)}` : "";
  return [parts.length ? `${parts.join("; ")}${since}` : queued === null ? "Messages may be delayed" : "Nothing waits at the moment"];
}
