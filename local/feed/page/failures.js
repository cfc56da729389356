// The list of what failed: requests that this feed refused, notifications that the relay refused or dead-lettered.

import { h } from "./dom.js";
import { clock } from "./format.js";
import { failedInApp, refusedHere } from "./inspector.js";

export class Failures {
  #root = document.getElementById("failures");
  #inspect;

  /** `inspect(failure)`: called when somebody opens one. */
  constructor(inspect) {
    this.#inspect = inspect;
  }

  get shown() { return !this.#root.hidden; }

  hide() { this.#root.hidden = true; }

  /** Read the last failures and list them, newest first. */
  async show() {
    this.#root.hidden = false;
    const [here, app] = await Promise.all([read("/api/refusals"), read("/api/failures")]);
    const failures = [...here.map(refusedHere), ...app.map(failedInApp)].sort((one, other) => other.at.localeCompare(one.at));
    this.#root.replaceChildren(failures.length
      ? h("ul", { class: "failures" }, ...failures.slice(0, 200).map((failure) => this.#row(failure)))
      : h("p", { class: "note" }, "Nothing was refused, and there is no dead letter."));
  }

  #row(failure) {
    return h("li", {}, h("button", { type: "button", onclick: () => this.#inspect(failure) },
      h("time", { datetime: failure.at }, clock(failure.at)), h("span", {}, failure.title), h("small", {}, failure.by)));
  }
}

async function read(address) {
  const response = await fetch(address);
  return response.ok ? response.json() : [];
}
