// The messages in view, newest arrival first. While the reader has scrolled down, new messages wait at the top.

import { keyOf, rootKeyOf, show, showReplies } from "./card.js";
import { h } from "./dom.js";
import { plural } from "./format.js";

const PAGE = 60; // messages asked for at a time
const MOST_SHOWN = 240; // cards in the document
const MOST_PENDING = 400; // more than that between two frames: read the history again instead

export class Stream {
  #list = document.getElementById("stream");
  #older = document.getElementById("older");
  #newer = document.getElementById("newer");
  #shown = new Map(); // key → {message, article}, in no order; the document holds the order
  #repliesOf = new Map(); // root key → keys of the replies in view
  #distant = new Map(); // key → a root that is not in view, null while it is asked for
  #pending = [];
  #scheduled = false;
  #loading = null;
  #reading = false;
  #waiting = 0;
  #selection = {};
  #paused = false;
  #rereading = null;
  #placeOf;
  #linkTo;
  #onCount;

  /** `placeOf(conversation)`: {label, open}. `linkTo(position)`: an address. `onCount(n)`: given the messages in view. */
  constructor(placeOf, linkTo, onCount) {
    this.#placeOf = placeOf;
    this.#linkTo = linkTo;
    this.#onCount = onCount;
    this.#older.addEventListener("click", () => this.#loadOlder());
    this.#newer.addEventListener("click", () => this.#toTop());
    new IntersectionObserver(([edge]) => this.#reads(!edge.isIntersecting && edge.boundingClientRect.top < 0))
      .observe(document.getElementById("top"));
  }

  get conversation() { return this.#selection.conversation ?? null; }

  get paused() { return this.#paused; }

  /** Whether what arrives now is seen at once. */
  get live() { return !this.#holds && !document.hidden; }

  get #holds() { return this.#reading || this.#paused; }

  /** Show only what matches `{conversation, q, state}`; what is empty or null selects all. */
  filter(selection) {
    this.#selection = selection;
    return this.load();
  }

  /** Keep what is in view, or show again what arrives. */
  pause(paused) {
    this.#paused = paused;
    return !paused && this.#waiting ? this.load() : Promise.resolve();
  }

  /** Focus the next message (1) or the previous one (-1). */
  step(by) {
    const articles = [...this.#list.children];
    const at = articles.indexOf(document.activeElement?.closest?.("article"));
    const next = articles[at < 0 ? 0 : Math.min(articles.length - 1, Math.max(0, at + by))];
    next?.focus({ preventScroll: true });
    next?.scrollIntoView({ block: "nearest" });
  }

  /** Open the message that has the focus. */
  openFocused() {
    document.activeElement?.closest?.("article")?.querySelector(".permalink")?.click();
  }

  /** Read the newest messages again and show them in place of what is in view. */
  async load() {
    const request = (this.#loading = this.#fetch());
    try {
      await request;
    } finally {
      if (request === this.#loading) this.#loading = null;
    }
    if (this.#loading) return; // another filter was chosen meanwhile
    this.#renew(await request);
  }

  #renew(messages) {
    this.#shown.clear();
    this.#repliesOf.clear();
    this.#distant.clear();
    this.#list.replaceChildren();
    this.#waiting = 0;
    this.#older.hidden = messages.length < PAGE;
    for (const message of messages) this.#append(message);
    this.#settle();
    this.#flush();
  }

  /** Take in messages from the live stream. */
  receive(messages) {
    if (this.#selection.q || this.#selection.state) {
      this.#readAgainSoon(); // the feed knows what matches
      return;
    }
    const { conversation } = this.#selection;
    this.#pending.push(...messages.filter((message) => !conversation || message.conversation === conversation));
    if (this.#pending.length > MOST_PENDING) {
      this.#pending = [];
      if (!this.#holds) this.load();
    }
    if (!this.#scheduled) {
      this.#scheduled = true;
      const next = document.hidden ? (work) => setTimeout(work, 250) : requestAnimationFrame;
      next(() => { this.#scheduled = false; this.#flush(); });
    }
  }

  #readAgainSoon() {
    if (this.#holds) return;
    this.#rereading ??= setTimeout(() => { this.#rereading = null; this.load(); }, 700);
  }

  /** Names of places have changed: show them. */
  relabel() {
    for (const { message, article } of this.#shown.values()) this.#draw(article, message);
  }

  #flush() {
    if (this.#loading) return; // load() flushes once the history is there
    const arrived = this.#pending;
    this.#pending = [];
    for (const message of arrived) this.#place(message);
    this.#settle();
  }

  #place(message) {
    if (this.#distant.has(keyOf(message))) this.#learn(message);
    const known = this.#shown.get(keyOf(message));
    if (known) this.#change(known, message);
    else if (this.#holds) this.#waiting += this.#isNewest(message) ? 1 : 0;
    else this.#insert(message);
  }

  #change(known, message) {
    if (message.version <= known.message.version) return;
    known.message = message;
    this.#draw(known.article, message);
    known.article.classList.remove("changed");
    void known.article.offsetWidth; // lets the highlight start again when two edits follow each other
    known.article.classList.add("changed");
  }

  #insert(message) {
    // Batches may overtake each other, so a message goes where its position says.
    let next = this.#list.firstElementChild;
    while (next && Number(next.dataset.position) > message.position) next = next.nextElementSibling;
    if (!next && !this.#older.hidden) return; // older than anything in view
    const article = this.#create(message);
    article.classList.add("arrived");
    this.#list.insertBefore(article, next);
    this.#settleReplies(message);
  }

  #append(message) {
    this.#list.append(this.#create(message));
    this.#settleReplies(message);
  }

  #create(message) {
    const article = h("article", { tabindex: "-1", "data-position": message.position });
    this.#shown.set(keyOf(message), { message, article });
    this.#draw(article, message);
    return article;
  }

  #draw(article, message) {
    const rootKey = rootKeyOf(message);
    const root = rootKey && this.#rootOf(rootKey);
    const place = this.#selection.conversation ? null : this.#placeOf(message.conversation);
    const replies = this.#repliesOf.get(keyOf(message))?.size ?? 0;
    try {
      show(article, message, { place, root, replies, link: this.#linkTo(message.position) });
    } catch (error) {
      console.error("a message of unknown shape", error);
      article.replaceChildren(h("p", { class: "line" }, "A message whose shape this page does not know"));
    }
  }

  #rootOf(key) {
    const shown = this.#shown.get(key);
    if (shown) return { message: shown.message, open: () => this.#reveal(key) };
    if (!this.#distant.has(key)) this.#ask(key);
    return { message: this.#distant.get(key), open: null };
  }

  async #ask(key) {
    this.#distant.set(key, null);
    const [source, subject] = key.split(/ (.*)/su);
    const response = await fetch(`/api/message?${new URLSearchParams({ source, subject })}`);
    const root = response.ok ? await response.json() : null;
    if (root && this.#distant.has(key)) this.#learn(root);
  }

  #learn(root) {
    this.#distant.set(keyOf(root), root);
    this.#redrawReplies(keyOf(root));
  }

  #redrawReplies(key) {
    for (const reply of this.#repliesOf.get(key) ?? []) {
      const shown = this.#shown.get(reply);
      if (shown) this.#draw(shown.article, shown.message);
    }
  }

  #settleReplies(message) {
    const key = keyOf(message);
    const rootKey = rootKeyOf(message);
    if (rootKey) {
      if (!this.#repliesOf.has(rootKey)) this.#repliesOf.set(rootKey, new Set());
      this.#repliesOf.get(rootKey).add(key);
      const root = this.#shown.get(rootKey);
      if (root) showReplies(root.article, this.#repliesOf.get(rootKey).size);
    }
    this.#redrawReplies(key); // their references can name and open it now
  }

  #settle() {
    while (this.#list.childElementCount > MOST_SHOWN) this.#forget(this.#list.lastElementChild);
    this.#newer.hidden = !this.#waiting;
    this.#newer.textContent = `${plural(this.#waiting, "newer message")} ↑`;
    this.#onCount(this.#shown.size);
  }

  #forget(article) {
    const { message } = this.#shown.get(article.dataset.key);
    this.#shown.delete(article.dataset.key);
    const rootKey = rootKeyOf(message);
    this.#repliesOf.get(rootKey)?.delete(article.dataset.key);
    if (!this.#repliesOf.get(rootKey)?.size) {
      this.#repliesOf.delete(rootKey);
      this.#distant.delete(rootKey);
    }
    if (article === this.#list.lastElementChild) this.#older.hidden = false;
    article.remove();
  }

  #isNewest(message) {
    return message.position > Number(this.#list.firstElementChild?.dataset.position ?? 0);
  }

  #reveal(key) {
    const article = this.#shown.get(key)?.article;
    article?.scrollIntoView({ block: "center", behavior: "smooth" });
    article?.focus({ preventScroll: true });
  }

  #reads(reading) {
    this.#reading = reading;
    if (!this.#holds && this.#waiting) this.load();
  }

  #toTop() {
    document.getElementById("top").scrollIntoView({ block: "end" });
    document.getElementById("messages").focus({ preventScroll: true });
    this.#reading = false;
    this.load();
  }

  async #loadOlder() {
    const messages = await this.#fetch(this.#list.lastElementChild?.dataset.position);
    this.#older.hidden = messages.length < PAGE;
    for (const message of messages) if (!this.#shown.has(keyOf(message))) this.#append(message);
    // The newest make room; they come back with the button at the top.
    while (this.#list.childElementCount > MOST_SHOWN) {
      this.#waiting += 1;
      this.#forget(this.#list.firstElementChild);
    }
    this.#settle();
  }

  async #fetch(before) {
    const query = new URLSearchParams({ limit: PAGE });
    if (before) query.set("before", before);
    for (const [name, value] of Object.entries(this.#selection)) if (value) query.set(name, value);
    const response = await fetch(`/api/messages?${query}`);
    if (!response.ok) throw new Error(`the feed answered ${response.status}`);
    return response.json();
  }
}
