"""SIGTERM as a request: finish the step, save, leave with exit code 143."""

import signal
import threading
from types import FrameType, TracebackType

import jax
from jax.experimental import multihost_utils

EXIT_CODE = 143
"""128 + SIGTERM: schedulers read it as "was asked to stop"; start the same command to go on."""


class Interrupted(SystemExit):
    """Training was asked to stop, and saved. Ends the process with `EXIT_CODE` if not caught."""

    def __init__(self) -> None:
        super().__init__(EXIT_CODE)


class Interruption:
    """While entered, SIGTERM is remembered instead of obeyed.

    With several processes JAX's own preemption service listens instead and lets all of them stop
    at the same step.
    """

    def __init__(self) -> None:
        self._asked = False
        self._previous: signal.Handlers | None = None

    def __enter__(self) -> "Interruption":
        alone = jax.process_count() == 1
        if alone and threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGTERM, self._remember)  # type: ignore[assignment]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGTERM, self._previous)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._asked = True

    def requested(self, step: int) -> bool:
        """Whether to stop after `step`; all processes get the same answer."""
        if jax.process_count() > 1:
            return multihost_utils.reached_preemption_sync_point(step)
        return self._asked
