"""The verb `compile`: what it refuses, and the table of rules, which needs no libtpu."""

import json
import re
from pathlib import Path

import jax
import pytest
from jax.sharding import Mesh

from adiff_jax import cli
from adiff_jax.aot.chips import CHIPS
from adiff_jax.aot.memory import TooMuch
from adiff_jax.aot.plan import Measured
from adiff_jax.aot.programs import Program, state_of
from adiff_jax.aot.topology import Slice
from adiff_jax.parallel.mesh import MeshConfig, make_mesh
from adiff_jax.train.flops import Flops
from tests.top.tiny_run import adc

CONFIG = """
from tests.top.tiny_run import adc


def get_config():
    return adc("unused")
"""


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "tiny.py"
    path.write_text(CONFIG)
    return str(path)


def test_without_a_config_it_says_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, code in (([], 2), (["--help"], 0)):
        with pytest.raises(SystemExit) as caught:
            cli.main(["compile", *arguments])
        assert caught.value.code == code
        assert "usage: adiff compile CONFIG --topology" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "which slice"),
        (["--rules", "--quick"], "--rules compiles nothing"),
        (["--topology", "v5e:2x4", "--rows", "0"], "--rows is 0"),
        (["--topology", "v5litepod-16"], r"no topology 'v5litepod-16'; there"),
    ],
)
def test_a_slice_must_be_named_and_exist(
    config: str, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["compile", config, *arguments])
    assert caught.value.code == 2
    assert re.search(sentence, capsys.readouterr().err)


def test_rules_list_every_leaf_once_and_follow_the_fields(
    config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cli.main(
        ["compile", config, "--rules", "--mesh.fsdp", "4", "--train.sharding.fsdp-from", "100"]
    )
    said = capsys.readouterr().out
    assert said.startswith("mesh data 1 x fsdp 4 x tensor 1")
    split, copied = said.split("a whole copy on every device")
    leaves = re.findall(r"MiB  \(", said)
    state = state_of(adc("unused"), make_mesh(MeshConfig()))
    assert len(leaves) == len(jax.tree.leaves(state))
    assert "fsdp)" in split and "fsdp)" not in copied


@pytest.fixture
def nothing_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """CPU devices for a slice; of its programs the train step does not fit."""

    def measured(program: Program, slice: Slice, mesh: Mesh) -> Measured:
        refused = TooMuch(2e10, 1.6e10, "too much") if program.name == "train step" else None
        return Measured(program.name, program.rows, 1.0, {"batch": 1}, Flops(1e12, 1e12), refused)

    monkeypatch.setattr("adiff_jax.aot.plan._measure", measured)
    monkeypatch.setattr(
        "adiff_jax.aot.topology.describe",
        lambda name, count: Slice(name, CHIPS["v5e"], count, jax.devices()),
    )


@pytest.mark.usefixtures("nothing_compiles")
@pytest.mark.parametrize("shape", ["text", "table", "json"])
def test_every_program_is_told_in_each_form_and_one_that_does_not_fit_fails(
    config: str, capsys: pytest.CaptureFixture[str], shape: str
) -> None:
    form = [] if shape == "text" else [f"--{shape}"]
    with pytest.raises(SystemExit) as caught:
        cli.main(["compile", config, "--topology", "v5e:2x4", *form])
    assert caught.value.code == 1
    said = capsys.readouterr().out
    assert said.count("train step") == said.count("decode step") == 1
    if shape == "json":
        assert json.loads(said)["fits"] is False
    elif shape == "table":
        assert len(said.splitlines()) == 4
    else:
        assert said.count("a v5e chip") == 1
        assert "DOES NOT FIT" in said


@pytest.mark.usefixtures("nothing_compiles")
def test_rows_are_counted_by_the_device_and_less_effort_is_said(
    config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--topology", "v5e:2x4", "v5e:2x4", "--rows", "3", "--quick"]
    with pytest.raises(SystemExit):
        cli.main(["compile", config, *options])
    said = capsys.readouterr().out
    assert said.count("train step, 24 rows") == said.count("decode step, 24 rows") == 2
    assert said.count("compiled with --quick") == 2


@pytest.mark.usefixtures("nothing_compiles")
def test_one_program_alone_may_be_asked_for(
    config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cli.main(["compile", config, "--topology", "v5e:2x4", "--only", "decode"])
    said = capsys.readouterr().out
    assert "decode step" in said and "train step" not in said
