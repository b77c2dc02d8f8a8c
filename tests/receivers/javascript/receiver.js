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
const [seen, newest] = [new Set(), new Map()]; // in production: tables, and a transaction
const say = (line) => console.log(JSON.stringify(line));

const server = createServer(async (request, response) => {
  try {
    const status = await receive(request);
    if (status !== 204) say({ verdict: "refused", status });
    response.writeHead(status, status === 204 ? {} : { connection: "close" }).end();
  } catch {
    response.destroy(); // the client hung up, or the message could not be kept: without a 2xx it comes again
  }
});

async function receive(request) {
  const length = Number(request.headers["content-length"]);
  if (!(length <= 1_000_000)) return length ? 413 : 411;
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  // The signature covers the bytes as they came: verify first, parse afterwards.
  const body = Buffer.concat(chunks);
  if (!secrets.some((secret) => verifies(secret, body, request.headers))) return 401;
  const message = parse(body);
  if (!message) return 415;
  apply(request.headers["webhook-id"], message);
  return 204; // only for what is kept; Carelog waits 10 s, so do long work later
}

function verifies(secret, body, headers) {
  try {
    // Also refuses a timestamp that is more than five minutes off, which stops replays.
    secret.verify(body, headers, { jsonParse: false });
    return true;
  } catch {
    return false;
  }
}

function parse(body) {
  try {
    const { event, sequence, data } = JSON.parse(body);
    const thing = data[`${event.split(".")[0]}_id`]; // `appointment_id` where the event is `appointment.booked`
    return thing && Number.isInteger(sequence) ? { thing, sequence, data } : null;
  } catch {
    return null; // another format, such as CloudEvents
  }
}

function apply(id, { thing, sequence, data }) {
  if (seen.has(id)) return say({ verdict: "duplicate", id, thing }); // deliveries come at least once
  // A message is a change, and they come in no promised order: an older one counts too, except for the properties
  // that a newer one has set since.
  const mine = Object.entries(data).filter(([name]) => (newest.get(`${thing} ${name}`) ?? 0) < sequence);
  for (const [name] of mine) newest.set(`${thing} ${name}`, sequence);
  seen.add(id);
  say({ verdict: "applied", id, thing, set: Object.fromEntries(mine) });
}

server.on("clientError", (_, socket) => socket.destroy());
server.listen(Number(process.env.PORT ?? 8000), "127.0.0.1", () => say({ listening: server.address().port }));
