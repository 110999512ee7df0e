"""How fast a server is asked: so many requests a minute, none while it wants to be left alone."""

import threading
import time

from adiff_jax.data.writing.answers import WritingError


class Pace:
    """Spaces the requests of all threads evenly, `per_minute` of them (None: as they come)."""

    def __init__(self, per_minute: float | None = None) -> None:
        if per_minute is not None and not per_minute > 0:
            raise ValueError(f"requests per minute is {per_minute}: say a number above 0")
        self._gap = 60 / per_minute if per_minute else 0.0
        self._next = 0.0
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def wait(self) -> None:
        """Return when it is this thread's turn. Raises WritingError once stopped."""
        while True:
            with self._lock:
                now = time.monotonic()
                if now >= self._next:
                    self._next = now + self._gap
                    break
                remaining = self._next - now
            self.sleep(remaining)  # then ask again: the server may have asked for more
        self.sleep(0.0)

    def hold(self, seconds: float) -> None:
        """Let nobody have a turn for `seconds`."""
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)

    def sleep(self, seconds: float) -> None:
        """Wait for `seconds`. Raises WritingError when, or as soon as, stopped."""
        if self._stopped.wait(seconds):
            raise WritingError("stopped before the answer was asked for")

    def stop(self) -> None:
        """End all waiting, now and later."""
        self._stopped.set()
