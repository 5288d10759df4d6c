#!/usr/bin/env node
// Keeps each event of a queue in a file: consumer.mjs SOCKET QUEUE FILE. Lease, work, settle; a crash loses nothing.
import { open } from "node:fs/promises";
import { request } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";

const [socketPath, queue, path] = process.argv.slice(2);
const visibility_ms = Number(process.env.LEASE_MS ?? 30_000);

// Yours. The same id may come twice.
async function work(event) {
  const file = await open(path, "a");
  try {
    await file.appendFile(JSON.stringify(event) + "\n");
    await file.sync();
  } finally {
    await file.close();
  }
}

async function call(what, body) {
  const url = { socketPath, path: `/v1/queues/${encodeURIComponent(queue)}/${what}`, method: "POST", timeout: 90_000 };
  const answer = await new Promise((resolve, reject) => {
    const asked = request(url, resolve).on("error", reject).end(JSON.stringify(body));
    asked.on("timeout", () => asked.destroy(new Error("the daemon does not answer")));
  });
  const pieces = await answer.toArray();
  const document = JSON.parse(Buffer.concat(pieces));
  if (answer.statusCode !== 200) throw new Error(document.error);
  return document;
}

async function handle(lease, { seq, attempt, event }) {
  // A lease that can't be extended runs out, unless the next try arrives.
  const keep = setInterval(() => call("extend", { lease, visibility_ms }).catch(() => {}), visibility_ms / 3);
  const outcome = await work(event).then(
    () => ({ ack: [seq] }),
    (error) => ({ nack: [{ seq, delay_ms: 1000 * 2 ** Math.min(attempt, 9), why: String(error) }] }),
  );
  clearInterval(keep);
  await call("settle", { lease, ...outcome });
}

for (;;) {
  try {
    const { lease, events } = await call("lease", { max: 1, wait_ms: 60_000, visibility_ms });
    for (const one of events) await handle(lease, one);
  } catch (error) {
    console.error(error.message);
    await sleep(1000); // The daemon restarts. What was not settled comes again.
  }
}
