// A message's body, rebuilt from an allow-list. What people wrote is parsed into an inert document (it runs and loads
// nothing) and only the elements named here are recreated, without their attributes except checked links.

import { h } from "./dom.js";

const KEPT = new Set(
  ("p div span br b strong i em u s del sub sup code pre blockquote ul ol li hr " +
    "table thead tbody tr td th").split(" "),
);
const RENAMED = { strike: "s", codeblock: "pre", h1: "p", h2: "p", h3: "p", h4: "p", h5: "p", h6: "p" };
const DROPPED = new Set(
  ("script style template noscript iframe frame object embed applet head title meta link base form input button " +
    "select textarea audio video source track canvas dialog").split(" "),
);
const XHTML = "http://www.w3.org/1999/xhtml";
const DEEPEST = 40;
const LINK = /\bhttps?:\/\/[^\s<>"']+[^\s<>"'.,;:!?)\]}]/gu;

const asIs = { createHTML: (html) => html };
const inert = globalThis.trustedTypes?.createPolicy("inert", asIs) ?? asIs;

/** The body of a chatMessage as nodes; attachments it does not place itself come at the end. */
export function bodyOf(resource) {
  const context = { mentions: listOf(resource.mentions), attachments: listOf(resource.attachments), placed: new Set() };
  const content = String(resource.body?.content ?? "");
  const nodes = resource.body?.contentType === "html" ? fromHtml(content, context) : fromText(content);
  const loose = context.attachments.filter((attachment) => !context.placed.has(attachment));
  return [...nodes, ...loose.map(attachmentCard)];
}

/** The same as one line of plain text, for quotations. */
export function excerptOf(resource) {
  const content = String(resource.body?.content ?? "");
  const text = resource.body?.contentType === "html" ? h("div", {}, ...fromHtml(content, NOTHING())).textContent : content;
  return [...text.replace(/\s+/gu, " ").trim()].slice(0, 90).join("");
}

/** An address that may be followed: absolute, of the web or mail; else null. */
export function safeLink(address) {
  if (!URL.canParse(address)) return null;
  const url = new URL(address);
  return ["http:", "https:", "mailto:"].includes(url.protocol) ? url.href : null;
}

const NOTHING = () => ({ mentions: [], attachments: [], placed: new Set() });
/** The objects in what should be a list of them. */
export const listOf = (value) => (Array.isArray(value) ? value.filter((item) => item && typeof item === "object") : []);

function fromText(text) {
  const nodes = [];
  let from = 0;
  for (const found of text.matchAll(LINK)) {
    nodes.push(text.slice(from, found.index), link(found[0], [found[0]]));
    from = found.index + found[0].length;
  }
  return [h("div", { class: "plain" }, ...nodes, text.slice(from))];
}

function fromHtml(html, context) {
  const parsed = new DOMParser().parseFromString(inert.createHTML(html), "text/html");
  return childrenOf(parsed.body, context, 0);
}

function childrenOf(node, context, depth) {
  if (depth > DEEPEST) return [node.textContent];
  return [...node.childNodes].flatMap((child) => rebuilt(child, context, depth + 1));
}

function rebuilt(node, context, depth) {
  if (node.nodeType === Node.TEXT_NODE) return [node.data];
  if (node.nodeType !== Node.ELEMENT_NODE || node.namespaceURI !== XHTML || DROPPED.has(node.localName)) return [];
  if (node.localName in SPECIAL) return SPECIAL[node.localName](node, context, depth);
  const children = childrenOf(node, context, depth);
  const name = RENAMED[node.localName] ?? node.localName;
  return KEPT.has(name) ? [h(name, /^h\d$/.test(node.localName) ? { class: "heading" } : {}, ...children)] : children;
}

const SPECIAL = {
  __proto__: null, // an element may be called <constructor>
  a: (node, context, depth) => [link(node.getAttribute("href") ?? "", childrenOf(node, context, depth))],
  at: (node, context) => [mention(node, context)],
  attachment: (node, context) => placed(node, context),
  emoji: (node) => [h("span", { class: "emoji", title: node.getAttribute("title") }, node.getAttribute("alt") ?? "")],
  img: (node) => [h("span", { class: "picture" }, node.getAttribute("alt") || "picture")],
};

function link(address, children) {
  const href = safeLink(address);
  return href === null
    ? h("span", {}, ...children)
    : h("a", { href, title: href, target: "_blank", rel: "noopener noreferrer nofollow" }, ...children);
}

function mention(node, context) {
  const found = context.mentions.find((item) => String(item.id) === node.getAttribute("id"));
  const kind = ["user", "application", "conversation", "tag"].find((name) => found?.mentioned?.[name]) ?? "user";
  return h("span", { class: "mention", "data-kind": kind }, node.textContent || String(found?.mentionText ?? ""));
}

function placed(node, context) {
  const found = context.attachments.find((item) => item.id === node.getAttribute("id"));
  if (!found || context.placed.has(found)) return [];
  context.placed.add(found);
  return [attachmentCard(found)];
}

function attachmentCard(attachment) {
  const kind = String(attachment.contentType ?? "");
  if (kind === "messageReference") return quotation(attachment);
  const name = String(attachment.name || (kind.includes("card") ? "Card" : "Attachment"));
  const extension = /\.([A-Za-z0-9]{1,5})$/.exec(name)?.[1] ?? (kind.includes("card") ? "card" : "file");
  const href = safeLink(attachment.contentUrl ?? "");
  const label = [h("span", { class: "extension", "aria-hidden": "true" }, extension), h("bdi", {}, name)];
  return h("div", { class: "attachment" }, href ? link(href, label) : h("span", {}, ...label));
}

/** In chats, answering a message attaches it: its preview travels as JSON in `content`. */
function quotation(attachment) {
  let quoted = {};
  try {
    quoted = JSON.parse(attachment.content) ?? {};
  } catch {
    return h("blockquote", {}, "a message that cannot be shown");
  }
  const who = quoted.messageSender?.user?.displayName;
  return h("blockquote", {}, who ? h("cite", {}, String(who)) : null, " ", String(quoted.messagePreview ?? ""));
}
