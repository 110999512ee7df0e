"""Google Cloud Storage on loopback, in memory: the part of its JSON API that the package uses.

Answers gcsfs (files, through etils.epath) and tensorstore (arrays of checkpoints, through orbax):
object metadata, contents and ranges of them, uploads in one request and in parts, listings, moves,
copies and deletions, with preconditions on generations. One name a bucket; nothing is checked
about who asks. What is not known here is an error of the server, so that a test which needs more
fails instead of being misled. https://cloud.google.com/storage/docs/json_api/v1
"""

import itertools
import json
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

TIME = "2025-01-01T00:00:00.000Z"


@dataclass(frozen=True)
class Stored:
    """An object: its bytes, and a number that no other version of it has."""

    content: bytes
    generation: int


@dataclass
class Storage:
    """Everything that is stored. `lock` is held while a request reads or changes it."""

    buckets: dict[str, dict[str, Stored]]
    uploads: dict[str, tuple[str, str, dict[str, str], bytearray]] = field(default_factory=dict)
    generations: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    lock: threading.Lock = field(default_factory=threading.Lock)
    refused: str = ""  # a regular expression of names; "" is none
    deletes: bool = True

    def names(self, bucket: str) -> list[str]:
        """What a bucket holds, in the order of a listing."""
        with self.lock:
            return sorted(self.buckets[bucket])

    @contextmanager
    def refusing(self, names: str, deletes: bool = True) -> Iterator[None]:
        """Nothing that matches this regular expression can be written, as without the right to."""
        self.refused, self.deletes = names, deletes
        try:
            yield
        finally:
            self.refused, self.deletes = "", True

    def put(self, bucket: str, name: str, content: bytes) -> Stored:
        """A new version of an object, in place of the last one."""
        stored = Stored(content, next(self.generations))
        self.buckets[bucket][name] = stored
        return stored


class _Refused(Exception):
    """An answer other than success."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class _Answer:
    content: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    status: int = 200


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections stay open, as the clients expect
    wbufsize = -1  # headers and content in one packet, or the second waits for a receipt
    server: "_Server"

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: tests have their own output."""

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        url = urlsplit(self.path)
        options = {name: values[0] for name, values in parse_qs(url.query).items()}
        try:
            with self.server.storage.lock:
                answer = self._route(url.path, options, body)
        except _Refused as refused:
            error = {"error": {"code": refused.status, "message": str(refused)}}
            answer = _Answer(json.dumps(error).encode(), status=refused.status)
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    do_GET = do_POST = do_PUT = do_DELETE = _answer

    def _route(self, path: str, options: dict[str, str], body: bytes) -> _Answer:
        """`path` is still quoted: object names hold slashes."""
        if path.startswith("/upload/storage/v1/b/"):
            return self._upload(unquote(path.split("/")[5]), options, body)
        match = re.fullmatch(
            r"(?:/download)?/storage/v1/b/([^/]+)(/o(?:/([^/]+)(?:/(\w+)/(?:b/([^/]+)/)?o/(.+))?)?)?",
            path,
        )
        if match is None:
            raise _Refused(501, f"{self.command} {path} is not known to this server")
        bucket, below, name, action, other_bucket, other = (
            part and unquote(part) for part in match.groups()
        )
        objects = self._objects(bucket)
        if not below:
            return _as_json({"kind": "storage#bucket", "name": bucket})
        if name is None:
            return _listing(bucket, objects, options)
        if self.command == "DELETE":
            self._check(objects.get(name), options)
            self._found(bucket, name)
            if not self.server.storage.deletes:
                raise _Refused(403, f"{name} may not be deleted")
            del objects[name]
            return _Answer(status=204)
        stored = self._found(bucket, name)
        if action in ("moveTo", "rewriteTo") and self.command == "POST":
            to = other_bucket or bucket
            self._objects(to)
            made = self.server.storage.put(to, other, stored.content)
            if action == "moveTo":
                del objects[name]
                return _as_json(_metadata(to, other, made))
            return _as_json({"done": True, "resource": _metadata(to, other, made)})
        if self.command != "GET" or action:
            raise _Refused(501, f"{self.command} {path} is not known to this server")
        self._check(stored, options)
        if options.get("alt") == "media":
            return self._media(stored)
        return _as_json(_metadata(bucket, name, stored))

    def _objects(self, bucket: str) -> dict[str, Stored]:
        if bucket not in self.server.storage.buckets:
            raise _Refused(404, f"The specified bucket does not exist: {bucket}")
        return self.server.storage.buckets[bucket]

    def _found(self, bucket: str, name: str) -> Stored:
        if name not in self._objects(bucket):
            raise _Refused(404, f"No such object: {bucket}/{name}")
        return self.server.storage.buckets[bucket][name]

    def _check(self, stored: Stored | None, options: dict[str, str]) -> None:
        """Preconditions: generation 0 is that of an object that is not there."""
        here = 0 if stored is None else stored.generation
        if int(options.get("ifGenerationMatch", here)) != here:
            raise _Refused(412, "The generation is another one")
        if "ifGenerationNotMatch" in options and int(options["ifGenerationNotMatch"]) == here:
            raise _Refused(304, "")

    def _media(self, stored: Stored) -> _Answer:
        headers = {"x-goog-generation": str(stored.generation)}
        size = len(stored.content)
        asked = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if asked is None:
            return _Answer(stored.content, headers)
        first, last = asked.groups()
        start = int(first) if first else max(0, size - int(last))
        stop = min(size, int(last) + 1) if first and last else size
        if start >= size:
            raise _Refused(416, "Requested range not satisfiable")
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        return _Answer(stored.content[start:stop], headers, status=206)

    def _upload(self, bucket: str, options: dict[str, str], body: bytes) -> _Answer:
        if "upload_id" in options:
            return self._part(options["upload_id"], body)
        kind, name = options.get("uploadType"), options.get("name", "")
        if kind == "resumable":
            self._objects(bucket)
            key = str(next(self.server.storage.generations))
            self.server.storage.uploads[key] = (bucket, name, options, bytearray())
            place = f"/upload/storage/v1/b/{bucket}/o?uploadType=resumable&upload_id={key}"
            return _Answer(headers={"Location": self.server.url + place})
        if kind == "multipart":
            boundary = re.search(r'boundary="?([^";]+)', self.headers["Content-Type"])
            assert boundary is not None
            _, about, content = body.split(b"--" + boundary[1].encode(), 2)
            name = json.loads(re.split(rb"\r?\n\r?\n", about, maxsplit=1)[1])["name"]
            content = re.split(rb"\r?\n\r?\n", content, maxsplit=1)[1]
            content = content[: content.rindex(b"\n--" + boundary[1].encode() + b"--")]
        elif kind == "media":
            content = body
        else:
            raise _Refused(501, f"uploadType {kind!r} is not known to this server")
        return self._store(bucket, name, options, content)

    def _part(self, key: str, body: bytes) -> _Answer:
        """A part of an upload; the object appears with the last one."""
        bucket, name, options, content = self.server.storage.uploads[key]
        content += body
        if self.headers["Content-Range"].endswith("/*"):
            return _Answer(headers={"Range": f"bytes=0-{len(content) - 1}"}, status=308)
        del self.server.storage.uploads[key]
        return self._store(bucket, name, options, bytes(content))

    def _store(self, bucket: str, name: str, options: dict[str, str], content: bytes) -> _Answer:
        self._check(self._objects(bucket).get(name), options)
        refused = self.server.storage.refused
        if refused and re.search(refused, name):
            raise _Refused(403, f"{name} may not be written")
        return _as_json(_metadata(bucket, name, self.server.storage.put(bucket, name, content)))


def _as_json(value: object) -> _Answer:
    return _Answer(json.dumps(value).encode(), {"Content-Type": "application/json"})


def _metadata(bucket: str, name: str, stored: Stored) -> dict[str, str]:
    return {
        "kind": "storage#object",
        "bucket": bucket,
        "name": name,
        "size": str(len(stored.content)),
        "generation": str(stored.generation),
        "metageneration": "1",
        "timeCreated": TIME,
        "updated": TIME,
        "storageClass": "STANDARD",
    }


def _listing(bucket: str, objects: dict[str, Stored], options: dict[str, str]) -> _Answer:
    """One page, at most `maxResults` long, of what follows `pageToken`."""
    prefix, delimiter = options.get("prefix", ""), options.get("delimiter", "")
    first, end = options.get("startOffset", ""), options.get("endOffset")
    entries: dict[str, dict[str, str] | None] = {}  # None: a prefix
    for name in sorted(objects):
        if name.startswith(prefix) and first <= name and (end is None or name < end):
            rest = name[len(prefix) :]
            if delimiter and delimiter in rest:
                entries[prefix + rest.split(delimiter)[0] + delimiter] = None
            else:
                entries[name] = _metadata(bucket, name, objects[name])
    left = [name for name in entries if name > options.get("pageToken", "")]
    page = left[: int(options.get("maxResults", len(left)))]
    found: dict[str, object] = {
        "kind": "storage#objects",
        "items": [entries[name] for name in page if entries[name]],
        "prefixes": [name for name in page if not entries[name]],
    }
    if len(page) < len(left):
        found["nextPageToken"] = page[-1]
    return _as_json(found)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, storage: Storage) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.storage = storage

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that ask two ways at once leave when they have one answer."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def serving(*buckets: str) -> Iterator[tuple[str, Storage]]:
    """The address of a server with these empty buckets, and what it stores, while entered."""
    storage = Storage({bucket: {} for bucket in buckets})
    server = _Server(storage)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.url, storage
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
