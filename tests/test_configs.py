"""Every shipped experiment, without data and without computing: it loads, its model has shapes,
its train step can be lowered on eight devices, and its file says how to run it.
"""

import ast
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import AbstractMesh

from adiff_jax import demo
from adiff_jax.ablate import experiment_of, load_grid
from adiff_jax.batch_shapes import abstract_batch
from adiff_jax.experiment import Experiment, load_experiment
from adiff_jax.experiment_json import from_json, to_json
from adiff_jax.parallel.mesh import AXES, constrainer, make_mesh
from adiff_jax.parallel.sharding import Rule, Rules, rules_table
from adiff_jax.parts import check_optimizer
from adiff_jax.train.state import TrainState, abstract_state, shardings_of
from adiff_jax.train.step import Step, make_train_step

CONFIGS = Path(__file__).parents[1] / "configs"
FILES = sorted(CONFIGS.glob("*.py")) + sorted(CONFIGS.glob("ablations/*.py"))
MAX_ABLATION_LINES = 15
"""Imports and what stands between statements are not counted."""

every_config = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


def blemishes(path: Path) -> list[str]:
    """What is wrong with a config file as a text."""
    text = path.read_text()
    tree = ast.parse(text)
    docstring = ast.get_docstring(tree) or ""
    found = []
    if path.parent.name == "ablations":
        statements = tree.body[1:] if docstring else tree.body
        said = [node for node in statements if not isinstance(node, ast.Import | ast.ImportFrom)]
        code = sum((node.end_lineno or 0) - node.lineno + 1 for node in said)
        if code > MAX_ABLATION_LINES:
            found.append(f"{code} lines, more than {MAX_ABLATION_LINES}")
        if "replace(" not in text:
            found.append("an ablation is a base and dataclasses.replace")
        if not docstring:
            found.append("no docstring")
    elif f"adiff train configs/{path.name}" not in docstring:
        found.append("its docstring does not give its command")
    return found


def experiments_of(path: Path) -> list[Experiment]:
    """The one experiment of a config file, or those that the cells of a grid are run as."""
    functions = {getattr(node, "name", "") for node in ast.parse(path.read_text()).body}
    if "get_grid" in functions:
        grid = load_grid(str(path))
        return [experiment_of(grid, cell, 0, "unused") for cell in grid.cells]
    return [load_experiment(path)]


def step_and_state(experiment: Experiment) -> tuple[Step, TrainState]:
    """The train step of an experiment on its mesh, and the abstract state it acts on."""
    config, mesh = experiment.train, make_mesh(experiment.mesh)
    objective = experiment.objective(constrainer(mesh))
    step = make_train_step(
        objective, config.optimizer, config.steps, config.accumulate, config.loss_limit
    )
    batch = abstract_batch(experiment)
    state = abstract_state(objective, config.optimizer, config.steps, batch, mesh, config.sharding)
    check_optimizer(experiment, state.params)
    return step, state


def shape_of(leaf: jax.Array) -> tuple[tuple[int, ...], np.dtype]:
    return leaf.shape, leaf.dtype


def test_there_are_configs() -> None:
    assert FILES


@every_config
def test_a_config_file_is_short_and_says_how_to_run_it(path: Path) -> None:
    assert blemishes(path) == []


@every_config
def test_an_experiment_reads_back_from_json(path: Path) -> None:
    for experiment in experiments_of(path):
        assert from_json(to_json(experiment)) == experiment


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.py")), ids=lambda path: path.stem)
def test_an_experiment_is_named_after_its_file(path: Path) -> None:
    assert load_experiment(path).name == path.stem


def lower(experiment: Experiment) -> None:
    """Lower a train step; the state that comes out is shaped like the one that goes in."""
    step, state = step_and_state(experiment)
    scalars = (np.uint32(0), np.int32(0))
    batch = abstract_batch(experiment)

    lowered = jax.jit(step, out_shardings=(shardings_of(state), None)).lower(state, batch, *scalars)
    after, metrics = lowered.out_info

    assert jax.tree.map(shape_of, after) == jax.tree.map(shape_of, state)
    assert metrics["loss"].shape == ()


MEBIBYTE = 2**20


def unsplit(experiment: Experiment, state: TrainState, fsdp: int) -> list[str]:
    """Leaves of 1 MiB or more that are copied although `fsdp` devices could share them, and those
    that their placement does not divide."""
    mesh = AbstractMesh((1, fsdp, 1), AXES)
    table = rules_table(state, mesh, experiment.train.sharding)
    found = []
    for (path, shape, spec), leaf in zip(table, jax.tree.leaves(state), strict=True):
        axes = [(size, axis) for size, axis in zip(shape, spec, strict=False) if axis]
        uneven = any(size % mesh.shape[axis] for size, axis in axes)
        if uneven or not axes and leaf.size * leaf.dtype.itemsize >= MEBIBYTE:
            found.append(f"{path} {shape} {spec}")
    return found


@every_config
def test_every_model_has_shapes_and_its_large_leaves_are_split(path: Path) -> None:
    for experiment in experiments_of(path):
        _, state = step_and_state(experiment)
        assert jax.tree.leaves(state.params)
        for fsdp in (2, 8):
            assert unsplit(experiment, state, fsdp) == []


def test_a_large_leaf_that_is_copied_is_found() -> None:
    experiment = demo.get_config()
    rules = Rules((Rule("large"),))
    experiment = replace(experiment, train=replace(experiment.train, sharding=rules))
    state = TrainState(
        step=jax.ShapeDtypeStruct((), np.int32),
        params={"large": jax.ShapeDtypeStruct((512, 512), np.float32)},
        batch_stats={},
        opt_state=(),
    )
    assert unsplit(experiment, state, 8) == ["params/large (512, 512) P()"]


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.py")), ids=lambda path: path.stem)
def test_a_train_step_lowers_and_keeps_the_state(path: Path) -> None:
    lower(load_experiment(path))


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(CONFIGS.glob("ablations/*.py")), ids=lambda path: path.stem)
def test_every_cell_of_a_grid_lowers_too(path: Path) -> None:
    for experiment in experiments_of(path):
        lower(experiment)


def test_the_train_step_of_the_demo_lowers_and_keeps_the_state() -> None:
    lower(demo.get_config())


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("ablations/long.py", '"""x"""\nreplace(1)\n' + "x = 1\n" * 15, "16 lines, more than 15"),
        ("ablations/whole.py", '"""x"""\n', "an ablation is a base"),
        ("ablations/silent.py", "replace(1)\n", "no docstring"),
        ("other.py", '"""Trains something."""\n', "its docstring does not give"),
    ],
)
def test_a_planted_blemish_is_found(tmp_path: Path, name: str, text: str, complaint: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    (found,) = blemishes(path)
    assert found.startswith(complaint)
