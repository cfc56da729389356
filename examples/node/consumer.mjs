// Receives events from Graph Relay and keeps the newest version of each resource in PostgreSQL.
import { readFileSync } from "node:fs";
import express from "express";
import pg from "pg";
import { Webhook } from "standardwebhooks";

const STORE = `
  INSERT INTO resources (source, subject, version, type, event) VALUES ($1, $2, $3, $4, $5)
  ON CONFLICT (source, subject) DO UPDATE
    SET version = excluded.version, type = excluded.type, event = excluded.event
    WHERE resources.version < excluded.version`;

const webhook = new Webhook(process.env.RELAY_SECRET);
const database = new pg.Pool({ connectionString: process.env.DATABASE_URL });
await database.query(readFileSync(new URL("../schema.sql", import.meta.url), "utf8"));

const app = express();
app.post("/events", express.raw({ type: "*/*", limit: "16mb" }), async (request, response) => {
  const body = Buffer.isBuffer(request.body) ? request.body.toString("utf8") : "";
  try {
    webhook.verify(body, request.headers);
  } catch (error) {
    return response.sendStatus(error instanceof SyntaxError ? 422 : 401); // it parses after it has verified
  }
  let rows;
  try {
    rows = [JSON.parse(body)].flat().map(row).sort();
  } catch {
    return response.sendStatus(422); // one event of the batch; the relay finds it
  }
  try {
    await store(rows);
  } catch {
    return response.sendStatus(503);
  }
  response.sendStatus(204);
});
app.use((error, request, response, next) => response.sendStatus(error.status ?? 503)); // such as 413

// As ASCII, so that any character is stored as an escape.
function row(event) {
  const text = JSON.stringify(event).replace(/[^\x00-\x7f]/g, (c) => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0"));
  const { source, subject, version, type } = event;
  if (![source, subject, version, type].every((value) => typeof value === "string")) throw new TypeError("not an event");
  return [source, subject, version, type, text];
}

// One transaction, in one order, so that concurrent batches can't block each other.
async function store(rows) {
  const client = await database.connect();
  try {
    await client.query("BEGIN");
    for (const values of rows) await client.query(STORE, values);
    await client.query("COMMIT");
  } catch (error) {
    await client.query("ROLLBACK").catch(() => {});
    throw error;
  } finally {
    client.release();
  }
}

app.listen(Number(process.env.PORT ?? 9000), "127.0.0.1", () => console.log("ready"));
