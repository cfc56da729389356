// Reads requests with the CloudEvents SDK: {"headers": {…}, "body": "…"} a line in, its events or an error a line out.
import { createInterface } from "node:readline";
import { HTTP } from "cloudevents";

for await (const line of createInterface({ input: process.stdin })) {
  try {
    const found = HTTP.toEvent(JSON.parse(line));
    const events = [found].flat();
    for (const event of events) event.validate();
    console.log(JSON.stringify(events));
  } catch (error) {
    console.log(JSON.stringify({ error: String(error) }));
  }
}
