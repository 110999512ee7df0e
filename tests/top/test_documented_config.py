"""The example of docs/data.md, as a reader would write it, over a small folder of recordings."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from adiff_jax import cli
from adiff_jax.audio.io import write_audio
from adiff_jax.experiment import Experiment, load_experiment
from adiff_jax.opened import open_data
from adiff_jax.parts import assemble

REPOSITORY = Path(__file__).parents[2]
EVENTS = ("Coffee mill", "bell", "whistle")


def blocks() -> tuple[str, str]:
    """The config and the commands of the section."""
    text = (REPOSITORY / "docs" / "data.md").read_text()
    section = text.split("## Train on recordings of your own\n")[1].split("\n## ")[0]
    config = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    commands = re.search(r"```\n(adiff .*?)```", section, re.DOTALL)
    assert config and commands
    return config[1], commands[1]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """configs/my_sounds.py beside those of the repository, and the folder that it names."""
    folder, rows = tmp_path / "my_sounds", ["file,category,fold"]
    folder.mkdir()
    for category in ("street", *EVENTS):
        for number in range(6):
            seed = [number, *category.encode()]
            wave = np.random.default_rng(seed).uniform(-0.5, 0.5, 16_000).astype(np.float32)
            write_audio(folder / f"{category} {number}.wav", wave, 16_000)
            rows.append(f"{category} {number}.wav,{category},{1 + number % 2}")
    (folder / "clips.csv").write_text("\n".join(rows))
    (tmp_path / "configs").mkdir()
    for name in ("adc_esc10.py", "byola_tagging.py"):
        shutil.copy(REPOSITORY / "configs" / name, tmp_path / "configs")
    monkeypatch.setenv("ADIFF_DATA", str(tmp_path))
    path = tmp_path / "configs" / "my_sounds.py"
    path.write_text(blocks()[0])
    return path


def test_the_documented_config_gives_pairs_of_the_folder_and_fits_its_model(config: Path) -> None:
    experiment = load_experiment(config)
    assert isinstance(experiment, Experiment) and experiment.name == config.stem
    heard: dict[str, set[str]] = {}
    for split in ("train", "validation", "fold2"):
        data = experiment.data
        source = open_data(data.train if split == "train" else experiment.split(split))
        assert source.library.events == ("bell", "coffee_mill", "whistle")
        heard[split] = {name for i in range(40) for name in source.truth(i).recordings}
        assert len(source[0].waves) == 2
    assert not heard["train"] & heard["validation"]
    assert not (heard["train"] | heard["validation"]) & heard["fold2"]
    parts = assemble(experiment, open_data(experiment.data.train), None)
    assert parts.tokenizer is not None


def test_the_documented_commands_name_the_config_and_its_split(config: Path) -> None:
    experiment = load_experiment(config)
    for line in blocks()[1].splitlines():
        options, rest = cli._parser().parse_known_args(line.split()[1:])
        assert not rest
        if options.verb == "train":
            assert options.config == f"configs/{config.name}"
            workdir = options.workdir
        else:
            assert options.run_directory == workdir
            assert experiment.split(options.split)
