// "Break something": switches that make a part fail on purpose, each with what should happen.

import { h } from "./dom.js";

const GROUPS = [["destination", "Destination (this feed)"], ["machine", "The app and what it needs"], ["graph", "Microsoft Graph"]];

export class BreakPanel {
  #root = document.getElementById("break");
  #items = new Map(); // name → {button, done}
  #message = h("p", { class: "note", role: "status" });

  /** Show this list, as `GET /api/breakages` gives it. */
  show(breakages) {
    if (!this.#items.size) this.#draw(breakages.filter(({ available }) => available));
    for (const breakage of breakages) this.#refresh(breakage);
  }

  #draw(breakages) {
    const groups = GROUPS.flatMap(([where, title]) => {
      const inGroup = breakages.filter((breakage) => breakage.where === where);
      return inGroup.length ? [h("h3", {}, title), h("ul", {}, ...inGroup.map((breakage) => this.#item(breakage)))] : [];
    });
    this.#root.replaceChildren(h("h2", {}, "Break something"),
      h("p", { class: "note" }, "Switch a fault on, watch what the relay does, switch it off again."), this.#message, ...groups);
  }

  #item({ name, title, expect, is_switch: isSwitch }) {
    const done = h("span", { class: "done" });
    const button = h("button", { type: "button", class: "tool", "aria-describedby": `expect-${name}`, "aria-pressed": isSwitch ? "false" : null,
      onclick: () => this.#order(name, !isSwitch || button.getAttribute("aria-pressed") !== "true") }, title);
    this.#items.set(name, { button, done });
    return h("li", {}, button, done, h("p", { id: `expect-${name}` }, expect));
  }

  #refresh({ name, active, is_switch: isSwitch, times }) {
    const item = this.#items.get(name);
    if (!item) return;
    if (isSwitch) item.button.setAttribute("aria-pressed", String(active));
    item.done.textContent = active ? "on" : !isSwitch && times ? `done ${times} ×` : "";
  }

  async #order(name, on) {
    this.#message.textContent = "";
    const response = await fetch("/api/breakages", {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ name, on }) });
    const answer = await response.json();
    if (response.ok) this.show(answer);
    else this.#message.textContent = `That did not work: ${answer.error}`;
  }
}
