"""A language model by itself, from its config to its scores: trained, resumed, evaluated."""

import argparse
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from adiff_jax import answer, api, run, verbs
from adiff_jax.answer import Answering, score_file
from adiff_jax.data.tokenizers import BytePairs
from adiff_jax.experiment import ConfigError, Data, Evaluation, Experiment, Split
from adiff_jax.models.gpt2 import Gpt2
from adiff_jax.models.language_model import LanguageModel
from adiff_jax.train.loop import TrainConfig
from adiff_jax.train.optim import Optimizer
from tests.top import tiny_run
from tests.top.conftest import Quickly

STEPS = 12
LM = Gpt2(layers=1, heads=2, width=16, positions=48, vocab_size=320)
EXPERIMENT = Experiment(
    name="tiny_text",
    model=LanguageModel(LM, context=3),
    data=Data(
        train=tiny_run.pairs("train", tiny_run.TRAIN),
        validation=tiny_run.pairs("validation", tiny_run.VALIDATION),
        test=(Split("pairs", tiny_run.pairs("test", tiny_run.TEST)),),
        encode=replace(tiny_run.ENCODE, max_tokens=40),
        tokenizer=BytePairs(320),
    ),
    train=TrainConfig(
        steps=STEPS,
        global_batch=8,
        log_every=1,
        save_every=4,
        eval_every=4,
        best_metric="validation/loss/language",
        best_mode="min",
        optimizer=Optimizer(learning_rate=0.02),
    ),
    evaluation=Evaluation(batch=8),
)


@pytest.fixture(scope="module")
def text_run(tmp_path_factory: pytest.TempPathFactory, quickly: Quickly) -> Path:
    path = tmp_path_factory.mktemp("text") / "run"
    with quickly():
        run.train(EXPERIMENT, path)
    return path


def logged(path: Path, kind: str, name: str) -> list[float]:
    lines = map(json.loads, (path / "metrics.jsonl").read_text().splitlines())
    return [line[name] for line in lines if line["kind"] == kind]


def test_its_loss_falls_in_training_and_on_other_texts(text_run: Path) -> None:
    trained = logged(text_run, "train", "loss")
    assert len(trained) == STEPS
    assert trained[0] > 0.9 * math.log(LM.vocab_size)  # it begins without a clue
    assert trained[-1] < trained[0] - 1
    validated = logged(text_run, "evaluation", "validation/loss/language")
    assert validated[-1] < validated[0]
    perplexities = logged(text_run, "evaluation", "validation/perplexity")
    np.testing.assert_allclose(np.log(perplexities), validated)


def test_a_run_cut_short_goes_on_to_the_same_weights(text_run: Path, tmp_path: Path) -> None:
    cut = Path(shutil.copytree(text_run, tmp_path / "cut"))
    shutil.rmtree(cut / "checkpoints" / str(STEPS))
    run.train(EXPERIMENT, cut)
    whole, again = (run.restore(run.RunDirectory.at(path)) for path in (text_run, cut))
    assert whole[2] == again[2] == STEPS
    jax.tree.map(np.testing.assert_array_equal, again[1], whole[1])


def test_evaluation_says_its_perplexity(
    text_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(text_run, tmp_path / "copy")
    absent = dict.fromkeys(("recipe", "table", "folder", "predictions", "control"))
    given = {"decode": "", "require": [], "windows": False, **absent}
    verbs.evaluate(argparse.Namespace(run_directory=str(copy), split="pairs", **given), [])
    written = json.loads((copy / "metrics.json").read_text())
    perplexity = written["language"]["perplexity"]
    assert 1 < perplexity < LM.vocab_size
    assert f'"perplexity": {perplexity}' in capsys.readouterr().out


def test_it_is_not_asked_for_sentences(text_run: Path, tmp_path: Path) -> None:
    trained = run.load_trained(text_run)
    with pytest.raises(ValueError, match="is a language model: it hears nothing"):
        api.load(text_run)
    with pytest.raises(ConfigError, match="a language model by itself.*: leave out --decode"):
        answer.answer(trained, "pairs", Answering("beam:4"))
    with pytest.raises(ConfigError, match="is a language model: sentences do not answer it"):
        score_file(trained, "pairs", tmp_path / "other.jsonl", Answering())
