// The list of what failed: requests that this feed refused, notifications that the relay refused or dead-lettered.

import { h } from "./dom.js";
import { clock } from "./format.js";
import { failedInApp, refusedHere } from "./inspector.js";

const MOST_LISTED = 100; // failures of each kind

export class Failures {
  #root = document.getElementById("failures");
  #inspect;

  /** `inspect(failure)`: called when somebody opens one. */
  constructor(inspect) {
    this.#inspect = inspect;
  }

  get shown() { return !this.#root.hidden; }

  hide() { this.#root.hidden = true; }

  /** Read the last failures and list them, newest first: anyone can fill the list of what is refused on receipt. */
  async show() {
    this.#root.hidden = false;
    const [here, app] = await Promise.all([read("/api/refusals"), read("/api/failures")]);
    const lists = [
      ["Dead letters, and refused after receipt", app.filter((failure) => !failure.on_receipt).map(failedInApp)],
      ["Refused on receipt", app.filter((failure) => failure.on_receipt).map(failedInApp)],
      ["Refused by this feed", here.map(refusedHere)],
    ].filter(([, failures]) => failures.length);
    this.#root.replaceChildren(...(lists.length ? lists.flatMap(([title, failures]) => this.#list(title, failures))
      : [h("p", { class: "note" }, "Nothing was refused, and there is no dead letter.")]));
  }

  #list(title, failures) {
    const newest = failures.sort((left, right) => right.at.localeCompare(left.at)).slice(0, MOST_LISTED);
    return [h("h3", {}, title), h("ul", { class: "failures" }, ...newest.map((failure) => this.#row(failure)))];
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
