"""A very small Hugging Face Hub on 127.0.0.1: enough of the protocol for the real client.

As on the real one, large files are tagged with their SHA-256 and lie elsewhere, behind a redirection, in
ranges if asked; small ones are tagged with git's own digest and come at once. It can fail in many ways.
"""

import hashlib
import json
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"
_LARGE = 10_000

#: Where the client is told how to reach Xet, and what it is told.
XET_TOKEN = "/xet-token"
_XET = {
    "X-Xet-Cas-Url": "http://127.0.0.1:9",
    "X-Xet-Access-Token": "token",
    "X-Xet-Token-Expiration": "4000000000",
}

#: The repository that most tests pull from.
TINY = "me/tiny"


@dataclass
class Fault:
    """What happens to requests for a file, the next `times` of them.

    `kind` is ``damage`` (other bytes of the same length), ``close`` or ``reset`` (the connection, after `at`
    bytes), ``stall`` (nothing more comes after `at` bytes), ``refuse`` (with `status` and `headers`), or
    ``headers`` (these instead of the true ones).
    """

    kind: str
    at: int = 0
    times: int = 1_000_000
    method: str = "GET"
    status: int = 503
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Hub:
    """What the server serves, what it was asked for, and what was uploaded to it."""

    files: dict[tuple[str, str], bytes] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    faults: dict[tuple[str, str], Fault] = field(default_factory=dict)
    commits: dict[str, str] = field(default_factory=dict)
    past: dict[tuple[str, str, str], bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    uploads: dict[str, bytes] = field(default_factory=dict)
    url: str = ""

    def add(self, repo: str, file: str, content: bytes) -> None:
        self.files[repo, file] = content

    def gets(self) -> list[str]:
        return [request for request in self.requests if request.startswith("GET")]

    def commit(self, repo: str) -> str:
        """The commit that ``main`` is at."""
        return self.commits.get(repo, COMMIT)

    def move(self, repo: str, files: dict[str, bytes | None] | None = None, *, forget: bool = False) -> str:
        """Make a new commit, with these files changed or (None) removed; return it.

        The old commit can still be had unless `forget`.
        """
        old = self.commit(repo)
        for (owner, file), content in self.files.items():
            if owner == repo and not forget:
                self.past[repo, old, file] = content
        for file, new in (files or {}).items():
            self.files.pop((repo, file), None)
            if new is not None:
                self.add(repo, file, new)
        self.commits[repo] = hashlib.sha1(f"after {old}".encode()).hexdigest()
        return self.commits[repo]

    def has(self, repo: str, revision: str) -> bool:
        known = {commit for owner, commit, _ in self.past if owner == repo}
        return revision in {"main", self.commit(repo), *known}

    def content(self, repo: str, revision: str, file: str) -> bytes | None:
        if revision in ("main", self.commit(repo)):
            return self.files.get((repo, file))
        return self.past.get((repo, revision, file))


def stated_tag(content: bytes) -> str:
    if len(content) >= _LARGE:
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    """Serve `hub` until the block ends; its ``url`` is where."""
    ended = threading.Event()

    class Handler(_Downloads, _Uploads, BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass  # A test's output is the test's.

    Handler.hub, Handler.ended = hub, ended
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        ended.set()
        server.shutdown()
        server.server_close()
        thread.join()


def use(hub: Hub, cache: Path, patch: pytest.MonkeyPatch) -> None:
    """Let the real client of this process talk to `hub`, whatever the environment says."""
    from huggingface_hub import close_session, constants

    address = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    patch.setattr(constants, "ENDPOINT", hub.url)
    patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address)
    patch.setattr(constants, "HF_HUB_CACHE", str(cache))
    patch.setattr(constants, "HF_TOKEN_PATH", str(cache / "token"))
    patch.setattr(constants, "HF_HUB_OFFLINE", False)
    patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    patch.setenv("NO_PROXY", "127.0.0.1")
    close_session()  # One that is open may have been told of a proxy.


class _Downloads:
    """``HEAD`` and ``GET`` of ``/OWNER/NAME/resolve/REVISION/FILE``."""

    hub: Hub
    ended: threading.Event

    def do_HEAD(self: Any) -> None:
        self._answer()

    def do_GET(self: Any) -> None:
        self._answer()

    def _answer(self: Any) -> None:
        hub = self.hub
        hub.requests.append(f"{self.command} {self.path}")
        if self.path == XET_TOKEN:  # The way to a storage that does not answer.
            return self._send(200, _XET, b"", None)
        repo, _, rest = unquote(self.path).lstrip("/").partition("/resolve/")
        revision, _, file = rest.partition("/")
        stored_elsewhere = repo.startswith("storage/")
        repo = repo.removeprefix("storage/")
        fault = self._fault(repo, file)
        if fault is not None and fault.kind == "refuse":
            return self._refuse(fault.status, "", **fault.headers)
        if repo in hub.gated:
            return self._refuse(403, "GatedRepo")
        if repo not in {known for known, _ in hub.files}:
            return self._refuse(401, "RepoNotFound")
        if not hub.has(repo, revision):
            return self._refuse(404, "RevisionNotFound")
        content = hub.content(repo, revision, file)
        if content is None:
            return self._refuse(404, "EntryNotFound")
        if revision == "main":
            revision = hub.commit(repo)
        told = {"X-Repo-Commit": revision, "ETag": f'"{stated_tag(content)}"'}
        if len(content) >= _LARGE and not stored_elsewhere:
            told |= {"X-Linked-Etag": told["ETag"], "X-Linked-Size": str(len(content))}
            told |= {"Location": f"{hub.url}/storage/{repo}/resolve/{revision}/{file}"}
            return self._send(302, told, b"", fault)
        return self._send(200, told, content, fault)

    def _fault(self: Any, repo: str, file: str) -> Fault | None:
        fault = self.hub.faults.get((repo, file))
        if fault is None or fault.method != self.command or fault.times <= 0:
            return None
        if fault.kind in ("close", "reset", "stall", "damage") and not self._serves_content():
            return None
        fault.times -= 1
        return fault

    def _serves_content(self: Any) -> bool:
        return self.command == "HEAD" or self.path.startswith("/storage/") or "storage" not in self.path

    def _send(self: Any, status: int, told: dict[str, str], content: bytes, fault: Fault | None) -> None:
        kind = None if fault is None else fault.kind
        if kind == "headers":
            told = {**told, **fault.headers}
        if kind == "damage":  # On the way: of the same length, and under the tag of what was meant.
            content = content[:-1] + bytes([content[-1] ^ 1])
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if asked and status == 200:
            begin = int(asked[1])
            told["Content-Range"] = f"bytes {begin}-{len(content) - 1}/{len(content)}"
            status, content = 206, content[begin:]
        if kind == "stall" and self.command == "HEAD":
            self.ended.wait(30)
            return
        self.send_response(status)
        for name, value in told.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if kind not in ("close", "reset", "stall"):
            self.wfile.write(content)
            return
        self.wfile.write(content[: fault.at])
        self.wfile.flush()
        self.close_connection = True
        if kind == "stall":
            self.ended.wait(30)
        if kind == "reset":
            time.sleep(0.02)  # What was written is to arrive first.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    def _refuse(self: Any, status: int, code: str, **headers: str) -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", "0")
        self.end_headers()


class _Uploads:
    """What ``HfApi`` does to make a repository and a commit in it."""

    hub: Hub

    def do_POST(self: Any) -> None:
        self.hub.requests.append(f"{self.command} {self.path}")
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Authorization") not in {f"Bearer {token}" for token in self.hub.tokens}:
            return self._json(401, {"error": "Invalid credentials in Authorization header"})
        if self.path == "/api/repos/create":
            return self._create(json.loads(body))
        if self.path == "/api/validate-yaml":
            return self._json(200, {"errors": [], "warnings": []})
        if "/preupload/" in self.path:
            asked = json.loads(body)["files"]
            told = [
                {
                    "path": one["path"],
                    "uploadMode": "lfs" if one["size"] >= _LARGE else "regular",
                    "shouldIgnore": False,
                }
                for one in asked
            ]
            return self._json(200, {"files": told})
        if self.path.endswith(".git/info/lfs/objects/batch"):
            return self._batch(json.loads(body)["objects"])
        if "/commit/" in self.path:
            return self._commit(body)
        return self._json(404, {"error": f"no {self.path}"})

    def do_PUT(self: Any) -> None:
        self.hub.requests.append(f"{self.command} {self.path}")
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        digest = self.path.rpartition("/")[2]
        assert hashlib.sha256(content).hexdigest() == digest
        self.hub.uploads[digest] = content
        self._json(200, {})

    def _create(self: Any, asked: dict[str, Any]) -> None:
        repo = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
        known = repo in self.hub.commits
        self.hub.commits.setdefault(repo, COMMIT)
        self._json(409 if known else 200, {"url": f"{self.hub.url}/{repo}", "name": repo, "id": "1"})

    def _batch(self: Any, objects: list[dict[str, Any]]) -> None:
        told = [
            {
                **one,
                "authenticated": True,
                "actions": {"upload": {"href": f"{self.hub.url}/uploads/{one['oid']}", "header": {}}},
            }
            for one in objects
        ]
        self._json(200, {"transfer": "basic", "objects": told})

    def _commit(self: Any, body: bytes) -> None:
        import base64

        repo = self.path.removeprefix("/api/models/").partition("/commit/")[0]
        new = {}
        for line in body.decode().splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "file":
                new[value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                new[value["path"]] = self.hub.uploads[value["oid"]]
        for file, content in new.items():
            self.hub.add(repo, file, content)
        oid = hashlib.sha1(body).hexdigest()
        self.hub.commits[repo] = oid
        url = f"{self.hub.url}/{repo}/commit/{oid}"
        self._json(200, {"success": True, "commitOid": oid, "commitUrl": url, "hookOutput": ""})

    def _json(self: Any, status: int, value: Any) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
