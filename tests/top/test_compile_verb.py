"""The verb `compile`: what it refuses, and the table of rules, which needs no libtpu."""

import re
from pathlib import Path

import jax
import pytest

from adiff_jax import cli
from adiff_jax.aot.programs import state_of
from adiff_jax.parallel.mesh import MeshConfig, make_mesh
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
    [([], "which slice"), (["--topology", "v5litepod-16"], r"no topology 'v5litepod-16'; there")],
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
