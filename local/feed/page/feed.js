// The page: connects the stream of events with the list of messages, the rail, the chart, the panel and the inspector.

import { addressWith, chosen, go } from "./address.js";
import { BreakPanel } from "./break.js";
import { authorOf } from "./card.js";
import { Chart } from "./chart.js";
import { connect } from "./connection.js";
import { Failures } from "./failures.js";
import { clock, count, lag, plural, rate } from "./format.js";
import { Inspector } from "./inspector.js";
import { Panel } from "./panel.js";
import { Rail } from "./rail.js";
import { Stream } from "./stream.js";
import { Trouble } from "./trouble.js";

const REREAD = 600; // ms to gather new conversations before their names are asked for
const ANNOUNCE = 12_000; // ms between two announcements to a screen reader
const TYPING = 250; // ms after the last key before a search begins

const byId = (id) => document.getElementById(id);
const chart = new Chart();
const panel = new Panel();
const trouble = new Trouble();
const breaking = new BreakPanel();
const inspector = new Inspector(() => go({ message: "", failure: "" }));
const failures = new Failures((failure) => addressWith({ failure, message: "" }));
const rail = new Rail((conversation) => go({ conversation: conversation ?? "", message: "", failure: "" }));
const stream = new Stream(
  (conversation) => ({ label: rail.label(conversation), open: () => go({ conversation }) }),
  (position) => addressWith({ message: String(position), failure: "" }),
  (shown) => { byId("empty").hidden = shown > 0 || failures.shown; });

let filtered = null;

async function choose() {
  const wanted = chosen();
  if (!wanted) return;
  const filter = JSON.stringify([wanted.conversation, wanted.q, wanted.state]);
  if (filter !== filtered) {
    filtered = filter;
    await show(wanted);
  }
  if (wanted.message) inspector.showMessage(wanted.message);
  else if (wanted.failure) inspector.showFailure(wanted.failure);
  else inspector.close();
}

async function show({ conversation, q, state }) {
  rail.choose(conversation || null);
  if (byId("search") !== document.activeElement) byId("search").value = q;
  byId("state").value = state;
  const failed = state === "failed";
  byId("stream-title").textContent = failed ? "Failed" : conversation ? rail.label(conversation) : "Everything";
  byId("empty-title").textContent = q || state ? "No message matches" : conversation ? "Nothing here yet" : "Waiting for the first message";
  byId("empty-steps").hidden = Boolean(conversation || q || state);
  byId("stream").hidden = failed;
  if (failed) {
    byId("empty").hidden = byId("older").hidden = byId("newer").hidden = true;
    await failures.show();
  } else {
    failures.hide();
    await stream.filter({ conversation, q, state });
  }
}

async function readConversations() {
  const response = await fetch("/api/conversations");
  rail.fill(await response.json());
  if (stream.conversation) byId("stream-title").textContent = rail.label(stream.conversation);
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
  if (!failures.shown) stream.receive(messages);
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

let lastHeard = null;
function showPace({ at, seconds, summary, health }) {
  lastHeard = at + 1;
  chart.tick(at, seconds);
  panel.showSummary(summary);
  trouble.show(health, at);
  showHealth(health);
  byId("figure-messages").textContent = count(summary.messages);
  byId("figure-rate").textContent = rate(summary.rate);
  byId("figure-p50").textContent = lag(summary.lag_ms.p50);
  byId("figure-p99").textContent = lag(summary.lag_ms.p99);
}

function showHealth({ ok, causes }) {
  const onPurposeAlone = causes.every(([cause]) => cause === "broken"); // and nothing is late for it so far
  if (ok) showLink("live", "Live");
  else if (onPurposeAlone) showLink("fault", "Fault on");
  else showLink("trouble", "Delayed");
}

function showRelay(relay) {
  panel.showRelay(relay);
  byId("step-relay").hidden = byId("step-received").hidden = !relay;
  byId("step-relay").dataset.done = relay?.reachable ? "yes" : "no";
  byId("step-received").dataset.done = relay?.received ? "yes" : "no";
}

const TITLES = { live: "", connecting: "", fault: "(!) Fault on · ", trouble: "(!) Delayed · ", lost: "(!) Not connected · " };
function showLink(state, text) {
  if (byId("link").dataset.state === state) return;
  byId("link").dataset.state = state;
  byId("link").textContent = text;
  document.title = `${TITLES[state]}Graph Relay · feed`;
  document.body.classList.toggle("stale", state === "lost");
}

function lost() {
  const asOf = lastHeard === null ? "" : ` · figures as of ${clock(new Date(lastHeard * 1_000).toISOString())}`;
  showLink("lost", `Reconnecting${asOf}`);
}

async function readEverything() {
  await readConversations();
  filtered = null;
  await choose();
}

function pause(paused) {
  byId("pause").setAttribute("aria-pressed", String(paused));
  byId("pause").textContent = paused ? "Resume" : "Pause";
  stream.pause(paused);
}

let typing = null;
byId("search").addEventListener("input", ({ target }) => {
  clearTimeout(typing);
  typing = setTimeout(() => go({ q: target.value.trim() }, { replace: true }), TYPING);
});
byId("state").addEventListener("change", ({ target }) => go({ state: target.value }));
byId("pause").addEventListener("click", () => pause(!stream.paused));
byId("stream").addEventListener("click", (event) => {
  if (event.target.closest("a, button, pre") || getSelection().type === "Range") return;
  event.target.closest("article")?.querySelector(".permalink")?.click();
});

const KEYS = {
  "/": () => byId("search").focus(),
  j: () => stream.step(1),
  k: () => stream.step(-1),
  p: () => pause(!stream.paused),
};
addEventListener("keydown", (event) => {
  const typingSomewhere = event.target.closest?.("input, select, textarea");
  if (event.key === "Escape" && event.target === byId("search")) {
    byId("search").value = "";
    go({ q: "" }, { replace: true });
    byId("messages").focus({ preventScroll: true });
  } else if (event.key === "Enter" && event.target.matches?.("article")) {
    stream.openFocused();
  } else if (!typingSomewhere && !inspector.open && !event.ctrlKey && !event.metaKey && !event.altKey && Object.hasOwn(KEYS, event.key)) {
    event.preventDefault();
    KEYS[event.key]();
  }
});

addEventListener("hashchange", choose);
connect(
  {
    history: (seconds) => chart.fill(seconds), pace: showPace, relay: showRelay, messages: receive, behind: readEverything,
    broken: (breakages) => breaking.show(breakages), names: reread,
  },
  { opened: readEverything, lost });
