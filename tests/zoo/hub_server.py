"""A very small Hugging Face Hub on 127.0.0.1: enough of the protocol for the real client.

As on the real one, large files are tagged with their SHA-256 and lie elsewhere, behind a redirection;
small ones are tagged with git's own digest and come at once.
"""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"
_LARGE = 10_000


@dataclass
class Hub:
    """What the server serves, and what it was asked for."""

    files: dict[tuple[str, str], bytes] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    damaged: set[tuple[str, str]] = field(default_factory=set)
    requests: list[str] = field(default_factory=list)
    url: str = ""

    def add(self, repo: str, file: str, content: bytes) -> None:
        self.files[repo, file] = content

    def gets(self) -> list[str]:
        return [request for request in self.requests if request.startswith("GET")]


def stated_tag(content: bytes) -> str:
    if len(content) >= _LARGE:
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    """Serve `hub` until the block ends; its ``url`` is where."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(with_content=False)

        def do_GET(self) -> None:
            self._answer(with_content=True)

        def log_message(self, *_: Any) -> None:
            pass  # A test's output is the test's.

        def _answer(self, *, with_content: bool) -> None:
            hub.requests.append(f"{self.command} {self.path}")
            repo, _, rest = self.path.lstrip("/").partition("/resolve/")
            revision, _, file = rest.partition("/")
            stored_elsewhere = repo.startswith("storage/")
            repo = repo.removeprefix("storage/")
            if repo in hub.gated:
                return self._refuse(403, "GatedRepo")
            if repo not in {known for known, _ in hub.files}:
                return self._refuse(401, "RepoNotFound")
            if revision not in ("main", COMMIT):
                return self._refuse(404, "RevisionNotFound")
            if (repo, file) not in hub.files:
                return self._refuse(404, "EntryNotFound")
            content = hub.files[repo, file]
            if len(content) >= _LARGE and not stored_elsewhere:
                return self._redirect(content)
            self.send_response(200)
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{stated_tag(content)}"')
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if with_content:
                # Damage happens on the way: of the same length, and under the tag of what was meant.
                damaged = content[:-1] + bytes([content[-1] ^ 1])
                self.wfile.write(damaged if (repo, file) in hub.damaged else content)

        def _redirect(self, content: bytes) -> None:
            self.send_response(302)
            self.send_header("Location", f"{hub.url}/storage{self.path}")
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("X-Linked-Etag", f'"{stated_tag(content)}"')
            self.send_header("X-Linked-Size", str(len(content)))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _refuse(self, status: int, code: str) -> None:
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", "0")
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
