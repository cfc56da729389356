// The chats and channels on the left: what each is called, how much it holds, what is new.

import { h } from "./dom.js";
import { count, hue, initials } from "./format.js";

const GROUPS = [["channel", "Channels"], ["chat", "Chats"], ["other", "Other resources"]];
const MOST_LISTED = 80; // of each kind, those with the newest messages

export class Rail {
  #nav = document.getElementById("rail");
  #places = new Map(); // conversation → {conversation, name, people, messages}
  #unseen = new Map(); // conversation, which may not be in #places yet → new messages since it was last looked at
  #items = new Map(); // conversation, or null for everything → {button, count, unseen}
  #chosen = null;
  #choose;

  /** `choose(conversation)`: called when somebody picks one, or null for everything. */
  constructor(choose) {
    this.#choose = choose;
  }

  knows(conversation) { return this.#places.has(conversation); }

  /** What the conversation is called: by its name, else by who writes there, else by its id. */
  label(conversation) {
    const place = this.#places.get(conversation);
    const kind = kindOf(conversation);
    const sign = kind === "channel" ? "# " : "";
    if (place?.name) return sign + place.name;
    if (kind === "chat" && place?.people.length) return place.people.map((name) => name.split(" ")[0]).join(", ");
    return kind === "other" ? conversation.split("/").slice(3).join("/") : sign + shortId(conversation);
  }

  /** Show this list, as `GET /api/conversations` gives it. */
  fill(conversations) {
    this.#places = new Map(conversations.map((place) => [place.conversation, place]));
    this.#draw();
  }

  /** Count new messages; those of a place nobody is looking at stay marked until it is chosen. */
  note(messages, live) {
    for (const { conversation, revisions } of messages) {
      const seen = live && (this.#chosen === null || this.#chosen === conversation);
      if (!seen && revisions === 1) this.#unseen.set(conversation, (this.#unseen.get(conversation) ?? 0) + 1);
      const place = this.#places.get(conversation);
      if (!place) continue;
      if (revisions === 1) place.messages += 1;
      this.#refresh(conversation);
      pulse(this.#items.get(conversation)?.button);
    }
    this.#refresh(null);
  }

  choose(conversation) {
    this.#chosen = conversation;
    if (conversation === null) this.#unseen.clear();
    else this.#unseen.delete(conversation);
    for (const [key, { button }] of this.#items) button.setAttribute("aria-current", String(key === conversation));
    for (const key of this.#items.keys()) this.#refresh(key);
  }

  #draw() {
    const focused = document.activeElement?.dataset?.conversation;
    this.#items.clear();
    const everything = h("ul", {}, this.#item(null, "Everything", "", h("span", { class: "tile all", "aria-hidden": "true" }, "∗")));
    this.#nav.replaceChildren(everything, ...GROUPS.flatMap(([kind, title]) => this.#group(kind, title)));
    this.choose(this.#chosen);
    if (focused !== undefined) this.#items.get(focused || null)?.button.focus();
  }

  #group(kind, title) {
    const places = [...this.#places.keys()].filter((key) => kindOf(key) === kind).slice(0, MOST_LISTED);
    if (!places.length) return [];
    places.sort((one, other) => this.label(one).localeCompare(this.label(other)));
    return [h("h2", {}, title), h("ul", {}, ...places.map((key) => this.#place(key, kind)))];
  }

  #place(key, kind) {
    const label = this.label(key);
    const { people } = this.#places.get(key);
    const tile = h("span", { class: `tile ${kind}`, "aria-hidden": "true" }, kind === "chat" ? initials(label) : "#");
    tile.style.setProperty("--hue", hue(key));
    return this.#item(key, label.replace(/^# /u, ""), kind === "channel" ? people.join(", ") : "", tile);
  }

  #item(key, label, note, tile) {
    const total = h("span", { class: "total" });
    const unseen = h("span", { class: "badge" });
    const name = h("span", { class: "name" }, h("bdi", {}, label), note && h("small", {}, note));
    const button = h("button", { type: "button", "data-conversation": key ?? "", onclick: () => this.#choose(key) }, tile, name, unseen, total);
    this.#items.set(key, { button, total, unseen });
    return h("li", {}, button);
  }

  #refresh(key) {
    const item = this.#items.get(key);
    if (!item) return;
    const places = key === null ? [...this.#places.values()] : [this.#places.get(key)];
    const unseen = this.#unseen.get(key);
    item.total.textContent = count(places.reduce((sum, place) => sum + place.messages, 0));
    item.unseen.textContent = unseen ? `${count(unseen)} new` : "";
  }
}

function kindOf(conversation) {
  return /^\/tenants\/[^/]+\/chats\//u.test(conversation) ? "chat"
    : /^\/tenants\/[^/]+\/teams\/[^/]+\/channels\//u.test(conversation) ? "channel" : "other";
}

/** The telling part of `19%3A7c9e…%40thread.tacv2`. */
function shortId(conversation) {
  const thread = conversation.slice(conversation.lastIndexOf("/") + 1);
  return /^19(?:%3A|:)(?:meeting_)?([^%@]{1,8})/iu.exec(thread)?.[1] ?? thread.slice(0, 8);
}

function pulse(button) {
  if (!button || button.classList.contains("pulse")) return;
  button.classList.add("pulse");
  setTimeout(() => button.classList.remove("pulse"), 900);
}
