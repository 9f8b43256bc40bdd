"""LiteRT.js, which runs a page's model in the browser: its files, pinned by version and hash.

The hashes are those of the files in the published packages, which the CDN serves as they are. The
page checks them before it runs anything, wherever the files come from.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from keras_mobilenet.files import integrity

FOLDER = "runtime"  # of a page, for the files that are its own
VERSION = "2.5.3"
NAME = f"LiteRT.js {VERSION}"
CDN = "https://cdn.jsdelivr.net/npm/"
_CORE, _HELPERS = (f"@litertjs/{name}" for name in ("core", "wasm-utils"))


@dataclass(frozen=True)
class RuntimeFile:
    """One file of the runtime."""

    package: str
    path: str  # in the package
    name: str  # in a page's own folder; two are called index.js
    bytes: int
    sha384: str  # in base 64, as browsers take it

    @property
    def integrity(self) -> str:
        """The hash as a browser's `fetch` takes it."""
        return f"sha384-{self.sha384}"

    def is_at(self, path: Path) -> bool:
        """Return whether a path is this file, byte for byte."""
        if not path.is_file() or path.stat().st_size != self.bytes:
            return False
        return integrity(path.read_bytes(), "sha384") == self.integrity


# Those with "compat" are for browsers without relaxed SIMD.
FILES: Mapping[str, RuntimeFile] = {
    "library": RuntimeFile(
        _CORE, "dist/index.js", "litert.js", 53_482,
        "MapSVJ/DPwvaWpp7q+Bid9O3uY1oB0KOU1QRMP+Mm5zdz5oMme/BUyX6dVAMWnPg",
    ),
    "helpers": RuntimeFile(
        _HELPERS, "dist/index.js", "wasm_utils.js", 1_494,
        "HIPwlWsctS5BRqrnvJKDVJ8SvqKB0QmiImdr6+hpP7+8UqeMJX/qrBkdfKQV2WZ/",
    ),
    "glue": RuntimeFile(
        _CORE, "wasm/litert_wasm_internal.js", "litert_wasm_internal.js", 273_035,
        "NB/Wc4iozynQO5jzJ2VFoMKbqMvwwFGWxJL/o63IJT6W2JfZbsSLxA2cF6H/mLpQ",
    ),
    "wasm": RuntimeFile(
        _CORE, "wasm/litert_wasm_internal.wasm", "litert_wasm_internal.wasm", 9_367_934,
        "AZ/Ak4CbDpjqpSr8WsnoL3Dcx6bDFA/k9b/jahok1TGHZ2OqIRjLBMiEmiNedhlC",
    ),
    "compatible_glue": RuntimeFile(
        _CORE, "wasm/litert_wasm_compat_internal.js", "litert_wasm_compat_internal.js", 273_246,
        "oh4nb8zDq6eVOpGeZE5gwDOJ16QujHLL8k/HEXt3XiPxr+8zn3YnkXP8P3BlJET1",
    ),
    "compatible_wasm": RuntimeFile(
        _CORE, "wasm/litert_wasm_compat_internal.wasm", "litert_wasm_compat_internal.wasm",
        9_334_181, "glAZ6WjS7tLRt89pbTPXvLC1c7DCaVSfL2ngn5gZJiUuPs76fWYJy7ZeFaD0PJXx",
    ),
}  # fmt: skip
# What a browser fetches of them: one of the two kinds.
BYTES = sum(FILES[role].bytes for role in ("library", "helpers", "glue", "wasm"))


def runtime_record(*, local: bool) -> dict[str, dict[str, str]]:
    """Return what a page has to know of the files: where each lies, and its hash.

    Args:
        local: Whether they lie in the page's own folder, or else on the CDN.
    """
    record = {}
    for role, file in FILES.items():
        place = f"{FOLDER}/{file.name}" if local else f"{_cdn_folder(file.package)}{file.path}"
        record[role] = {"url": place, "integrity": file.integrity}
    record["helpers"]["imported"] = _HELPERS  # what the library calls it
    return record


def cdn_folders() -> list[str]:
    """Return the only addresses beyond its own folder that a page may fetch from."""
    return [*dict.fromkeys(_cdn_folder(file.package) for file in FILES.values())]


def _cdn_folder(package: str) -> str:
    return f"{CDN}{package}@{VERSION}/"


def find_runtime(folder: Path) -> dict[str, Path]:
    """Return where each file lies in a folder: of a package manager, or another page's.

    Raises:
        ValueError: one is missing, or is another version's.
    """
    names = {name for file in FILES.values() for name in (file.name, Path(file.path).name)}
    present: dict[str, list[Path]] = {name: [] for name in names}
    for root, _, files in os.walk(folder):
        for name in names.intersection(files):
            present[name].append(Path(root, name))
    found = {}
    for role, file in FILES.items():
        places = [*present[file.name], *present[Path(file.path).name]]
        match = next(filter(file.is_at, dict.fromkeys(places)), None)
        if match is not None:
            found[role] = match
    if missing := [f"{f.package}/{f.path}" for role, f in FILES.items() if role not in found]:
        raise ValueError(
            f"{folder} is no folder of {NAME}: {', '.join(missing[:3])} "
            f"{'is' if len(missing) == 1 else 'are'} missing, or another version's. Get it with "
            f"`npm install --prefix {folder} {_CORE}@{VERSION} {_HELPERS}@{VERSION}`, or leave "
            "`runtime` out: then the page loads it from a CDN."
        )
    return found


def copy_runtime(found: Mapping[str, Path], page: Path) -> None:
    """Copy the runtime's files into a page's folder."""
    folder = page / FOLDER
    folder.mkdir()
    for role, path in found.items():
        shutil.copyfile(path, folder / FILES[role].name)
