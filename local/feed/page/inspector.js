// One message, or one failure, in full: its path as a timeline, the signature that was checked, its CloudEvent.

import { h } from "./dom.js";
import { failureWith } from "./failures.js";
import { clock, fine, lag, plural, sentence } from "./format.js";

export class Inspector {
  #dialog = document.getElementById("inspector");
  #onClose;
  #wanted = null;

  /** `onClose()`: called when somebody closes it. */
  constructor(onClose) {
    this.#onClose = onClose;
    this.#dialog.addEventListener("close", () => { this.#wanted = null; this.#onClose(); });
    this.#dialog.addEventListener("click", (event) => { if (event.target === this.#dialog) this.close(); });
  }

  get open() { return this.#dialog.open; }

  close() { if (this.#dialog.open) this.#dialog.close(); }

  /** Show the message at a position of the feed. */
  async showMessage(position) {
    this.#wanted = position;
    const [found, path] = await Promise.all([
      read(`/api/inspect?${new URLSearchParams({ position })}`), read(`/api/path?${new URLSearchParams({ position })}`)]);
    if (this.#wanted !== position) return;
    if (!found) return this.#show("No such message", h("p", {}, "The feed holds no message at this address; it may be of another run."));
    this.#show(`Message ${found.message.subject.split("/").at(-1)}`, ...messageParts(found, path));
  }

  /** Show the failure with an id. */
  async showFailure(id) {
    this.#wanted = id;
    const failure = await failureWith(id);
    if (this.#wanted !== id) return;
    if (failure) this.#show(failure.title, ...failureParts(failure));
    else this.#show("No such failure", h("p", {}, "Neither the feed nor the app keeps a failure with this address any more."));
  }

  #show(title, ...parts) {
    const close = h("button", { type: "button", class: "tool", onclick: () => this.close() }, "Close");
    this.#dialog.replaceChildren(
      h("header", {}, h("h2", { id: "inspector-title" }, title), close), h("div", { class: "inspected", tabindex: "0" }, ...parts.flat().filter(Boolean)));
    if (!this.#dialog.open) this.#dialog.showModal();
    this.#dialog.scrollTop = 0;
  }
}

async function read(address) {
  const response = await fetch(address);
  return response.ok ? response.json() : null;
}

function messageParts({ message, event, deliveries }, path) {
  const last = deliveries.findLast((delivery) => delivery.version === message.version);
  return [
    facts([["Event id", event.id], ["Source", event.source], ["Subject", event.subject], ["Type", event.type], ["Version", event.version]]),
    h("h3", {}, "Path"),
    timeline([...(path?.steps ?? []).map(appStep), ...deliveries.map(delivered)]),
    path && !path.steps.length ? h("p", { class: "note" }, "The app keeps no path of this event: it is older than what is kept, or NOTIFICATION_PATHS is off.") : null,
    h("h3", {}, "Signature"),
    last && facts([
      ["Verdict", "valid: Standard Webhooks, HMAC-SHA256 over id, timestamp and body"], ["webhook-id", last.webhook_id],
      ["Signed at", last.signed_at && clock(new Date(Number(last.signed_at) * 1_000).toISOString())],
      ["Request", `${plural(last.events, "event")}, ${last.bytes} bytes`]]),
    h("h3", {}, "CloudEvent"),
    json(event),
  ];
}

function failureParts(failure) {
  return [facts(failure.facts), failure.advice ? h("p", { class: "note" }, failure.advice) : null,
    failure.steps?.length ? [h("h3", {}, "Path"), timeline(failure.steps.map(appStep))] : null];
}

/** A step that the app noted: {at, step, verdict, detail}. */
const appStep = ({ at, step, verdict, detail }) => ({ at, title: step.charAt(0).toUpperCase() + step.slice(1), verdict, detail });

function delivered({ arrived, type, time, event_id: id }, index, all) {
  const again = all.findIndex((other) => other.event_id === id) < index;
  const late = lag(new Date(arrived) - new Date(time));
  return { at: arrived, title: again ? "Received here again" : "Received here, stored, answered 204",
    verdict: again ? "duplicate" : "good", detail: `${sentence(type.split(".").at(-1))}, ${late} after the change` };
}

const timeline = (steps) => h("ol", { class: "timeline" }, ...steps.map(({ at, title, verdict, detail }) =>
  h("li", { "data-verdict": verdict || "good" }, at ? h("time", { datetime: at }, fine(at)) : h("span", {}), h("div", {}, h("b", {}, title), detail ? h("span", {}, detail) : null))));

const facts = (rows) => h("dl", { class: "facts" }, ...rows.filter(([, value]) => value !== null && value !== undefined && value !== "").map(([name, value]) =>
  h("div", {}, h("dt", {}, name), h("dd", {}, String(value)))));

function json(value) {
  return h("pre", { class: "json", tabindex: "0", "aria-label": "The CloudEvent as JSON" }, JSON.stringify(value, null, 2));
}
