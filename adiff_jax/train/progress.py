"""What the person and the log see of a training: bar, rates, metrics, events."""

import sys
from collections.abc import Mapping
from types import TracebackType

import jax
from jax.sharding import Mesh
from tqdm import tqdm

from adiff_jax.checkpoint.run_directory import RunDirectory
from adiff_jax.train.goodput import Goodput, in_words
from adiff_jax.train.metrics_log import MetricsLog
from adiff_jax.train.throughput import Throughput, chips, peak_flops


class Progress:
    """A context: the bar is drawn and the logs are open while it is entered. At its end it says and
    logs where the time went.

    `restored` is the step of the checkpoint that training goes on from, None for a new state;
    with `evaluate_again` that step is still to be evaluated.
    """

    def __init__(
        self,
        run: RunDirectory,
        mesh: Mesh,
        restored: int | None,
        evaluate_again: bool,
        steps: int,
        examples: int,
        seconds_per_example: float,
        wandb_project: str,
        goodput: Goodput,
    ) -> None:
        devices = mesh.devices.flatten()
        peak = peak_flops(devices[0].device_kind)
        self._rates = Throughput(examples, seconds_per_example, peak, chips(devices))
        self._goodput, self._step = goodput, restored or 0
        self._log = MetricsLog(
            run.metrics_log, run.tensorboard, restored, evaluate_again, wandb_project
        )
        self._bar = tqdm(
            initial=restored or 0,
            total=steps,
            unit="step",
            desc="train",
            dynamic_ncols=True,
            disable=jax.process_index() != 0,
        )

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.close()
        report = self._goodput.report()
        self.say(in_words(report))
        self._log.write(self._step, "goodput", report)
        self._log.close()

    def say(self, text: str) -> None:
        """A passing word to the person."""
        if jax.process_index() == 0:
            tqdm.write(text, file=sys.stderr)

    def event(self, step: int, text: str) -> None:
        """Something that also a later reader of the log should know."""
        self._log.event(step, text)

    def restart_rates(self) -> None:
        """What happened since the last step was no training."""
        self._rates.restart()

    def finished(
        self,
        step: int,
        values: Mapping[str, float],
        waited: float,
        flops: float | None,
        log: bool,
    ) -> None:
        """The metrics of a finished step: the loss on the bar, and all of them in the logs.

        The device was idle for `waited` seconds, for want of its batch, and took `flops` operations
        (each device). It is counted now, not when it was dispatched: the clock of the rates is read
        when a step is done.
        """
        self._step = step
        self._goodput.waited(waited)
        self._rates.step(waited, flops)
        self._bar.set_postfix(loss=f"{values['loss']:.4f}", refresh=False)
        self._bar.update(step - self._bar.n)
        if log:
            self._log.write(step, "train", {**values, **self._rates.report()})

    def evaluated(self, step: int, scores: Mapping[str, float]) -> None:
        """The scores of an evaluation, said and logged."""
        shown = ", ".join(f"{name} {value:.4g}" for name, value in scores.items())
        self.say(f"step {step}: {shown}")
        self._log.write(step, "evaluation", scores)
