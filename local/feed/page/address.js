// The address of the page says what it shows: conversation, search, state, and the message or failure that is inspected.

const NAMES = ["conversation", "q", "state", "message", "failure"];
const SECTIONS = new Set(["messages", "panel", "break"]);

/** What the address says, each name with a text, "" if it is absent; null if it only names a section of the page. */
export function chosen() {
  const hash = location.hash.slice(1);
  if (SECTIONS.has(hash)) return null;
  const query = new URLSearchParams(hash);
  return Object.fromEntries(NAMES.map((name) => [name, query.get(name) ?? ""]));
}

/** The address that differs from the present one by `changes`. */
export function addressWith(changes) {
  const wanted = { ...chosen(), ...changes };
  const query = new URLSearchParams(NAMES.filter((name) => wanted[name]).map((name) => [name, wanted[name]]));
  return `#${query}`;
}

/** Go there; a typed search replaces the entry in the history. */
export function go(changes, { replace = false } = {}) {
  const address = addressWith(changes);
  if (address === (location.hash || "#")) return;
  if (replace) {
    history.replaceState(null, "", address);
    dispatchEvent(new HashChangeEvent("hashchange"));
  } else {
    location.hash = address;
  }
}
