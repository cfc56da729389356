// Five minutes of events and their lag, a bar for every second or so. Lag is drawn on a logarithmic scale: 100 ms and
// an hour both have to be seen.

import { svg } from "./dom.js";
import { lag, plural, rate } from "./format.js";

const SPAN = 300; // seconds
const BAR = 2.5; // pixels, at least
const GAP = 16; // pixels between the two lanes
const FOOT = 18; // pixels for the time axis
const HEAD = 6;
const LABEL = 14; // pixels from one label of the lag scale to the next
const EDGE = 52; // pixels on the right for the lag scale's labels

export class Chart {
  #root = document.getElementById("chart");
  #seconds = new Map(); // Unix second → {at, events, lag_ms: {p50, p99}}
  #now = 0;
  #described = 0;

  constructor() {
    new ResizeObserver(() => this.#draw()).observe(this.#root);
  }

  /** Start over with these seconds. */
  fill(seconds) {
    this.#seconds = new Map(seconds.map((second) => [second.at, second]));
    this.#draw();
  }

  /** Move on to the second `at`, just finished; `seconds` are new or have changed. */
  tick(at, seconds) {
    for (const second of seconds) this.#seconds.set(second.at, second);
    this.#now = at;
    for (const old of this.#seconds.keys()) if (old <= at - SPAN) this.#seconds.delete(old);
    this.#draw();
  }

  #draw() {
    const { clientWidth: width, clientHeight: height } = this.#root;
    if (!width || !this.#now) return;
    const lane = (height - HEAD - GAP - FOOT) / 2;
    const plot = width - EDGE;
    const bins = this.#bins(Math.ceil((SPAN * BAR) / plot));
    const step = plot / bins.length;
    const busiest = Math.max(0, ...bins.map((bin) => bin.rate));
    const most = Math.max(1, busiest);
    const worst = Math.max(1_000, ...bins.map((bin) => bin.p99 ?? 0));
    const least = Math.max(1, Math.min(100, ...bins.map((bin) => (bin.p50 ?? Infinity) / 2)));
    const level = (ms) => HEAD + lane + GAP + lane * (1 - Math.log(Math.max(ms, least) / least) / Math.log(worst / least));
    const x = (index) => (index + 0.5) * step;
    this.#root.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.#root.replaceChildren(
      ...grid(plot, HEAD + lane, level, least, worst),
      svg("path", { class: "bars", "stroke-width": Math.max(1, step - 1), d: bins.map((bin, index) =>
        bin.rate ? `M${x(index).toFixed(1)} ${HEAD + lane}v${(-Math.max(1.5, lane * bin.rate / most)).toFixed(1)}` : "").join("") }),
      svg("path", { class: "spread", "stroke-width": Math.max(1, step - 1), d: bins.map((bin, index) =>
        bin.p50 === null ? "" : `M${x(index).toFixed(1)} ${(level(bin.p50) + 1).toFixed(1)}V${(level(bin.p99) - 1).toFixed(1)}`).join("") }),
      svg("path", { class: "median", d: line(bins, x, level) }),
      label(0, HEAD + 9, busiest ? `at most ${rate(busiest)} events/s` : "no events in five minutes"), label(0, HEAD + lane + GAP + 9, busiest ? `lag up to ${lag(worst)}` : ""),
      label(0, height - 2, "5 min ago"), label(plot / 2, height - 2, "2½", "middle"), label(plot, height - 2, "now", "end"));
    this.#describe(busiest, bins);
  }

  #bins(size) {
    const length = Math.floor(SPAN / size);
    const end = Math.ceil((this.#now + 1) / size) * size; // the same seconds stay together from one drawing to the next
    return Array.from({ length }, (_, index) => {
      const first = end - (length - index) * size;
      const seconds = Array.from({ length: size }, (_, offset) => this.#seconds.get(first + offset)).filter(Boolean);
      const events = seconds.reduce((sum, second) => sum + second.events, 0);
      const median = seconds.map((second) => second.lag_ms.p50).sort((a, b) => a - b)[Math.floor(seconds.length / 2)];
      const p99 = Math.max(...seconds.map((second) => second.lag_ms.p99));
      return { rate: events / size, p50: median ?? null, p99: seconds.length ? p99 : null };
    });
  }

  #describe(most, bins) {
    if (this.#now - this.#described < 15) return; // often enough for ears
    this.#described = this.#now;
    const events = [...this.#seconds.values()].reduce((sum, second) => sum + second.events, 0);
    const worst = Math.max(...bins.map((bin) => bin.p99 ?? -Infinity));
    const lateness = events ? `, at most ${rate(most)} a second, lag up to ${lag(worst)}` : "";
    this.#root.setAttribute("aria-label", `The last five minutes: ${plural(events, "event")}${lateness}`);
  }
}

function grid(plot, floor, level, least, worst) {
  const decades = [];
  for (const ms of [10, 100, 1_000, 10_000, 60_000, 600_000, 3_600_000]) {
    const isApart = !decades.length || level(decades.at(-1)) - level(ms) >= LABEL;
    if (ms > least * 1.5 && ms < worst * 0.7 && isApart) decades.push(ms);
  }
  const lines = decades.flatMap((ms) => [
    svg("path", { class: "grid", d: `M0 ${level(ms).toFixed(1)}H${plot}` }), label(plot + 6, level(ms) + 3.5, lag(ms))]);
  return [svg("path", { class: "floor", d: `M0 ${floor + 0.5}H${plot}` }), ...lines];
}

/** The median as a line that is broken where nothing came for a while. */
function line(bins, x, level) {
  let last = -Infinity;
  return bins.map((bin, index) => {
    if (bin.p50 === null) return "";
    const move = index - last > 6 ? "M" : "L";
    last = index;
    return `${move}${x(index).toFixed(1)} ${level(bin.p50).toFixed(1)}`;
  }).join("");
}

const label = (x, y, text, anchor = "start") => svg("text", { x, y, "text-anchor": anchor }, text);
