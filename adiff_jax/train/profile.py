"""A trace of some steps, for TensorBoard's profiler or Perfetto."""

from collections.abc import Callable
from types import TracebackType
from typing import Any

import jax
from etils import epath


class Profile:
    """A context: records the steps from `first` up to `last`, without that one, into `directory`.

    Process 0 records its own devices, and they stand for the others: all run one program. What of
    it a run that was resumed has still before it is recorded. `say` hears where the trace lies.
    """

    def __init__(
        self, steps: tuple[int, int], directory: epath.Path, say: Callable[[str], None]
    ) -> None:
        self._steps = range(*steps) if jax.process_index() == 0 else range(0)
        self._directory, self._say = directory, say
        self._recording = False

    def __enter__(self) -> "Profile":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def before(self, step: int, earlier: Any) -> None:
        """Start or stop, as is due before `step` updates become one more; `earlier` is what the
        last of them returned, so that a trace does not end before its steps have."""
        if step in self._steps and not self._recording:
            jax.profiler.start_trace(str(self._directory))
            self._recording = True
        elif step not in self._steps and self._recording:
            jax.block_until_ready(earlier)
            self._stop()

    def _stop(self) -> None:
        if self._recording:
            self._recording = False
            jax.profiler.stop_trace()
            first, last = self._steps.start, self._steps.stop
            self._say(f"trace of steps {first} to {last}: {self._directory}")
