"""Why a training cannot go on: the error, and what it says."""

from collections.abc import Mapping
from typing import Any

from adiff_jax.checkpoint.checkpoints import Checkpoints
from adiff_jax.checkpoint.run_directory import RunDirectory


class TrainingError(RuntimeError):
    """Training cannot go on; the message names the step, and the examples where they matter."""


def check_saved(checkpoints: Checkpoints, step: int) -> None:
    """Wait for the checkpoint of `step`. Raises TrainingError when it could not be saved."""
    checkpoints.wait()
    if step not in checkpoints.steps():
        raise TrainingError(
            f"the state of step {step} could not be saved (see the messages above); the newest "
            f"checkpoint is that of step {checkpoints.latest_step()}. Make room and start again"
        )


def no_score(metric: str, scores: Mapping[str, float], step: int, run: RunDirectory) -> str:
    """That the evaluation lacks the score by which checkpoints are chosen."""
    saved = f" in {run.experiment} too: the state of step {step} is saved and will be evaluated"
    return (
        f"best_metric={metric!r} is no score of the evaluation; scores: {', '.join(scores)}. Start "
        f"again with train.best_metric corrected{saved if step > 0 else ''}"
    )


def diverged(
    step: int, values: Mapping[str, Any], loss_limit: float, example_ids: list[int]
) -> str:
    """That a step would have done harm, and which examples it was made of."""
    return (
        f"step {step} was refused: loss {values['loss']}, gradient norm "
        f"{values['gradient_norm']} (loss_limit {loss_limit}); example ids of its batch: "
        f"{example_ids}. The state of step {step - 1} is saved. Look at "
        "these examples, or use a lower learning rate, in a new run directory"
    )
