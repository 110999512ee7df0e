"""A converted checkpoint is a run directory: others start from it, and it goes back to a file."""

import os
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import torch
import transformers

from adiff_jax import checkpoint_kinds, cli
from adiff_jax.checkpoint.run_directory import RunDirectory
from adiff_jax.checkpoint_kinds import KINDS
from adiff_jax.conversion import UNCHECKED, convert, export, read_classes
from adiff_jax.convert.engine import ConversionError, StateDict
from adiff_jax.convert.torch_files import read_state, write_state
from adiff_jax.convert_verbs import KINDS as NAMED
from adiff_jax.data.tokenizers import load_tokenizer
from adiff_jax.experiment import StartFrom, load_experiment
from adiff_jax.models.adc import Adc
from adiff_jax.models.adiff import Adiff
from adiff_jax.models.byola import ByolA
from adiff_jax.models.cnn10 import Cnn10
from adiff_jax.models.gpt2 import Gpt2
from adiff_jax.models.language_model import LanguageModel
from adiff_jax.objectives import Captioning
from adiff_jax.run import load_trained
from adiff_jax.starting import pretrained, restore, starting_from
from tests.convert.states import (
    State,
    adiff_state,
    assert_same,
    byola_shapes,
    cnn10_shapes,
    filled,
    small_adiff_dtypes,
)
from tests.models.toys import audio_batch

KIND = "AudioNTT2020Task6_d512"


@pytest.fixture(scope="module")
def state() -> State:
    return filled(byola_shapes(KIND))


@pytest.fixture(scope="module")
def converted(state: State, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("byola")
    write_state(folder / "byola.pth", StateDict(state))
    convert("byola", folder / "byola.pth", folder / "run")
    return folder / "run"


def test_the_command_line_names_the_kinds_that_there_are() -> None:
    assert set(NAMED) == set(KINDS)


def test_a_converted_encoder_starts_a_model(converted: Path, state: State) -> None:
    adc = Adc(encoder=ByolA(width=512))
    fresh = jax.eval_shape(Captioning(adc).init, jax.random.key(0), audio_batch())
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    placed = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device), fresh
    )
    variables = pretrained((StartFrom(str(converted)),))(placed)
    np.testing.assert_array_equal(
        variables["params"]["encoder"]["network"]["dense_2"]["kernel"], state["fc.3.weight"].T
    )
    np.testing.assert_array_equal(
        variables["batch_stats"]["encoder"]["norm_1"]["mean"], state["features.1.running_mean"]
    )


def test_its_experiment_names_the_encoder(converted: Path) -> None:
    experiment, _, step = restore(RunDirectory.at(converted))
    assert experiment.model.encoder == ByolA(width=512) and step == 0


@pytest.mark.parametrize("name", ["again.pth", "again.safetensors"])
def test_an_export_gives_the_file_back(
    converted: Path, state: State, tmp_path: Path, name: str
) -> None:
    assert export(converted, tmp_path / name) == len(state)
    found = read_state(tmp_path / name).entries
    assert_same({entry: found[entry] for entry in state}, state)


def test_the_verbs_say_what_was_done_and_what_is_next(
    tmp_path: Path, state: State, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = tmp_path / "byola.safetensors", tmp_path / "run"
    write_state(file, StateDict(state))
    cli.main(["convert", "byola", str(file), str(out)])
    said = capsys.readouterr().out
    parameters = sum(v.size for k, v in state.items() if "running" not in k and "num" not in k)
    assert f"{parameters:,}" in said and "25 entries, 3 of them carried" in said
    assert UNCHECKED in said
    assert said.splitlines()[-1] == (
        f"next: adiff train configs/adc_sdd.py --init {out} --model.encoder.width 512"
    )
    cli.main(["export", str(out), str(tmp_path / "again.ckpt")])
    assert "25 entries" in capsys.readouterr().out
    assert list(torch.load(tmp_path / "again.ckpt", weights_only=True)) == sorted(state)


def test_a_tagger_keeps_its_head_and_its_classes(converted: Path, tmp_path: Path) -> None:
    state = filled(cnn10_shapes())
    torch.save(
        {"iteration": 1, "model": {k: torch.tensor(v) for k, v in state.items()}},
        tmp_path / "Cnn10.pth",
    )
    names = [f"event, {number}" for number in range(527)]
    rows = [f'{number},/m/{number},"{name}"' for number, name in enumerate(names)]
    (tmp_path / "labels.csv").write_text("\n".join(["index,mid,display_name", *rows]))
    report = convert(
        "cnn10", tmp_path / "Cnn10.pth", tmp_path / "run", str(tmp_path / "labels.csv")
    )
    assert report.counts[""] == 5_219_279 and report.carried == 12
    trained = load_trained(tmp_path / "run")
    assert trained.parts.classes == tuple(names)
    assert trained.parts.experiment.model.encoder == Cnn10()
    export(tmp_path / "run", tmp_path / "again.pth")
    assert_same(dict(read_state(tmp_path / "again.pth", ("model",)).entries), state)
    with pytest.raises(ConversionError, match=r"is of Tagger \(Cnn10\), .* of Tagger \(ByolA\)"):
        export(tmp_path / "run", tmp_path / "other.pth", like=str(converted))


def test_what_was_trained_from_a_conversion_is_written_like_it(
    converted: Path, state: State, tmp_path: Path
) -> None:
    """A run without a sidecar of its own."""
    trained = Path(shutil.copytree(converted, tmp_path / "trained"))
    (trained / "torch_entries.safetensors").unlink()
    with pytest.raises(ConversionError, match="--like"):
        export(trained, tmp_path / "weights.pth")
    export(trained, tmp_path / "weights.pth", like=str(converted))
    assert_same(dict(read_state(tmp_path / "weights.pth").entries), state)


@pytest.fixture(scope="module")
def adiff_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A narrow ADIFF with the whole vocabulary, behind `module.`, weights small enough to run."""
    state = adiff_state(small_adiff_dtypes(576, tokens=50257))
    path = tmp_path_factory.mktemp("adiff") / "adiff.ckpt"
    write_state(path, StateDict({f"module.{name}": value for name, value in state.items()}))
    return path


@pytest.fixture
def vocabulary(data_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """GPT-2's, where it is at hand."""
    if not (data_directory / "gpt2_tokenizer" / "vocab.json").exists():
        pytest.skip(f"no vocabulary of GPT-2: {data_directory}/gpt2_tokenizer does not exist")
    monkeypatch.setenv("ADIFF_DATA", str(data_directory))


def test_adiff_is_a_run_that_states_its_conventions_and_goes_back(
    adiff_file: Path, tmp_path: Path, vocabulary: None
) -> None:
    report = convert("adiff", adiff_file, tmp_path / "run")
    assert report.entries == 576
    assert report.next_command == f"adiff explain {tmp_path}/run first.wav second.wav"
    trained = load_trained(tmp_path / "run")
    model, encode = trained.parts.experiment.model, trained.parts.experiment.data.encode
    assert model.compat == encode.compat == "adiff-2025"
    assert (encode.rate, encode.prompt_tokens, encode.short) == (32000, 40, "tile")
    assert encode.buckets == (encode.max_tokens,) == (9,)  # all that its positions leave
    assert len(trained.parts.classes) == 527
    assert trained.parts.tokenizer.encode("a dog") == [64, 3290]
    export(tmp_path / "run", tmp_path / "again.ckpt")
    assert_same(
        dict(read_state(tmp_path / "again.ckpt").entries), dict(read_state(adiff_file).entries)
    )


def test_short_answers_of_the_published_size_are_not_decoded_in_long_rooms() -> None:
    assert checkpoint_kinds._adiff_experiment(Adiff()).data.encode.buckets == (64, 128, 280)


def test_an_adiff_trained_with_our_conventions_says_so(
    adiff_file: Path, tmp_path: Path, vocabulary: None
) -> None:
    cli.main(["convert", "adiff", str(adiff_file), str(tmp_path / "run"), "--ours"])
    experiment, _, _ = restore(RunDirectory.at(tmp_path / "run"))
    assert experiment.model.compat == experiment.data.encode.compat == ""


def gpt2_directory(folder: Path, tokens: int) -> None:
    config = transformers.GPT2Config(
        n_layer=1,
        n_head=2,
        n_embd=16,
        n_positions=200,
        vocab_size=tokens,
        bos_token_id=0,
        eos_token_id=0,
    )
    transformers.GPT2LMHeadModel(config).save_pretrained(folder)


def test_a_directory_of_gpt2_gives_a_language_model_and_its_vocabulary(
    data_directory: Path, tmp_path: Path, vocabulary: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpt2_directory(tmp_path / "hf", 50257)
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(data_directory / "gpt2_tokenizer" / name, tmp_path / "hf" / name)
    monkeypatch.delenv("ADIFF_DATA")  # the files beside the weights are enough
    report = convert("gpt2", tmp_path / "hf", tmp_path / "run")
    given = report.next_command.replace("ENCODER_RUN", str(tmp_path / "run")).split()
    options = given[given.index("--model.lm.layers") :]
    assert options == "--model.lm.layers 1 --model.lm.heads 2 --model.lm.width 16".split() + [
        "--model.lm.positions",
        "200",
    ]
    experiment, variables, _ = restore(RunDirectory.at(tmp_path / "run"))
    assert experiment.model == LanguageModel(Gpt2(1, 2, 16, 200, 50257), 50256, context=100)
    assert set(variables["params"]) == {"lm"}
    grounded = starting_from(load_experiment("configs/adiff_stage2.py"), [str(tmp_path / "run")])
    assert grounded.start == (StartFrom(str(tmp_path / "run"), (("lm", "lm"),)),)
    assert load_tokenizer(tmp_path / "run").vocab_size == 50257
    export(tmp_path / "run", tmp_path / "again.safetensors")
    assert_same(
        dict(sorted(read_state(tmp_path / "again.safetensors").entries.items())),
        dict(sorted(read_state(tmp_path / "hf").entries.items())),
    )


def test_a_language_model_of_another_vocabulary_is_refused(
    tmp_path: Path, vocabulary: None
) -> None:
    gpt2_directory(tmp_path / "hf", 61)
    with pytest.raises(ConversionError, match="embeds 61 tokens, GPT-2's vocabulary has 50257"):
        convert("gpt2", tmp_path / "hf", tmp_path / "run")


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    return capsys.readouterr().err


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path, state: State) -> None:
    broken = {**state, "fc.3.bias": np.full_like(state["fc.3.bias"], np.nan)}
    write_state(tmp_path / "broken.pth", StateDict(broken))
    with pytest.raises(ConversionError, match="broken.pth holds NaN or infinity, in: params/enc"):
        convert("byola", tmp_path / "broken.pth", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_nothing_is_written_unless_everything_fits(
    tmp_path: Path, state: State, capsys: pytest.CaptureFixture[str]
) -> None:
    less = {name: value for name, value in state.items() if name != "fc.3.bias"}
    write_state(tmp_path / "less.pth", StateDict(less | {"extra": np.zeros(2, np.float32)}))
    said = refused(["convert", "byola", str(tmp_path / "less.pth"), str(tmp_path / "run")], capsys)
    assert "needs 'fc.3.bias'" in said and "'extra' (2,)" in said
    assert not (tmp_path / "run").exists()


def test_a_directory_in_use_is_left_alone(
    tmp_path: Path, converted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(["convert", "byola", str(tmp_path / "any.pth"), str(converted)], capsys)
    assert "exists: remove it, or choose another directory" in said


class Malicious:
    """Unpickling it makes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.target}",)


def test_a_malicious_pickle_is_refused_with_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, target = tmp_path / "model.ckpt", tmp_path / "run_by_pickle"
    torch.save({"fc.0.weight": torch.ones(2), "x": Malicious(target)}, file)
    said = refused(["convert", "byola", str(file), str(tmp_path / "run")], capsys)
    assert "refused, nothing was run" in said and len(said.splitlines()) == 1
    assert not target.exists() and not (tmp_path / "run").exists()


def test_class_names_that_cannot_be_right_are_refused(tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("dog\nrain, light\n\n")
    assert read_classes(str(names)) == ("dog", "rain, light")
    names.write_text("dog\ncat\ndog\n")
    with pytest.raises(ConversionError, match="names twice: dog"):
        read_classes(str(names))
    names.write_text("\n")
    with pytest.raises(ConversionError, match="no class names"):
        read_classes(str(names))


def test_a_wrong_number_of_class_names_is_refused(tmp_path: Path) -> None:
    write_state(tmp_path / "cnn10.safetensors", StateDict(filled(cnn10_shapes())))
    (tmp_path / "names.txt").write_text("dog\ncat\n")
    with pytest.raises(ConversionError, match="2 class names are given, the head has 527"):
        convert(
            "cnn10",
            tmp_path / "cnn10.safetensors",
            tmp_path / "run",
            str(tmp_path / "names.txt"),
        )
