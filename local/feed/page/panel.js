// The panel on the right: what the relay says of itself, and what was refused, by whom and why.

import { h } from "./dom.js";
import { count, sentence } from "./format.js";

/** The app's reasons in words; one that is not here is shown by its name. */
export const RELAYS = {
  malformed: "Not shaped like a notification",
  client_state: "The clientState is not the app's",
  token_missing: "No validation token",
  tokens_null: "Graph got no token for the app",
  token_malformed: "The token is malformed",
  token_algorithm: "The token's algorithm is not allowed",
  token_key: "The token's key is not Microsoft's",
  token_signature: "The token's signature is invalid",
  token_issuer: "The token has another issuer",
  token_audience: "The token is for another app",
  token_publisher: "The token is not Graph's own",
  token_lifetime: "The token was not valid then",
  token_tenant: "The token is for another tenant",
  content_unreadable: "The content cannot be decrypted",
  content_not_json: "The content is not JSON",
  key_unknown: "The key is not in the key store",
  destination_rejected: "The destination rejects the event",
  claim_gone: "The stored content is gone",
  readback_unknown: "This kind of resource cannot be read back",
  storage: "Storage was unavailable",
  settings: "The settings were not complete",
  signing_keys: "Microsoft's signing keys were unavailable",
  key_store: "The key store was unavailable",
  graph: "Graph was unavailable",
  graph_throttled: "Graph asked to slow down",
  graph_refused: "Graph refused a call",
  login: "Entra ID was unavailable",
  destination: "The destination was unavailable",
  destination_error: "The destination answered with an error",
  destination_gone: "The destination answers 410 Gone",
};
export const FEED_REASONS = {
  unsigned: "No signature headers",
  signature: "The signature is invalid",
  not_events: "Not a batch of events",
  media_type: "Not labelled as a batch of CloudEvents",
  too_large: "Larger than 64 MiB",
  rehearsed: "Refused on purpose (see Break something)",
};

/** The words for a reason. */
export const inWords = (words, reason) => (Object.hasOwn(words, reason) ? words[reason] : sentence(reason));

export class Panel {
  #relaySection = document.getElementById("relay-section");
  #refusedSection = document.getElementById("refused-section");
  #relay = null;
  #summary = null;
  #drawn = "";

  showRelay(relay) { this.#relay = relay; this.#draw(); }

  showSummary(summary) { this.#summary = summary; this.#draw(); }

  #draw() {
    if (!this.#summary) return;
    const { refused, events, duplicates, messages, deleted } = this.#summary;
    const state = JSON.stringify([this.#relay, refused, events, duplicates, messages, deleted]);
    if (state === this.#drawn) return;
    this.#drawn = state;
    this.#relaySection.replaceChildren(h("h2", {}, "Through the relay"), ...throughTheRelay(this.#relay),
      tally([["Events received here", events], ["Messages", messages], ["Deleted messages", deleted], ["Duplicates received here", duplicates]]));
    this.#refusedSection.replaceChildren(h("h2", {}, "Refused, and why"),
      ...(this.#relay ? [reasons("By the relay", this.#relay.refused, "alarm", RELAYS),
        reasons("Dead-lettered by the relay", this.#relay.dead_lettered, "alarm", RELAYS),
        reasons("Tried again", this.#relay.retried, "calm", RELAYS)] : []),
      reasons("By this feed", refused, "alarm", FEED_REASONS));
  }
}

function throughTheRelay(relay) {
  if (!relay) return [h("p", { class: "note" }, "No relay was named, so its counters are not shown.")];
  const steps = [["received", relay.received], ["queued", relay.queued], ["delivered", relay.delivered]];
  return [
    h("ol", { class: "flow" }, ...steps.map(([name, n]) => h("li", {}, h("b", {}, count(n)), h("span", {}, name)))),
    relay.reachable ? null : h("p", { class: "note away" }, "The relay does not answer at the moment; these are its last figures."),
    tally([["Duplicates not delivered", relay.duplicates]]),
  ].filter(Boolean);
}

const tally = (rows) =>
  h("dl", { class: "tally" }, ...rows.map(([name, n]) => h("div", {}, h("dt", {}, name), h("dd", {}, count(n)))));

function reasons(title, byReason, mood, words) {
  const rows = Object.entries(byReason).filter(([, n]) => n).sort(([, one], [, other]) => other - one);
  const total = rows.reduce((sum, [, n]) => sum + n, 0);
  return h("div", { class: "reasons", "data-mood": total ? mood : "none" },
    h("h3", {}, title, h("span", {}, total ? count(total) : "nothing")),
    total ? h("ul", {}, ...rows.map(([reason, n]) => reasonRow(inWords(words, reason), n, n / rows[0][1]))) : null);
}

function reasonRow(reason, n, share) {
  const bar = h("span", { class: "bar", "aria-hidden": "true" });
  bar.style.setProperty("--share", share);
  return h("li", {}, h("span", { class: "reason" }, reason), h("b", {}, count(n)), bar);
}
