"""A receiver of Carelog's webhooks in Python: its standard library and the official `standardwebhooks`.

    pip install --require-hashes -r requirements.txt
    WEBHOOK_SECRETS="whsec_…" PORT=8000 python receiver.py

Carelog sends to https only: put this behind whatever ends TLS for you.
"""
import json, os, queue, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from standardwebhooks import Webhook

# One secret; the new one and the old one for as long as you rotate.
SECRETS = [Webhook(secret) for secret in os.environ["WEBHOOK_SECRETS"].split()]
inbox = queue.Queue()

class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections are kept and used again

    def do_POST(self):
        # The signature covers the bytes as they came: verify first, parse afterwards.
        body = self.rfile.read(min(int(self.headers.get("content-length", 0)), 1_000_000))
        verified = any(self.verifies(secret, body) for secret in SECRETS)
        if verified:
            # In production: write it to a table whose key is the webhook-id, then answer, then work.
            inbox.put((self.headers["webhook-id"], body))
        else:
            print(json.dumps({"verdict": "refused"}), flush=True)
        self.send_response(204 if verified else 401)  # Carelog waits 10 s
        self.send_header("content-length", "0")
        self.end_headers()

    def verifies(self, secret, body):
        try:  # also refuses a timestamp that is more than five minutes off, which stops replays
            secret.verify(body, dict(self.headers), json_parse=False)
            return True
        except Exception:  # headers and bodies that are no webhook raise more than WebhookVerificationError
            return False

    log_message = lambda *_: None

def work():
    seen, newest = set(), {}  # in production: in your database
    while True:
        id, body = inbox.get()
        message = json.loads(body)
        # What it is about: `appointment_id` where the event is `appointment.booked`.
        about = message["data"].get(message["event"].split(".")[0] + "_id")
        if id in seen:  # deliveries come at least once
            verdict = "duplicate"
        elif message["sequence"] < newest.get(about, 0):  # and in no promised order: something newer was applied
            verdict = "late"
        else:
            newest[about], verdict = message["sequence"], "applied"
        seen.add(id)
        print(json.dumps({"verdict": verdict, "id": id, "message": message}), flush=True)

threading.Thread(target=work, daemon=True).start()
server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8000"))), Receiver)
print(json.dumps({"listening": server.server_port}), flush=True)
server.serve_forever()
