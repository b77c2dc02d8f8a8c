"""A receiver of Carelog's webhooks in Python: its standard library and the official `standardwebhooks`.

    pip install --require-hashes -r requirements.txt
    WEBHOOK_SECRETS="whsec_…" PORT=8000 python receiver.py

Carelog sends to https only: put this behind whatever ends TLS for you.
"""
import json, os, re, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from standardwebhooks import Webhook

# One secret; the new one and the old one for as long as you rotate.
SECRETS = [Webhook(secret) for secret in os.environ["WEBHOOK_SECRETS"].split()]
seen, newest, lock = set(), {}, threading.Lock()  # in production: tables, and a transaction

def say(**line):
    print(json.dumps(line), flush=True)

class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections are kept and used again
    log_message = lambda *_: None

    def do_POST(self):
        length = self.headers.get("content-length", "")
        if not re.fullmatch("[0-9]{1,6}", length):  # none, no number, or a megabyte and more
            return self.answer(413 if re.fullmatch("[0-9]+", length) else 411)
        # The signature covers the bytes as they came: verify first, parse afterwards.
        body = self.rfile.read(int(length))
        if not any(self.verifies(secret, body) for secret in SECRETS):
            return self.answer(401)
        try:
            message = json.loads(body)
            sequence, data = int(message["sequence"]), dict(message["data"])
            thing = str(data[message["event"].split(".")[0] + "_id"])  # `appointment_id` of `appointment.booked`
        except Exception:  # another format, such as CloudEvents
            return self.answer(415)
        apply(self.headers["webhook-id"], thing, sequence, data)  # if this fails there is no 2xx: it comes again
        self.answer(204)  # only for what is kept; Carelog waits 10 s, so do long work later

    def verifies(self, secret, body):
        try:  # also refuses a timestamp that is more than five minutes off, which stops replays
            secret.verify(body, dict(self.headers), json_parse=False)
            return True
        except Exception:  # headers and bodies that are no webhook raise more than WebhookVerificationError
            return False

    def answer(self, status):
        self.send_response(status)
        self.send_header("content-length", "0")
        if status != 204:
            say(verdict="refused", status=status)
            self.send_header("connection", "close")  # what is left of the body is not read
        self.end_headers()

def apply(id, thing, sequence, data):
    with lock:
        if id in seen:  # deliveries come at least once
            return say(verdict="duplicate", id=id, thing=thing)
        # A message is a change, and they come in no promised order: an older one counts too, except for the
        # properties that a newer one has set since.
        mine = {name: value for name, value in data.items() if newest.get((thing, name), 0) < sequence}
        newest.update({(thing, name): sequence for name in mine})
        seen.add(id)
        say(verdict="applied", id=id, thing=thing, set=mine)

server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8000"))), Receiver)
say(listening=server.server_port)
server.serve_forever()
