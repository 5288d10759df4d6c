"""Sends signed webhooks, up to 200 a second, each by a connection of its own, until it is told to end by SIGTERM.

usage: load.py KEY-FILE LEDGER

It notes the id of each that was acknowledged, as a line of LEDGER, and prints at its end how many there were, and the others by what
became of them: refused (nothing listened), cut off, or a status other than 200.
"""

import collections
import hashlib
import hmac
import http.client
import json
import signal
import sys
import threading
import uuid

PORT = 8480
# A restart takes a second or two, in which nothing is answered. Only a hang meets this.
PATIENCE = 60
# Of each of four workers, so that the machine has time for what is tried beside it.
PAUSE = 0.02
key = open(sys.argv[1], "rb").read()
ended = threading.Event()
lock = threading.Lock()
counts = collections.Counter()
ledger = open(sys.argv[2], "w", buffering=1)


def send():
    request = uuid.uuid4().hex
    body = json.dumps({
        "meta": {"version": "1.1", "request_id": request, "account_id": "ava1.ring.account.LOAD"},
        "data": {"id": request, "type": "motion_detected", "attributes": {"source": "front-door"}},
    }).encode()
    signature = "sha256=" + hmac.new(key, body, hashlib.sha256).hexdigest()
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=PATIENCE)
    try:
        connection.request("POST", "/webhooks/ring", body, {"X-Signature": signature})
        status = connection.getresponse().status
        outcome = "acknowledged" if status == 200 else str(status)
    except ConnectionRefusedError:
        outcome = "refused"
    except (OSError, http.client.HTTPException):
        outcome = "cut off"
    finally:
        connection.close()
    with lock:
        counts[outcome] += 1
        if outcome == "acknowledged":
            ledger.write(request + "\n")


def work():
    while not ended.wait(PAUSE):
        send()


signal.signal(signal.SIGTERM, lambda *_: ended.set())
workers = [threading.Thread(target=work) for _ in range(4)]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
ledger.close()
print(json.dumps(counts))
