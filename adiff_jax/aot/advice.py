"""What to change when a program does not fit, as options of the command line."""

from adiff_jax.aot.plan import Measured, Plan
from adiff_jax.experiment import Experiment
from adiff_jax.parallel.mesh import batch_shards

_STATE = ("parameters", "optimizer", "other state")


def advice(plan: Plan, program: Measured) -> list[str]:
    """Options that make the largest kinds of a program that does not fit smaller, each with why."""
    assert program.too_much is not None
    available = program.too_much.available
    state = sum(program.memory.get(kind, 0) for kind in _STATE)
    training = program.name == "train step"
    found = []
    wider = _wider(plan, state, available / 4)
    if wider and state > available / 4:
        found.append(
            f"--mesh.fsdp {wider}: parameters, optimizer and averages are {_gib(state)} of "
            f"{_gib(available)} on each device; fsdp splits them"
        )
    if training and _has_remat(plan.experiment):
        found.append(
            "--model.stack.remat True: what happens within the layers of the transformers is "
            "computed again in the backward pass instead of kept"
        )
    rows, accumulate = program.rows, plan.experiment.train.accumulate
    parts = _parts(plan, program, state)
    if training and parts > 1 and not plan.experiment.objective().couples_examples:
        found.append(
            f"--train.accumulate {parts * accumulate}: {rows // parts // accumulate} of {rows} "
            "rows at a time, the same gradient"
        )
    if parts > 1:
        option = "--train.global_batch" if training else "--evaluation.batch"
        found.append(f"{option} {rows // parts}: activations grow with the rows")
    if wider and not found:
        found.append(f"--mesh.fsdp {wider}: a smaller part of the state on each device")
    return found or ["a larger slice, or one of chips with more memory: nothing is left to split"]


def _wider(plan: Plan, state: int, room: float) -> int | None:
    """The next size of the fsdp axis at which the state takes at most `room`, or the largest that
    there is; None when fsdp has all devices of a slice."""
    now, left = plan.mesh.shape["fsdp"], plan.mesh.shape["data"] // plan.slice.count
    factor = 1
    while factor < left and left % (2 * factor) == 0 and (factor == 1 or state / factor > room):
        factor *= 2
    return now * factor if factor > 1 else None


def _parts(plan: Plan, program: Measured, state: int) -> int:
    """Into how many parts, a power of two, the rows must go if all but the state grows with them;
    fewer where the devices would no longer divide them, down to 1."""
    assert program.too_much is not None
    config = plan.experiment.train
    unit = batch_shards(plan.mesh) * (config.accumulate if program.name == "train step" else 1)
    parts = 1
    while program.rows % (2 * parts * unit) == 0:
        parts *= 2
        if program.too_much.needed / parts <= program.too_much.available - state:
            break
    return parts


def _has_remat(experiment: Experiment) -> bool:
    stack = getattr(experiment.model, "stack", None)
    return stack is not None and not stack.remat


def _gib(size: int | float) -> str:
    return f"{size / 2**30:.2f} GiB"
