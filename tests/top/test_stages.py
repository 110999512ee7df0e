"""The three stages of a tiny ADIFF, each started by `--init` from what came before.

Four trainings take a minute and more, so that what needs all of them is for `make test-slow`.
"""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from adiff_jax import cli, run, starting
from adiff_jax.experiment import ConfigError, StartFrom
from adiff_jax.models.language_model import LanguageModel
from adiff_jax.protocol import Variables
from tests.top import tiny_adiff
from tests.top.conftest import Quickly

STAGES = """
from dataclasses import replace
from adiff_jax.models.language_model import LanguageModel
from tests.top import tiny_adiff, tiny_run

ADIFF = tiny_adiff.adiff()


def tagger():
    mixes = tiny_run.tagger()
    data = replace(mixes.data, encode=replace(mixes.data.encode, rate=tiny_adiff.RATE))
    return replace(mixes, model=ADIFF.model.clips, data=data)


def text():
    model = ADIFF.model
    data = replace(ADIFF.data, test=())
    train = replace(ADIFF.train, steps=1, best_metric="")
    language = LanguageModel(model.lm, context=3)
    return replace(ADIFF, model=language, data=data, train=train)


def stage(freeze_lm):
    model = replace(ADIFF.model, freeze_lm=freeze_lm)
    return replace(ADIFF, model=model, train=replace(ADIFF.train, steps=1, best_metric=""))


def get_config():
    return """


def leaves(tree: Variables) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def same(one: Variables, other: Variables) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(leaves(one), leaves(other), strict=True))


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory, quickly: Quickly) -> Path:
    """The runs `tagger`, `text`, `stage2`, `stage3`, made by the command line; not to be spoilt."""
    root = tmp_path_factory.mktemp("stages")
    inits = {
        "tagger()": (),
        "text()": (),
        "stage(True)": ("tagger", "text"),
        "stage(False)": ("stage2",),
    }
    names = ("tagger", "text", "stage2", "stage3")
    with quickly():
        for name, (call, given) in zip(names, inits.items(), strict=True):
            config = root / f"{name}.py"
            config.write_text(f"{STAGES}{call}\n")
            starts = [word for one in given for word in ("--init", str(root / "runs" / one))]
            cli.main(["train", str(config), *starts, "--workdir", str(root / "runs" / name)])
    return root / "runs"


@pytest.mark.slow
def test_each_stage_goes_on_with_what_the_ones_before_have_learnt(stages: Path) -> None:
    tagger, text, second, third = (
        run.load_trained(stages / name).variables for name in ("tagger", "text", "stage2", "stage3")
    )
    assert same({"p": second["params"]["clips"]}, {"p": tagger["params"]})
    assert same({"p": second["params"]["lm"]}, {"p": text["params"]["lm"]})
    assert same({"p": third["params"]["clips"]}, {"p": tagger["params"]})
    assert not same({"p": third["params"]["lm"]}, {"p": text["params"]["lm"]})
    assert not same({"p": third["params"]["projection"]}, {"p": second["params"]["projection"]})


@pytest.mark.slow
def test_vocabulary_and_class_names_come_along(stages: Path) -> None:
    files = {name: (stages / name / "tokenizer.json").read_bytes() for name in ("text", "stage3")}
    assert files["text"] == files["stage3"]
    assert run.load_trained(stages / "stage3").parts.classes == tiny_adiff.CLASSES


def test_a_start_of_other_conventions_is_refused(adiff_run: Path, tmp_path: Path) -> None:
    published = Path(shutil.copytree(adiff_run, tmp_path / "published"))
    stored = (published / "experiment.json").read_text()
    assert stored.count('"compat": ""') == 2  # of the model, and of its data
    (published / "experiment.json").write_text(
        stored.replace('"compat": ""', '"compat": "adiff-2025"')
    )
    ours = replace(tiny_adiff.adiff(), start=(StartFrom(str(published), (("", ""),)),))
    said = "published was trained with compat='adiff-2025', but model.compat is ''"
    with pytest.raises(ConfigError, match=re.escape(said)):
        run.train(ours, tmp_path / "run")


def test_text_and_model_of_other_conventions_are_refused() -> None:
    ours = tiny_adiff.adiff()
    with pytest.raises(ConfigError, match="model.compat"):
        replace(ours, model=replace(ours.model, compat="adiff-2025"))


def test_a_run_that_has_nothing_to_give_is_named(tagger_run: Path) -> None:
    ours = tiny_adiff.adiff()
    language = replace(ours, model=LanguageModel(ours.model.lm, context=3))
    with pytest.raises(ConfigError, match="it trained Tagger, which gives nothing to LanguageMo"):
        starting.starting_from(language, [str(tagger_run)])
