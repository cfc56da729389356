// One message as an article: who, when, where, what, and what happened to it since.

import { bodyOf, excerptOf, listOf } from "./body.js";
import { h } from "./dom.js";
import { clock, hue, initials, lag, lagMood, plural, sentence } from "./format.js";

const REACTIONS = { __proto__: null, like: "👍", heart: "❤️", laugh: "😆", surprised: "😮", sad: "😢", angry: "😡" };
const LONG = 1_200; // characters, folded at first

export const keyOf = (message) => `${message.source} ${message.subject}`;

/** The key of the message that a channel reply answers, or null. */
export function rootKeyOf(message) {
  const subject = /^(.*\/messages\/[^/]+)\/replies\/[^/]+$/u.exec(message.subject);
  return subject && `${message.source.replace(/\/[^/]+\/replies$/u, "")} ${subject[1]}`;
}

export const authorOf = (message) => message.author ?? (message.author_id ? "Unknown author" : "Teams");

/**
 * Show `message` in `article`, replacing what it showed before.
 * `place`: {label, open} of its conversation, or null where that goes without saying.
 * `link`: the address of its inspector.
 * `root`: for a reply, {message, open} of what it answers: the message null if it is not known, `open` if it is not in view.
 */
export function show(article, message, { place, root, replies, link }) {
  const kind = kindOf(message);
  article.className = `card ${kind}`;
  article.dataset.key = keyOf(message);
  article.setAttribute("aria-label", `${authorOf(message)}, ${clock(writtenAt(message))}`);
  article.replaceChildren(...(kind === "event" ? quietLine(message, place, link) : whole(message, place, root, link)));
  showReplies(article, replies);
}

/** Say under a message how many replies to it are known. */
export function showReplies(article, n) {
  article.querySelector(".replies")?.remove();
  if (n) article.querySelector(".said")?.append(h("p", { class: "replies" }, plural(n, "reply", "replies")));
}

function kindOf(message) {
  if (message.deleted) return "deleted";
  const { messageType, eventDetail, body } = message.data;
  if (eventDetail || (messageType && messageType !== "message")) return "event";
  if (message.partial) return "partial";
  return body ? "message" : "event";
}

function whole(message, place, root, link) {
  const author = authorOf(message);
  const avatar = h("div", { class: "avatar", "aria-hidden": "true" }, initials(author));
  avatar.style.setProperty("--hue", hue(message.author_id ?? author));
  const head = h("header", {},
    h("bdi", { class: "author" }, author),
    message.data.from?.application ? h("span", { class: "mark" }, "app") : null,
    place && placeButton(place),
    ...marksOf(message),
    timing(message, link));
  return [avatar, h("div", { class: "said" }, head, root && reference(root), ...contentOf(message))];
}

function contentOf(message) {
  const { data } = message;
  if (message.deleted) return [h("p", { class: "tombstone" }, h("s", {}, "This message was deleted"))];
  if (message.partial) {
    return [h("p", { class: "note" }, "Only the notification came: it said that this message changed, not what it says.")];
  }
  const body = h("div", { class: "body", dir: "auto" }, ...bodyOf(data));
  if (!body.textContent.trim() && !data.subject) body.append(h("span", { class: "note" }, "no text"));
  return [
    data.subject ? h("h3", { dir: "auto" }, String(data.subject)) : null,
    data.policyViolation?.dlpAction ? h("p", { class: "note" }, "Held back by a policy") : null,
    body,
    body.textContent.length > LONG ? fold(body) : null,
    reactionsOf(data),
  ];
}

function fold(body) {
  body.classList.add("folded");
  return h("button", { type: "button", class: "unfold", onclick: (event) => {
    body.classList.remove("folded");
    event.currentTarget.remove();
  } }, "Show all");
}

function marksOf({ data, deleted, partial }) {
  const marks = [];
  if (data.importance === "high" || data.importance === "urgent") marks.push([data.importance, "alarm"]);
  if (data.lastEditedDateTime && !deleted) marks.push(["edited", "edited"]);
  if (deleted) marks.push(["deleted", "gone"]);
  if (partial && !deleted) marks.push(["notification only", "partial"]);
  return marks.map(([text, kind]) => h("span", { class: "mark", "data-kind": kind }, text));
}

function reactionsOf(data) {
  const counted = new Map();
  for (const { reactionType = "?", displayName } of listOf(data.reactions)) {
    const sign = REACTIONS[reactionType] ?? ([...String(reactionType)].length > 4 ? String(displayName ?? reactionType) : reactionType);
    counted.set(sign, (counted.get(sign) ?? 0) + 1);
  }
  if (!counted.size) return null;
  const items = [...counted].map(([sign, n]) => h("li", {}, h("span", { class: "emoji" }, sign), " ", String(n)));
  return h("ul", { class: "reactions", "aria-label": "Reactions" }, ...items);
}

function reference({ message, open }) {
  if (!message) return h("p", { class: "reference" }, "in reply to an earlier message");
  const text = message.deleted ? "a deleted message" : message.data.subject || excerptOf(message.data) || "a message";
  const quoted = [h("bdi", { class: "who" }, authorOf(message)), " ", h("bdi", {}, String(text))];
  return open
    ? h("button", { type: "button", class: "reference", onclick: open }, ...quoted)
    : h("p", { class: "reference" }, ...quoted);
}

const placeButton = ({ label, open }) =>
  h("button", { type: "button", class: "place", onclick: open, title: `Show only ${label}` }, h("bdi", {}, label));

const writtenAt = ({ data, time }) => (Number.isNaN(Date.parse(data.createdDateTime)) ? time : data.createdDateTime);

/** When it was written, and how long its last change took to get here. */
function timing(message, link) {
  const iso = writtenAt(message);
  const title = "From the change to its arrival here";
  return h("span", { class: "timing" },
    h("a", { class: "permalink", href: link, title: "Inspect this message" }, h("time", { datetime: iso }, clock(iso))),
    h("span", { class: "lag", "data-mood": lagMood(message.lag_ms), title }, h("span", { class: "unseen" }, "lag "), lag(message.lag_ms)));
}

function quietLine(message, place, link) {
  return [h("p", { class: "line", dir: "auto" }, eventText(message)), place && placeButton(place), timing(message, link)];
}

/** `#microsoft.graph.membersAddedEventMessageDetail` → `Members added · Ada, Lin`; other resources by their type. */
function eventText({ data, type, subject }) {
  const detail = data.eventDetail;
  if (!detail) return data.messageType ? "Something happened here" : `${sentence(type.split(".").at(-1))} · ${subject}`;
  const what = /(\w+?)EventMessageDetail$/u.exec(detail["@odata.type"] ?? "")?.[1] ?? "something happened";
  const names = [
    detail.chatDisplayName, detail.channelDisplayName, detail.teamDisplayName,
    ...(Array.isArray(detail.members) ? detail.members.map((member) => member?.displayName) : []),
  ].filter((name) => typeof name === "string" && name);
  const by = detail.initiator?.user?.displayName;
  return `${sentence(what)}${names.length ? ` · ${names.join(", ")}` : ""}${by ? ` · by ${by}` : ""}`;
}
