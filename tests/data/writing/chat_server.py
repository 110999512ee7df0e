"""A server of the chat protocol for tests, on this machine, that misbehaves as told.

`ChatServer(behave)` calls `behave(n, request)` for the n-th request (from 0), which gives what to
send back. `Reply` says how; a plain text is a good completion.
"""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

GOOD = {
    1: "Audio 1 features a barking dog close by, whereas audio 2 features rain and a man talking.",
    2: "The first audio features a dog that barks sharply and close by, with pauses in between, "
    "whereas the second audio features steady and soft rain over which a man talks calmly.",
    3: " ".join(
        ["In the first audio a dog barks, while in the second audio rain falls on a roof."] * 7
    ),
}
"""An answer of good form for each tier."""


@dataclass(frozen=True)
class Reply:
    """A response; `text` is wrapped into a completion, `body` is sent as it is."""

    text: str | None = None
    body: str | None = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    finish: str = "stop"
    delay: float = 0.0
    drop: bool = False


Behave = Callable[[int, dict[str, Any]], Reply | str]


def tier_of(request: dict[str, Any]) -> int:
    """The tier that a request of the shipped prompts asks for."""
    prompt = request["messages"][1]["content"]
    return 1 if "15 to 35" in prompt else 2 if "40 to 65" in prompt else 3


def good(number: int, request: dict[str, Any]) -> str:
    """What a well-behaved server does."""
    return GOOD[tier_of(request)]


class ChatServer:
    """A context manager; `requests` holds what was asked, `keys` and `times` (s) with it."""

    def __init__(self, behave: Behave = good) -> None:
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.times: list[float] = []
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                """Say nothing."""

            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with server._lock:
                    number = len(server.requests)
                    server.requests.append(request | {"path": self.path})
                    server.keys.append(self.headers["authorization"])
                    server.times.append(time.monotonic())
                    server._at_once += 1
                    server.most_at_once = max(server.most_at_once, server._at_once)
                try:
                    said = behave(number, request)
                    self._send(said if isinstance(said, Reply) else Reply(said))
                except (BrokenPipeError, ConnectionResetError):
                    pass  # the client has gone
                finally:
                    with server._lock:
                        server._at_once -= 1

            def _send(self, reply: Reply) -> None:
                time.sleep(reply.delay)
                if reply.drop:
                    self.close_connection = True
                    return
                message = {"role": "assistant", "content": reply.text}
                choice = {"index": 0, "message": message, "finish_reason": reply.finish}
                usage = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
                whole = {"id": "x", "model": "toy-2", "choices": [choice], "usage": usage}
                body = (json.dumps(whole) if reply.body is None else reply.body).encode()
                self.send_response(reply.status)
                for name, value in {"content-type": "application/json", **reply.headers}.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._http.server_port}/v1"

    def __enter__(self) -> "ChatServer":
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.shutdown()
        self._http.server_close()
