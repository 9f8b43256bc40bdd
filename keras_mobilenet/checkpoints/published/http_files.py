"""One file over HTTPS: bounded, and tried again. What it holds is for the caller to check.

The files are small (30 MB at most), so that a transfer that breaks off is begun anew.
"""

from __future__ import annotations

import ipaddress
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urljoin

import requests
import urllib3
from urllib3.util import Url, parse_url

Progress = Callable[[int, int | None], None]  # bytes done, bytes in all where known

MAX_REDIRECTS = 5
CHUNK_BYTES = 1 << 16
_HEADERS = {"Accept-Encoding": "identity"}
# Passing troubles, beside all of 500 and above.
_BUSY = {408, 425, 429}
_PASSING = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    urllib3.exceptions.HTTPError,
)


@dataclass(frozen=True)
class RetryPolicy:
    """How long to wait for an answer, and how often to ask."""

    timeout: float = 30.0  # seconds
    attempts: int = 4
    pause: float = 1.0  # seconds before the second attempt; twice as long before each one more


RETRY_POLICY = RetryPolicy()


class FetchError(Exception):
    """An address did not give the file; `passing` if it may at another attempt."""

    def __init__(self, reason: str, *, passing: bool = False) -> None:
        super().__init__(reason)
        self.passing = passing


def fetch(url: str, path: str, *, max_bytes: int, progress: Progress | None = None) -> None:
    """Fetch `url` into the file at `path`, whose content is replaced.

    Only `https` is fetched from, and `http` from this machine itself; a redirect that leaves the
    scheme is refused before anything is asked of its target.

    Raises:
        FetchError: the address is not permitted, or did not give the whole file.
        OSError: `path` cannot be written.
    """
    _check_address(url)
    with _Session() as session:
        for attempt in range(RETRY_POLICY.attempts):
            try:
                with _answer(session, url) as response:
                    _receive(response, path, max_bytes, progress)
                return
            except FetchError as error:
                if not error.passing or attempt == RETRY_POLICY.attempts - 1:
                    raise
            # Not all of many processes at the same moment.
            time.sleep(RETRY_POLICY.pause * 2**attempt * random.uniform(0.5, 1))  # noqa: S311


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
def _answer(session: requests.Session, url: str) -> Iterator[requests.Response]:
    """Yield the answer of `url`, or of where it redirects to; errors come out as `FetchError`."""
    try:
        with _redirected(session, url) as response:
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


def _redirected(session: requests.Session, url: str) -> requests.Response:
    for _ in range(MAX_REDIRECTS + 1):
        response = session.get(
            url, headers=_HEADERS, stream=True, allow_redirects=False, timeout=RETRY_POLICY.timeout
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


def _receive(
    response: requests.Response, path: str, max_bytes: int, progress: Progress | None
) -> None:
    """Write an answer's body into the file at `path`, if it is the whole file."""
    total, done = _length(response), 0
    with open(path, "wb") as file:
        _check_size(total or 0, max_bytes)
        while chunk := response.raw.read1(CHUNK_BYTES):
            done += file.write(chunk)
            _check_size(done, max_bytes)
            if progress is not None:
                progress(done, total)
    if total is not None and done != total:
        raise FetchError(f"the answer ended after {done} of {total} bytes", passing=True)


def _length(response: requests.Response) -> int | None:
    """Return the bytes that a good answer says it has, if it says."""
    status = response.status_code
    if status != 200:
        passing = status >= 500 or status in _BUSY
        raise FetchError(f"{status} {response.reason}".strip(), passing=passing)
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise FetchError("the answer is packed, which was not asked for")
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


def _check_size(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise FetchError(f"the answer has more than {max_bytes} bytes")
