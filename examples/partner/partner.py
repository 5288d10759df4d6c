#!/usr/bin/env python3
"""A partner's own web app, as small as it goes: Ring's Account Link URL, a sign-in, and the claim at ringhookd."""
import argparse
import hashlib
import hmac
import http.client
import json
import os
import secrets
import socket
import threading
import time

import pages
import web

LIFE, MOST = 600, 4096  # seconds that an attempt lives, and how many do at a time: the oldest makes room
PASSWORDS, ASKS = 5, 30  # tries of an attempt: until it is signed in, and after
CLAIM = 12  # seconds; ringhookd answers within 10

# Made-up users with one made-up password. Your app has its own sign-in, which also slows down guessing.
PASSWORD = os.environ.get("PARTNER_PASSWORD", "made-up-password")
SALT = secrets.token_bytes(16)
USERS = {"user-1": "user-1@example.com", "user-2": "user-2@example.com"}
hashing = threading.Lock()


def hashed(password):
    with hashing:  # it takes 16 MiB
        return hashlib.scrypt(password.encode(), salt=SALT, n=2**14, r=8, p=1)


EXPECTED = hashed(PASSWORD)


def is_right(user, password):
    return hmac.compare_digest(hashed(password), EXPECTED) and user in USERS  # as slow when there is no such user


def masked(email):
    """What the Ring app shows of the account."""
    name, _, domain = email.partition("@")
    return f"{name[:1]}***{name[-1:] if len(name) > 3 else ''}@{domain}"


class Attempts:
    """What each browser is about to link, under a random cookie and a random token in its form: good for once."""

    def __init__(self):
        self.kept, self.lock = {}, threading.Lock()

    def keep(self, attempt):
        cookie, token = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        with self.lock:
            self.kept[cookie] = (token, attempt)
            while len(self.kept) > MOST:
                del self.kept[next(iter(self.kept))]
        return cookie, token

    def take(self, cookie, token):
        with self.lock:
            expected, attempt = self.kept.get(cookie, ("", None))
            if not hmac.compare_digest(expected, token) or attempt is None:
                return None
            del self.kept[cookie]
        return attempt if time.monotonic() < attempt["until"] else None


attempts = Attempts()


def show(page, attempt=None):
    """A page; if it has a form, the attempt goes on under a new cookie and token, else it is over."""
    if attempt is None or not pages.PAGES[page].form:
        return web.Answer(page)
    cookie, token = attempts.keep(attempt)
    return web.Answer(page, token, f"{cookie}; Path=/ring; Max-Age={LIFE}; HttpOnly; SameSite=Lax")


def visit(query):
    """GET: keeps what Ring sent, and asks for a sign-in, whoever is signed in already. Claims nothing."""
    link = web.fields_of(query, nonce=r"[\w=-]{1,128}", time=r"\d{1,16}")
    if link is None:
        return show("bad_link")
    return show("sign_in", {**link, "user": None, "tries": PASSWORDS, "until": time.monotonic() + LIFE})


def submit(cookie, form, ringhookd):
    """POST: signs in and claims, or asks once more after an earlier sign-in of this attempt."""
    token = web.fields_of(form, token=r"[\w-]{43}")
    attempt = attempts.take(cookie, token["token"]) if token else None
    if attempt is None:
        return show("out_of_date")
    attempt["tries"] -= 1
    if attempt["user"] is None:
        given = web.fields_of(form, user=r"(?s).*", password=r"(?s).*")
        if given is None or not is_right(**given):
            return show("wrong" if attempt["tries"] else "too_often", attempt)
        attempt.update(user=given["user"], tries=ASKS)
    elif not attempt["tries"]:
        return show("too_often")
    return show(claim(ringhookd, attempt), attempt)


def claim(ringhookd, attempt):
    """Asks ringhookd to link; asking again does no harm. The name of a page."""
    body = json.dumps({"nonce": attempt["nonce"], "time": attempt["time"], "user": attempt["user"],
                       "account_identifier": masked(USERS[attempt["user"]])})
    call = http.client.HTTPConnection("ringhookd")
    try:
        call.sock = socket.socket(socket.AF_UNIX)
        call.sock.settimeout(CLAIM)
        call.sock.connect(ringhookd)
        call.request("POST", "/v1/claims", body, {"Content-Type": "application/json"})
        answer = call.getresponse()
        outcome = json.loads(answer.read()).get("outcome")
    except (OSError, http.client.HTTPException, ValueError, AttributeError):
        return "busy"  # whether it came through is not known
    finally:
        call.close()
    if outcome in list(pages.OUTCOMES):
        return outcome
    return "busy" if answer.status == 503 else "fault"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--listen", default="127.0.0.1:8000", metavar="ADDRESS:PORT")
    parser.add_argument("--socket", required=True, metavar="PATH", help="the admin socket of ringhookd")
    parser.add_argument("--plain-http", action="store_true", help="to try it on 127.0.0.1: cookies without Secure")
    arguments = parser.parse_args()
    if arguments.plain_http and not arguments.listen.startswith("127.0.0.1:"):
        parser.error("--plain-http is for --listen 127.0.0.1 only")
    web.serve(arguments.listen, visit, lambda cookie, form: submit(cookie, form, arguments.socket),
              secure=not arguments.plain_http)
