// The page: connects the stream of events with the list of messages, the rail, the chart and the panel.

import { authorOf } from "./card.js";
import { Chart } from "./chart.js";
import { connect } from "./connection.js";
import { count, lag, plural, rate } from "./format.js";
import { Panel } from "./panel.js";
import { Rail } from "./rail.js";
import { Stream } from "./stream.js";

const REREAD = 600; // ms to gather new conversations before their names are asked for
const ANNOUNCE = 12_000; // ms between two announcements to a screen reader

const byId = (id) => document.getElementById(id);
const chart = new Chart();
const panel = new Panel();
const rail = new Rail((conversation) => { location.hash = conversation ? encodeURIComponent(conversation) : ""; });
const stream = new Stream(
  (conversation) => ({ label: rail.label(conversation), open: () => { location.hash = encodeURIComponent(conversation); } }),
  (shown) => { byId("empty").hidden = shown > 0; });

function chosen() {
  try {
    return decodeURIComponent(location.hash.slice(1)) || null;
  } catch {
    return null; // an address somebody mistyped
  }
}

async function choose() {
  const conversation = chosen();
  rail.choose(conversation);
  byId("stream-title").textContent = conversation ? rail.label(conversation) : "Everything";
  byId("empty-title").textContent = conversation ? "Nothing here yet" : "Waiting for the first message";
  byId("empty-steps").hidden = Boolean(conversation);
  await stream.filter(conversation);
}

async function readConversations() {
  const response = await fetch("/api/conversations");
  rail.fill(await response.json());
  byId("stream-title").textContent = stream.conversation ? rail.label(stream.conversation) : "Everything";
}

let rereading = null;
function reread() {
  rereading ??= setTimeout(async () => {
    rereading = null;
    await readConversations();
    stream.relabel();
  }, REREAD);
}

function receive(messages) {
  rail.note(messages, stream.live);
  stream.receive(messages);
  if (messages.some((message) => !rail.knows(message.conversation) || mayName(message.data))) reread();
  announce(messages.filter((message) => message.revisions === 1));
}

/** Renamings and mentions of a place are how its name becomes known. */
const mayName = ({ eventDetail, mentions }) =>
  Boolean(eventDetail) || (Array.isArray(mentions) && mentions.some((mention) => mention?.mentioned?.conversation));

let announced = 0;
let unannounced = 0;
function announce(messages) {
  unannounced += messages.length;
  if (!unannounced || Date.now() - announced < ANNOUNCE) return;
  const latest = messages.at(-1);
  byId("announcer").textContent = unannounced === 1 && latest
    ? `New message from ${authorOf(latest)}` : plural(unannounced, "new message");
  announced = Date.now();
  unannounced = 0;
}

function showPace({ at, seconds, summary }) {
  chart.tick(at, seconds);
  panel.showSummary(summary);
  byId("figure-messages").textContent = count(summary.messages);
  byId("figure-rate").textContent = rate(summary.rate);
  byId("figure-p50").textContent = lag(summary.lag_ms.p50);
  byId("figure-p99").textContent = lag(summary.lag_ms.p99);
}

function showRelay(relay) {
  panel.showRelay(relay);
  byId("step-relay").hidden = byId("step-received").hidden = !relay;
  byId("step-relay").dataset.done = relay?.reachable ? "yes" : "no";
  byId("step-received").dataset.done = relay?.received ? "yes" : "no";
}

function showLink(state, text) {
  if (byId("link").dataset.state === state) return;
  byId("link").dataset.state = state;
  byId("link").textContent = text;
}

async function readEverything() {
  await readConversations();
  await choose();
}

addEventListener("hashchange", choose);
connect(
  { history: (seconds) => chart.fill(seconds), pace: showPace, relay: showRelay, messages: receive, behind: readEverything },
  {
    opened: () => { showLink("live", "Live"); readEverything(); },
    lost: () => showLink("lost", "Reconnecting"),
  });
