#!/usr/bin/env python3
"""Takes the events of a queue of kind `http`: receiver.py PORT SECRET-FILE. Believes what is signed, and works once on each id."""
import base64, hmac, json, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

with open(sys.argv[2]) as file:
    SECRET = base64.b64decode(file.read().strip().partition("whsec_")[2], validate=True)
done = set()  # Of this run. Keep the ids where the work goes, so that a restart knows them.

def work(event):  # Yours.
    print("worked on", event["type"], "of", event["ringaccount"], flush=True)

class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # Keeps the connection.

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        id, sent = self.headers.get("webhook-id", ""), self.headers.get("webhook-timestamp", "0")
        signature = b"v1," + base64.b64encode(hmac.digest(SECRET, f"{id}.{sent}.".encode() + body, "sha256"))
        given = self.headers.get("webhook-signature", "").encode().split()
        if not any([hmac.compare_digest(signature, one) for one in given]) or abs(time.time() - int(sent)) > 300:
            return self.answer(401, "the signature does not hold, or is older than five minutes")
        if id not in done:
            try:
                work(json.loads(body))
            except Exception as error:
                return self.answer(500, str(error))  # It comes again, later each time.
            done.add(id)
        self.answer(200, "")

    def answer(self, status, words):
        self.send_response(status)
        self.send_header("content-length", str(len(words.encode())))
        self.end_headers()
        self.wfile.write(words.encode())

print("listening", flush=True)
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver).serve_forever()
