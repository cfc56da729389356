// The list of what failed: requests that this feed refused, notifications that the relay refused or dead-lettered.

import { h } from "./dom.js";
import { clock, fine } from "./format.js";
import { FEED_REASONS, RELAYS, inWords } from "./panel.js";

const MOST_LISTED = 100; // failures of each kind

export class Failures {
  #root = document.getElementById("failures");
  #linkTo;

  /** `linkTo(id)`: the address of the failure with that id. */
  constructor(linkTo) {
    this.#linkTo = linkTo;
  }

  get shown() { return !this.#root.hidden; }

  hide() { this.#root.hidden = true; }

  /** Read the last failures and list them, newest first: anyone can fill the list of what is refused on receipt. */
  async show() {
    this.#root.hidden = false;
    const { here, app } = await readAll();
    const lists = [
      ["Dead letters, and refused after receipt", app.filter((failure) => !failure.onReceipt)],
      ["Refused on receipt", app.filter((failure) => failure.onReceipt)],
      ["Refused by this feed", here],
    ].filter(([, failures]) => failures.length);
    this.#root.replaceChildren(...(lists.length ? lists.flatMap(([title, failures]) => this.#list(title, failures))
      : [h("p", { class: "note" }, "Nothing was refused, and there is no dead letter.")]));
  }

  #list(title, failures) {
    const newest = failures.sort((left, right) => right.at.localeCompare(left.at)).slice(0, MOST_LISTED);
    return [h("h3", {}, title), h("ul", { class: "failures" }, ...newest.map((failure) => this.#row(failure)))];
  }

  #row(failure) {
    return h("li", {}, h("a", { href: this.#linkTo(failure.id) },
      h("time", { datetime: failure.at }, clock(failure.at)), h("span", {}, failure.title), h("small", {}, failure.by)));
  }
}

/** The failure with that id; undefined if it is no longer kept. */
export async function failureWith(id) {
  const { here, app } = await readAll();
  return [...here, ...app].find((failure) => failure.id === id);
}

async function readAll() {
  const [here, app] = await Promise.all([read("/api/refusals"), read("/api/failures")]);
  return { here: here.map(refusedHere), app: app.map(failedInApp) };
}

async function read(address) {
  const response = await fetch(address);
  return response.ok ? response.json() : [];
}

/** What the feed refused, as a failure. */
const refusedHere = ({ at, status, reason, webhook_id: id, signed_at: signed, bytes }) => ({
  id: `${at} ${reason}`,
  at,
  by: "this feed",
  title: inWords(FEED_REASONS, reason),
  facts: [["When", fine(at)], ["By", "this feed"], ["Answer", status], ["Reason", reason], ["webhook-id", id], ["Signed at", signed], ["Bytes", bytes]],
  advice: reason === "rehearsed" ? "The relay keeps the batch and tries again." : "Nothing of this request was kept.",
});

/** What the app refused or gave up, as a failure. */
const failedInApp = ({ at, outcome, on_receipt: onReceipt, reason, advice, subject, subscription, steps }) => ({
  id: `${at} ${reason} ${subject}`,
  at,
  onReceipt,
  by: outcome === "dead-lettered" ? "the relay, as a dead letter" : "the relay",
  title: inWords(RELAYS, reason),
  facts: [["When", fine(at)], ["Outcome", outcome], ["Reason", reason], ["Resource", subject], ["Subscription", subscription]],
  advice,
  steps,
});
