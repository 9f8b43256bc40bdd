"""A local server in place of that of the published files, which answers as badly as it is told."""

import socket
import struct
import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CONTENT = b"\x89HDF\r\n\x1a\n" + bytes(range(256)) * 1000
HTML = b"<html><title>Please log in</title></html>"
HALF = len(CONTENT) // 2


class Handler(BaseHTTPRequestHandler):
    """Gives the n-th answer to the n-th request, and the last one to all after it."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server = self.server
        server.asked.append(self.path)
        self.close_connection = True
        with suppress(ConnectionError):
            server.answers[min(len(server.asked), len(server.answers)) - 1](self)

    def head(self, status, length, **headers):
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in ({"Connection": "close"} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def log_message(self, *_):
        pass


@contextmanager
def serving(*answers):
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.answers, server.asked = answers, []
        server.sent, server.over = threading.Event(), threading.Event()
        server.url = f"http://127.0.0.1:{server.server_port}/mobilenet/"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            server.shutdown()
            thread.join()


def whole(body=CONTENT, seconds=0.0):
    def answer(handler):
        handler.head(200, len(body))
        handler.wfile.write(body[:HALF])
        handler.server.over.wait(seconds)
        handler.wfile.write(body[HALF:])

    return answer


def status(code, body=b"no", **headers):
    def answer(handler):
        handler.head(code, len(body), **headers)
        handler.wfile.write(body)

    return answer


def first_part(body=CONTENT, reset=False, stall=False):
    """Half of the file; then the end, a reset, or nothing more."""

    def answer(handler):
        handler.head(200, len(body))
        handler.wfile.write(body[:HALF])
        handler.wfile.flush()
        handler.server.sent.set()
        if stall:
            handler.server.over.wait()
        if reset:
            linger = struct.pack("ii", 1, 0)
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            handler.connection.close()

    return answer


def endless(handler):
    """Bytes without end, and no word of how many."""
    handler.head(200, None)
    handler.wfile.write(CONTENT)
    while not handler.server.over.is_set():
        handler.wfile.write(bytes(1 << 16))
