"""A local server in place of that of the published files, which answers as badly as it is told."""

import re
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
        server.ranges.append(self.headers.get("Range"))
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
        server.answers, server.asked, server.ranges = answers, [], []
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


def whole(body=CONTENT, tag='"1"', seconds=0.0):
    """The whole file, or the rest of it where that is asked for and it is the same still."""

    def answer(handler):
        asked = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
        same = handler.headers.get("If-Range", tag) == tag
        begin = int(asked[1]) if asked and same else 0
        range_ = {"Content_Range": f"bytes {begin}-{len(body) - 1}/{len(body)}"} if begin else {}
        handler.head(206 if begin else 200, len(body) - begin, ETag=tag, **range_)
        handler.wfile.write(body[begin:HALF])
        handler.server.over.wait(seconds)
        handler.wfile.write(body[max(begin, HALF) :])

    return answer


def status(code, body=b"no", **headers):
    def answer(handler):
        handler.head(code, len(body), **headers)
        handler.wfile.write(body)

    return answer


def first_part(body=CONTENT, reset=False, stall=False, **headers):
    """Half of the file; then the end, a reset, or nothing more."""

    def answer(handler):
        handler.head(200, len(body), **({"ETag": '"1"'} | headers))
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


def trickle(handler):
    """A byte at a time: never silent for long, and never done."""
    handler.head(200, len(CONTENT), ETag='"1"')
    for byte in CONTENT:
        handler.wfile.write(bytes([byte]))
        if handler.server.over.wait(0.02):
            return


def endless(handler):
    """Bytes without end, and no word of how many."""
    handler.head(200, None)
    handler.wfile.write(CONTENT)
    while not handler.server.over.is_set():
        handler.wfile.write(bytes(1 << 16))


def piece(handler):
    """Of the rest that was asked for, a thousand bytes only, as the headers say."""
    begin = int(handler.headers["Range"][len("bytes=") : -1])
    range_ = f"bytes {begin}-{begin + 999}/{len(CONTENT)}"
    handler.head(206, 1000, ETag='"1"', Content_Range=range_)
    handler.wfile.write(CONTENT[begin : begin + 1000])


def rest_of_another(body, tag='"2"'):
    """The rest that was asked for, of another file: `If-Range` was not looked at."""

    def answer(handler):
        begin = int(handler.headers["Range"][len("bytes=") : -1])
        range_ = f"bytes {begin}-{len(body) - 1}/{len(body)}"
        handler.head(206, len(body) - begin, ETag=tag, Content_Range=range_)
        handler.wfile.write(body[begin:])

    return answer
