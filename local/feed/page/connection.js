// The stream of server-sent events, opened again whenever it ends or falls silent.

const SILENCE = 8_000; // ms; the feed speaks every second
const PAUSE = 1_500; // ms before another attempt

/**
 * Keep a stream open for as long as the page is.
 * `on`: a listener for each kind of event, given its parsed data; `opened` and `lost` tell how the connection is.
 */
export function connect(on, { opened, lost }) {
  let source;
  let watchdog;

  function open() {
    source = new EventSource("/api/stream");
    source.addEventListener("open", () => { heard(); opened(); });
    source.addEventListener("error", again);
    for (const [kind, listener] of Object.entries(on)) {
      source.addEventListener(kind, (event) => { heard(); listener(JSON.parse(event.data)); });
    }
    heard();
  }

  function heard() {
    clearTimeout(watchdog);
    watchdog = setTimeout(again, SILENCE);
  }

  function again() {
    source.close();
    lost();
    clearTimeout(watchdog);
    watchdog = setTimeout(open, PAUSE);
  }

  open();
}
