#!/usr/bin/env python3
"""Keeps each event of a queue in a file: consumer.py SOCKET QUEUE FILE. Lease, work, settle; a crash loses nothing."""
import http.client, json, os, socket, sys, threading, time
from urllib.parse import quote

SOCKET, QUEUE, FILE = sys.argv[1:]
LEASE_MS = int(os.environ.get("LEASE_MS", 30_000))

def work(event):  # Yours. The same id may come twice.
    with open(FILE, "a") as file:
        file.write(json.dumps(event) + "\n")
        file.flush()
        os.fsync(file.fileno())

def call(what, body):
    daemon = http.client.HTTPConnection("ringhookd")
    with socket.socket(socket.AF_UNIX) as daemon.sock:
        daemon.sock.settimeout(90)
        daemon.sock.connect(SOCKET)
        daemon.request("POST", f"/v1/queues/{quote(QUEUE, safe='')}/{what}", json.dumps(body))
        answer = daemon.getresponse()
        document = json.load(answer)
    if answer.status != 200:
        raise OSError(document["error"])
    return document

def keep(lease, settled):
    while not settled.wait(LEASE_MS / 3000):
        try:
            call("extend", {"lease": lease, "visibility_ms": LEASE_MS})
        except (OSError, ValueError, http.client.HTTPException):
            pass  # It runs out, unless the next one arrives.

def handle(lease, seq, attempt, event):
    settled = threading.Event()
    threading.Thread(target=keep, args=(lease, settled), daemon=True).start()
    try:
        work(event)
        outcome = {"ack": [seq]}
    except Exception as error:
        outcome = {"nack": [{"seq": seq, "delay_ms": 1000 * 2 ** min(attempt, 9), "why": str(error)}]}
    settled.set()
    call("settle", {"lease": lease, **outcome})

while True:
    try:
        leased = call("lease", {"max": 1, "wait_ms": 60_000, "visibility_ms": LEASE_MS})
        for one in leased["events"]:
            handle(leased["lease"], one["seq"], one["attempt"], one["event"])
    except (OSError, ValueError, http.client.HTTPException) as error:
        print(error, file=sys.stderr)
        time.sleep(1)  # The daemon restarts. What was not settled comes again.
