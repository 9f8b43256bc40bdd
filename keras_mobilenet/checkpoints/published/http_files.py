"""One file over HTTPS: bounded, resumed, tried again. What it holds is for the caller to check."""

from __future__ import annotations

import ipaddress
import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO
from urllib.parse import urljoin

import requests
import urllib3
from urllib3.util import Url, parse_url

Progress = Callable[[int, int | None], None]  # bytes done, bytes in all where known

MAX_REDIRECTS = 5
CHUNK_BYTES = 1 << 16
SLOWEST = 1 << 10  # bytes a second, on the average of a time-out; anything slower has stalled
# Passing troubles, beside all of 500 and above.
_BUSY = {408, 425, 429}
_PASSING = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    urllib3.exceptions.HTTPError,
)
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")


@dataclass(frozen=True)
class Patience:
    """How long to wait for an answer, and how often to ask."""

    timeout: float = 30.0  # seconds
    attempts: int = 4
    pause: float = 1.0  # seconds before the second attempt; twice as long before each one more


PATIENCE = Patience()


class FetchError(Exception):
    """An address did not give the file; `passing` if it may at another attempt."""

    def __init__(self, reason: str, *, passing: bool = False) -> None:
        super().__init__(reason)
        self.passing = passing


def fetch(url: str, path: str, *, max_bytes: int, progress: Progress | None = None) -> None:
    """Fetch `url` into the file at `path`, whose content is replaced.

    Only `https` is fetched from, and `http` from this machine itself; a redirect that leaves the
    scheme is refused before anything is asked of its target. A broken transfer is resumed where
    the server proves by an `ETag` or a date that the file is still the same, and begun anew
    otherwise.

    Raises:
        FetchError: the address is not permitted, or did not give the whole file.
        OSError: `path` cannot be written.
    """
    _check_address(url)
    with open(path, "wb") as file, _Session() as session:
        part = _Part(file, max_bytes, progress or (lambda done, total: None))
        for attempt in range(PATIENCE.attempts):
            try:
                with _answer(session, url, part.headers()) as response:
                    part.begin(response)
                    part.receive(response)
                return
            except FetchError as error:
                if not error.passing or attempt == PATIENCE.attempts - 1:
                    raise
            # Not all of many processes at the same moment.
            time.sleep(PATIENCE.pause * 2**attempt * random.uniform(0.5, 1))  # noqa: S311


def shown(url: str) -> str:
    """Return an address as a message may show it: without user name and password."""
    try:
        return parse_url(url)._replace(auth=None).url
    except urllib3.exceptions.LocationParseError:
        return url


class _Session(requests.Session):
    """A session that follows no redirect; `requests` itself reads all that comes with one."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Return None: there is nothing to follow."""


@contextmanager
def _answer(
    session: requests.Session, url: str, headers: dict[str, str]
) -> Iterator[requests.Response]:
    """Yield the answer of `url`, or of where it redirects to; errors come out as `FetchError`."""
    try:
        with _redirected(session, url, headers) as response:
            yield response
    except requests.exceptions.SSLError as error:
        hint = "if a proxy signs its answers itself, name its certificate in REQUESTS_CA_BUNDLE"
        raise FetchError(f"{_reason(error)}; {hint}") from error
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise FetchError(_reason(error), passing=isinstance(error, _PASSING)) from error


def _reason(error: Exception) -> str:
    """Return what went wrong, without urllib3's words about how often it tried: once."""
    inner = error.args[0] if error.args else error
    return str(getattr(inner, "reason", None) or error)


def _redirected(session: requests.Session, url: str, headers: dict[str, str]) -> requests.Response:
    for _ in range(MAX_REDIRECTS + 1):
        response = session.get(
            url, headers=headers, stream=True, allow_redirects=False, timeout=PATIENCE.timeout
        )
        if not response.is_redirect:
            return response
        response.close()
        url = _permitted(url, response.headers["location"])
    raise FetchError(f"redirected more than {MAX_REDIRECTS} times")


def _permitted(url: str, location: str) -> str:
    """Return the address that an answer from `url` redirects to."""
    try:
        target = urljoin(url, location)
        if _parsed(target).scheme != _parsed(url).scheme:
            raise FetchError("another scheme")
        _check_address(target)
    except (FetchError, ValueError) as error:
        raise FetchError(f"redirected to {shown(location)}, which is refused: {error}") from error
    return target


def _check_address(url: str) -> None:
    parsed = _parsed(url)
    if not parsed.host or parsed.scheme not in ("https", "http"):
        raise FetchError("not an address that begins with https://")
    if parsed.scheme == "http" and not _is_this_machine(parsed.host):
        raise FetchError("http is not safe from changes on the way; only https is fetched from")


def _parsed(url: str) -> Url:
    try:
        return parse_url(url)  # as requests reads it, so that the two cannot disagree
    except urllib3.exceptions.LocationParseError as error:
        raise FetchError(str(error)) from error


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


class _Part:
    """The part of a file that has come so far, over one attempt or several."""

    def __init__(self, file: BinaryIO, max_bytes: int, progress: Progress) -> None:
        self._file = file
        self._max_bytes = max_bytes
        self._progress = progress
        self._restart()

    def _restart(self) -> None:
        self._file.seek(0)
        self._file.truncate()
        self._done = 0
        self._total: int | None = None
        self._validator = ""  # what tells one version of the file from another

    def headers(self) -> dict[str, str]:
        """Return what to ask with: for the rest, if it is the same file still."""
        headers = {"Accept-Encoding": "identity"}
        if self._done and self._validator:
            headers |= {"Range": f"bytes={self._done}-", "If-Range": self._validator}
        return headers

    def begin(self, response: requests.Response) -> None:
        """Prepare for an answer's body, from its status and headers."""
        status = response.status_code
        if status == 206 and self._continued_by(response):
            return
        if status in (206, 416):
            self._restart()
            raise FetchError("the file changed between its first part and the rest", passing=True)
        if status != 200:
            passing = status >= 500 or status in _BUSY
            raise FetchError(f"{status} {response.reason}".strip(), passing=passing)
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise FetchError("the answer is packed, which was not asked for")
        self._restart()
        length = response.headers.get("Content-Length", "")
        self._total = int(length) if length.isdecimal() else None
        self._validator = _validator(response)
        self._check_size(self._total or 0)

    def _continued_by(self, response: requests.Response) -> bool:
        found = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
        same_place = found is not None and int(found[1]) == self._done
        same_size = found is not None and self._total in (None, int(found[2]))
        same_file = _validator(response) in ("", self._validator)
        return bool(self._validator) and same_place and same_size and same_file

    def receive(self, response: requests.Response) -> None:
        """Write an answer's body behind what is there."""
        since, before = time.monotonic(), self._done
        while chunk := response.raw.read1(CHUNK_BYTES):
            self._file.write(chunk)
            self._done += len(chunk)
            self._check_size(self._done)
            self._progress(self._done, self._total)
            if time.monotonic() - since > PATIENCE.timeout:
                if self._done - before < SLOWEST * PATIENCE.timeout:
                    raise FetchError("the answer came too slowly", passing=True)
                since, before = time.monotonic(), self._done
        if self._total is not None and self._done != self._total:
            reason = f"the answer ended after {self._done} of {self._total} bytes"
            raise FetchError(reason, passing=True)

    def _check_size(self, size: int) -> None:
        if size > self._max_bytes:
            raise FetchError(f"the answer has more than {self._max_bytes} bytes")


def _validator(response: requests.Response) -> str:
    """Return the header that proves a file unchanged, byte for byte; a weak ETag does not."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified", "")
