"""What a web framework and its HTTPS front do in a larger app: requests under limits, answers with headers."""
import contextlib
import re
import socket
import socketserver
import sys
import threading
from http.server import BaseHTTPRequestHandler
from typing import NamedTuple, Optional
from urllib.parse import parse_qs

import pages

COOKIE = "ring_link"
CONNECTIONS, BODY = 32, 4096  # requests at a time, bytes of a form
SILENCE, REQUEST = 10, 30  # seconds without a byte, seconds for all of a request


class Answer(NamedTuple):
    page: str
    token: Optional[str] = None
    cookie: Optional[str] = None


def fields_of(text, **patterns):
    """These fields, if each is there once and is as it should be."""
    try:
        found = parse_qs(text, keep_blank_values=True, max_num_fields=20)
    except ValueError:
        return None
    fields = {name: "".join(found.get(name, [])) for name in patterns if len(found.get(name, [])) == 1}
    fit = all(name in fields and re.fullmatch(like, fields[name], re.ASCII) for name, like in patterns.items())
    return fields if fit else None


class Handler(BaseHTTPRequestHandler):
    timeout = SILENCE

    def do_GET(self):
        path, _, query = self.path.partition("?")
        if path != pages.LINK:
            self.answer(Answer("no_page"))
        elif self.command == "HEAD":
            self.answer(Answer("sign_in"))
        else:
            self.answer(self.server.visit(query))

    do_HEAD = do_GET

    def do_POST(self):
        length = self.headers.get("Content-Length", "")
        if self.path != pages.LINK:
            self.answer(Answer("no_page"))
        elif not re.fullmatch(r"[0-9]{1,9}", length):
            self.answer(Answer("bad_request"), 411)
        elif int(length) > BODY:
            self.answer(Answer("bad_request"), 413)
        else:
            form = self.rfile.read(int(length)).decode("latin-1")
            self.answer(self.server.submit(self.cookie(), form))

    def cookie(self):
        pairs = [pair.strip() for header in self.headers.get_all("Cookie", []) for pair in header.split(";")]
        ours = [pair.partition("=")[2] for pair in pairs if pair.startswith(COOKIE + "=")]
        return ours[0] if len(ours) == 1 else None  # of two, one was planted

    def answer(self, answer, status=None):
        status = status or pages.PAGES[answer.page].status
        self.request_version = "HTTP/1.0"  # whoever asks without a version gets headers, too
        self.send_response(status)
        for name, value in pages.HEADERS.items():
            self.send_header(name, value)
        if answer.cookie:
            secure = "; Secure" if self.server.secure else ""
            self.send_header("Set-Cookie", f"{COOKIE}={answer.cookie}{secure}")
        if status == 405:
            self.send_header("Allow", "GET, HEAD, POST")
        if status == 503:
            self.send_header("Retry-After", "5")
        body = b"" if self.command == "HEAD" else pages.html(answer.page, answer.token).encode()
        if body:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        log(f"{status} {answer.page}")

    def send_error(self, code, message=None, explain=None):  # the usual one repeats the request
        self.answer(Answer("bad_request"), 405 if code == 501 else code)

    def log_message(self, *_):  # the usual one has the nonce
        pass

    def version_string(self):
        return "partner"

    def setup(self):
        super().setup()
        self.late = threading.Timer(REQUEST, self.cut)
        self.late.daemon = True
        self.late.start()

    def finish(self):
        self.late.cancel()
        super().finish()

    def cut(self):
        with contextlib.suppress(OSError):
            self.request.shutdown(socket.SHUT_RDWR)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True
    request_queue_size = 128

    def process_request(self, request, client_address):
        self.slots.acquire()
        super().process_request(request, client_address)

    def process_request_thread(self, request, client_address):
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.slots.release()

    def handle_error(self, request, client_address):
        log(f"broken off: {sys.exc_info()[0].__name__}")


def log(line):
    """Nothing of a request goes in."""
    sys.stderr.write(line + "\n")


def serve(listen, visit, submit, secure):
    host, _, port = listen.rpartition(":")
    with Server((host, int(port)), Handler) as server:
        server.visit, server.submit, server.secure = visit, submit, secure
        server.slots = threading.BoundedSemaphore(CONNECTIONS)
        print(f"ready: http://{host}:{server.server_address[1]}{pages.LINK}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()
