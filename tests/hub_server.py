"""A local server that answers as Hugging Face's hub does, for the client that asks the real one.

Source of what is asked: huggingface_hub 2.4.0, `hf_api.py`, `_commit_api.py`, `lfs.py`.
"""

import base64
import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import yaml
from safetensors.numpy import save

from keras_mobilenet.checkpoints.net_weights import random_arrays
from keras_mobilenet.formats.plain import pytorch_names
from keras_mobilenet.formats.plain.third_party import to_third_party

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def timm_file(row, seed=0):
    """Return the bytes of random weights of a row's net, under timm's names and in its axes."""
    net = row.network()
    source = next(
        x
        for x in pytorch_names.sources()
        if x.name.startswith("timm") and x.net.arrays().keys() == net.arrays().keys()
    )
    return save(to_third_party(source, random_arrays(net, seed)))


def config(row):
    """Return the bytes of timm's `config.json`."""
    return json.dumps({"architecture": row.repository.split("/")[1].split(".")[0]}).encode()


class Handler(BaseHTTPRequestHandler):
    """Gives the files of the server's repositories, or the error that one is set to."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer(with_body=True)

    def do_HEAD(self):
        self.answer(with_body=False)

    def do_POST(self):
        """Take a new repository, or what one is to hold."""
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        server, path = self.server, self.path.partition("?")[0]
        server.asked.append(f"POST {path}")
        status = next((status for part, status in server.refused.items() if part in path), None)
        if status is None and self.headers["Authorization"] not in server.tokens:
            status = 401
        if status is not None:
            self.tell(status, {"error": "refused"})
        elif path.endswith("/commit/main"):
            self.commit(path.split("/")[3:5], [json.loads(line) for line in body.splitlines()])
        else:
            self.tell(*self.told(path, json.loads(body)))

    def told(self, path, asked):
        """Return status and answer to what is asked before a commit."""
        server = self.server
        if path == "/api/repos/create":
            name = f"{asked['organization']}/{asked['name']}"
            if name in server.repositories:
                return 409, {"error": "You already created it", "url": f"{server.url}/{name}"}
            server.repositories[name] = {}
            server.visibility[name] = asked.get("visibility")
            return 200, {"url": f"{server.url}/{name}"}
        if path == "/api/validate-yaml":
            _, card, *_ = asked["content"].split("---\n")
            assert isinstance(yaml.safe_load(card), dict)
            return 200, {"errors": [], "warnings": []}
        if path.endswith("/preupload/main"):
            modes = {True: "lfs", False: "regular"}
            files = [
                {"path": x["path"], "shouldIgnore": False,
                 "uploadMode": modes[x["path"].endswith(".safetensors")]}
                for x in asked["files"]
            ]  # fmt: skip
            return 200, {"files": files}
        assert path.endswith(".git/info/lfs/objects/batch"), path
        objects = [
            x | {"actions": {"upload": {"href": f"{server.url}/lfs/{x['oid']}"}}}
            for x in asked["objects"]
        ]
        return 200, {"transfer": "basic", "objects": objects}

    def do_PUT(self):
        """Take a large file, under its hash."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        key = self.path.rpartition("/")[2]
        self.server.asked.append(f"PUT {self.path}")
        if "PUT" in self.server.refused:
            self.tell(self.server.refused["PUT"], {"error": "refused"})
            return
        assert hashlib.sha256(body).hexdigest() == key
        self.server.large[key] = body
        self.tell(200, {})

    def commit(self, name, lines):
        """Take all files at once, as a new commit."""
        server, files = self.server, self.server.repositories["/".join(name)]
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = server.large[value["oid"]]
        commit = hashlib.sha1(json.dumps(lines).encode()).hexdigest()
        server.commits, server.newest = (*server.commits, commit), [commit]
        url = f"{server.url}/{'/'.join(name)}/commit/{commit}"
        self.tell(200, {"commitUrl": url, "commitOid": commit})

    def tell(self, status, answer):
        """Answer in JSON."""
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def answer(self, with_body):
        server = self.server
        models, _, name = self.path.partition("/api/models/")
        if not models and name in server.repositories:
            self.tell(200, {"id": name, "sha": self.newest})
            return
        if not self.path.startswith("/api/"):  # what the client asks for its own ends
            server.asked.append(f"{self.command} {self.path}")
        owner, name, _, revision, file = (*self.path.strip("/").split("/", 4), *[""] * 5)[:5]
        files = server.repositories.get(f"{owner}/{name}")
        if files is None:
            self.refuse(404, "RepoNotFound")
        elif isinstance(files, tuple):
            self.refuse(*files)
        elif server.private.get(f"{owner}/{name}") not in (None, self.headers["Authorization"]):
            self.refuse(401, "RepoNotFound")
        elif revision not in ("main", *server.commits):
            self.refuse(404, "RevisionNotFound")
        elif file not in files:
            self.refuse(404, "EntryNotFound")
        else:
            self.give(files[file], revision, with_body)

    def give(self, body, revision, with_body):
        tag, commit = hashlib.sha256(body).hexdigest(), revision
        if revision == "main":
            commit = self.server.newest.pop(0) if len(self.server.newest) > 1 else self.newest
        begin = int((self.headers["Range"] or "bytes=0-")[6:].rstrip("-"))
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - begin))
        self.send_header("ETag", f'"{tag}"')
        self.send_header("X-Repo-Commit", commit)
        self.end_headers()
        if with_body:
            if self.server.breaks and len(body) > 1000:
                self.server.breaks -= 1
                self.wfile.write(body[begin : (begin + len(body)) // 2])
                self.close_connection = True
                return
            self.wfile.write(body[begin:])

    @property
    def newest(self):
        return self.server.newest[0]

    def refuse(self, status, code):
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.send_header("X-Repo-Commit", self.newest)
        self.end_headers()

    def log_message(self, *_):
        pass


@contextmanager
def hub(repositories, commits=(COMMIT,)):
    """Serve `{"owner/name": {"file": bytes}}`; a pair of status and code in place of the files."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.repositories, server.commits, server.asked = repositories, commits, []
        server.newest = [COMMIT]  # what "main" is, and becomes with each file that is asked of it
        server.breaks = 0  # transfers that are yet to break off in the middle
        server.private = {}  # "owner/name" to the header that opens it
        server.tokens, server.refused = ("Bearer hf_mine",), {}  # who may write; paths to statuses
        server.large, server.visibility = {}, {}  # files by hash; of repositories that were made
        server.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
