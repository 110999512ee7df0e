"""A training that tests kill: `python -m tests.train.train_tiny RUN STEPS SECONDS [HANGS_AT]`.

A batch takes SECONDS. With HANGS_AT, process 1 hangs instead of reading the batch of that step.

It joins a job that ADIFF_COORDINATOR and its like name, and leaves it, as `adiff train` does.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from adiff_jax import verbs_job
from adiff_jax.checkpoint.run_directory import RunDirectory
from adiff_jax.parallel.mesh import MeshConfig, make_mesh
from adiff_jax.parallel.sharding import Rules
from adiff_jax.train.compilation import enable_compile_cache
from adiff_jax.train.loop import TrainConfig, fit
from adiff_jax.train.optim import Optimizer, WarmupCosine
from adiff_jax.train.state import TrainState
from tests.train.tiny import Net, Regression, batches_of

OBJECTIVE = Regression(Net(batch_norm=True, dropout=0.2))


def config(steps: int) -> TrainConfig:
    """Everything that has state is on: moments, schedule, average, statistics, draws."""
    return TrainConfig(
        steps=steps,
        global_batch=16,
        log_every=1,
        eval_every=10,
        save_every=4,
        best_metric="size",
        optimizer=Optimizer(learning_rate=0.01, schedule=WarmupCosine(5), ema=0.9),
        sharding=Rules(fsdp_from=1),
    )


def evaluate(state: TrainState, step: int) -> dict[str, float]:
    """Anything that depends on the state."""
    del step
    return {"size": float(jnp.abs(state.variables["params"]["head"]["kernel"]).sum())}


def train(
    run: epath.PathLike, steps: int, seconds_per_batch: float = 0.0, hangs_at: int | None = None
) -> TrainState:
    """Train, or go on training, in `run`."""

    def batches(start: int) -> Iterator[dict[str, np.ndarray]]:
        mine = jax.process_index()
        for step, batch in enumerate(batches_of(16)(start), start=start + 1):
            time.sleep(3600 if (mine, step) == (1, hangs_at) else seconds_per_batch)
            yield {name: np.split(x, jax.process_count())[mine] for name, x in batch.items()}

    mesh = make_mesh(MeshConfig(2, 2, 2))
    how = replace(config(steps), stall_seconds=1800.0 if hangs_at is None else 8.0)
    return fit(OBJECTIVE, batches, how, mesh, RunDirectory.at(run), evaluate)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    verbs_job.add_arguments(parser)
    parser.set_defaults(verb="train")
    verbs_job.join(parser.parse_args(["--join-timeout", "60", "--heartbeat", "5"]))
    enable_compile_cache()
    try:
        train(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), *map(int, sys.argv[4:]))
    except BaseException as end:
        verbs_job.leave_after(end, "train")
        raise
