// A receiver of Carelog's webhooks in JavaScript: node:http and the official `standardwebhooks`.
//
//     npm ci
//     WEBHOOK_SECRETS="whsec_…" PORT=8000 node receiver.js
//
// Carelog sends to https only: put this behind whatever ends TLS for you.
import { createServer } from "node:http";
import { Webhook } from "standardwebhooks";

// One secret; the new one and the old one for as long as you rotate.
const secrets = process.env.WEBHOOK_SECRETS.split(" ").map((secret) => new Webhook(secret));
const seen = new Set(); // in production: in your database
const newest = new Map();

const server = createServer(async (request, response) => {
  // The signature covers the bytes as they came: verify first, parse afterwards.
  const chunks = [];
  let length = 0;
  for await (const chunk of request) {
    length += chunk.length;
    if (length > 1 << 20) return response.writeHead(413, { connection: "close" }).end();
    chunks.push(chunk);
  }
  const body = Buffer.concat(chunks);
  if (!secrets.some((secret) => verified(secret, body, request.headers))) {
    console.log(JSON.stringify({ verdict: "refused" }));
    return response.writeHead(401).end();
  }
  // In production: write it to a table whose key is the webhook-id, then answer, then work. Carelog waits 10 s.
  response.writeHead(204).end();
  work(request.headers["webhook-id"], JSON.parse(body));
});

function verified(secret, body, headers) {
  try {
    // Also refuses a timestamp that is more than five minutes off, which stops replays.
    secret.verify(body, headers, { jsonParse: false });
    return true;
  } catch {
    return false;
  }
}

function work(id, message) {
  // What it is about: `appointment_id` where the event is `appointment.booked`.
  const about = message.data[`${message.event.split(".")[0]}_id`];
  let verdict = "applied";
  if (seen.has(id)) verdict = "duplicate"; // deliveries come at least once
  else if (message.sequence < (newest.get(about) ?? 0)) verdict = "late"; // something newer was applied already
  else newest.set(about, message.sequence);
  seen.add(id);
  console.log(JSON.stringify({ verdict, id, message }));
}

server.on("clientError", (_, socket) => socket.destroy());
server.listen(Number(process.env.PORT ?? 8000), "127.0.0.1", () =>
  console.log(JSON.stringify({ listening: server.address().port })),
);
