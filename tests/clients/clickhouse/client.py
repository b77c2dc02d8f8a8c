"""A small front for a real ClickHouse engine (chdb): takes statements as ClickHouse's HTTP interface does.

    client.py DIR USER PASSWORD

DIR is where the engine keeps its tables. Prints the port as one line of JSON, and serves until it is killed. A statement
is the parameter `query` followed by the body; every other parameter but `database` is a setting.

As a proxy may, it holds a statement back: `POST /hold` with the beginning of one as its body, `GET /held` says whether
such a statement has come, and `POST /release` carries it out, whether or not anybody still waits for it.
"""

import base64
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock
from urllib.parse import parse_qs, urlsplit

from chdb.session import Session

directory, user, password = sys.argv[1:]
session, one_at_a_time = Session(directory), Lock()
expected = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


class Held:
    def __init__(self, beginning):
        self.beginning, self.told = beginning, ""
        self.has_come, self.goes_on, self.is_done = Event(), Event(), Event()


held = None


class Front(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer(200, "yes" if held and held.has_come.is_set() else "no")

    def do_POST(self):
        global held
        body = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
        if self.path == "/hold":
            held = Held(body)
            return self.answer(200, "")
        if self.path == "/release":
            held.goes_on.set()
            held.is_done.wait()
            return self.answer(200, held.told)
        if self.headers.get("authorization") != expected:
            return self.answer(403, "Code: 516. DB::Exception: Authentication failed. (AUTHENTICATION_FAILED)")
        parameters = {name: values[-1] for name, values in parse_qs(urlsplit(self.path).query).items()}
        database = parameters.pop("database", "default")
        statement = "\n".join(part for part in (parameters.pop("query", ""), body) if part)
        parameters.pop("wait_end_of_query", None)
        back = held if held and statement.startswith(held.beginning) and not held.has_come.is_set() else None
        if back:
            back.has_come.set()
            back.goes_on.wait()
        try:
            with one_at_a_time:
                session.query(f"create database if not exists {database}")
                session.query(f"use {database}")
                for name, value in parameters.items():
                    session.query(f"set {name} = '{value}'")
                told = str(session.query(statement, "TabSeparated"))
            status = 200
        except Exception as error:  # the engine's own words
            status, told = 500, str(error)
        if back:
            back.told = told
            back.is_done.set()
        self.answer(status, told)

    def answer(self, status, text):
        content = text.encode()
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Front)
print(json.dumps({"listening": server.server_port}), flush=True)
server.serve_forever()
