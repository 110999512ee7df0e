"""What the processes of a job find out together when they save and read checkpoints."""

import contextlib
import threading
import time
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, Future, wait

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from orbax.checkpoint import multihost

POLL_SECONDS = 0.1
MEET_SECONDS = 30
LEAVE_SECONDS = 60
TEXT_BYTES = 300


def anywhere(*here: bool) -> tuple[bool, ...]:
    """Of each statement, whether it is so in any process; called by all of them alike."""
    return tuple(bool(said.any()) for said in _everywhere(np.array(here)).T)


def first_word(text: str) -> str:
    """What the first process that says something says, with its number; called by all alike."""
    for number, said in enumerate(_texts(text)):
        if said:
            return said if jax.process_count() == 1 else f"process {number}: {said}"
    return ""


def _texts(mine: str) -> list[str]:
    """That of every process, cut to `TEXT_BYTES`."""
    padded = np.zeros(TEXT_BYTES, np.uint8)
    begin = np.frombuffer(mine.encode()[:TEXT_BYTES], np.uint8)
    padded[: begin.size] = begin
    return [row.tobytes().rstrip(b"\0").decode(errors="ignore") for row in _everywhere(padded)]


def _everywhere(mine: np.ndarray) -> np.ndarray:
    """(processes, *shape of mine)."""
    if jax.process_count() == 1:
        return mine[None]
    return np.asarray(multihost_utils.process_allgather(mine))


class Gate:
    """Orbax's barrier between the threads that save, with a way out.

    A process that cannot write does not come to the barrier where the others wait for the end of
    the save; left alone, they would wait for 20 minutes, orbax's limit for one.
    """

    def __init__(self) -> None:
        self._given_up: Future[None] = Future()
        self._lock = threading.Lock()  # while held, nobody gives up
        self._begun: Counter[str] = Counter()  # how often each barrier, by its key
        self._waiting: dict[str, threading.Thread] = {}
        self._committed = False
        self.failed = False
        """Whether this process could not save."""

    def __call__(self, *, key: str, timeout_ms: int) -> None:
        """Return when all processes have come.

        Once it is given up, nobody waits: RuntimeError, but not where the reason is known.
        """
        in_background = threading.current_thread() is not threading.main_thread()
        skipped = in_background and "async_" not in key and not self._committed
        arrived: Future[None] = Future()

        def arrive() -> None:
            try:
                _meet(key, timeout_ms)
            except Exception as error:  # of any kind: raised where it is waited for
                arrived.set_exception(error)
            else:
                arrived.set_result(None)

        with self._lock:
            if not self._given_up.done():
                self.failed |= skipped  # orbax has left out the barriers of the commit
                self._begun[key] += 1
                self._waiting[key] = threading.Thread(target=arrive, name=f"barrier {key}")
                self._waiting[key].start()
        wait((arrived, self._given_up), return_when=FIRST_COMPLETED)
        if not self._given_up.done():  # else all have met only to end
            arrived.result()
        elif not self.failed:
            raise RuntimeError("given up, as another process could not save")
        self._committed |= "async_commit_complete" in key

    def wait_for(self, manager: ocp.CheckpointManager) -> bool:
        """Whether the save under way has ended well in all processes; called by all of them.

        False as soon as one has failed, whatever the others wait for.
        """
        failed = False
        if jax.process_count() > 1:
            saving, failed = self._state(manager)
            while saving and not failed:
                time.sleep(POLL_SECONDS)
                saving, failed = self._state(manager)
        self._committed = False
        if failed:
            self._give_up()
        return not failed

    def leave(self, manager: ocp.CheckpointManager) -> None:
        """Wait for the save under way as a process that ends by itself: for a bounded time, and not
        at all for others once it has failed here."""
        deadline = time.monotonic() + LEAVE_SECONDS
        while manager.is_saving_in_progress() and jax.process_count() > 1:
            if self.failed or time.monotonic() > deadline:
                with self._lock:
                    self._given_up.set_result(None)
                return
            time.sleep(POLL_SECONDS)

    def _state(self, manager: ocp.CheckpointManager) -> tuple[bool, ...]:
        return anywhere(manager.is_saving_in_progress(), self.failed)

    def _give_up(self) -> None:
        """Nobody waits any longer; threads in barriers that others have not begun are met, and end.

        One that were left in JAX's barrier would hold up the exit.
        """
        with self._lock:
            self._given_up.set_result(None)
            alive = [key for key, thread in self._waiting.items() if thread.is_alive()]
            begun = self._begun.copy()
        said = _texts(" ".join(f"{key}#{begun[key]}" for key in alive))
        for one in sorted({one for text in said for one in text.split()}):
            key, _, times = one.rpartition("#")
            if begun[key] < int(times):
                # Without a peer, the next collective says so.
                with contextlib.suppress(jax.errors.JaxRuntimeError):
                    _meet(key, MEET_SECONDS * 1000)


def _meet(key: str, timeout_ms: int) -> None:
    multihost.get_barrier_sync_fn()(key=key, timeout_ms=timeout_ms)
