"""`adiff data embed`: the cache of embeddings, training on it, and what it is refused for."""

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adiff_jax import cli, run, starting
from adiff_jax import embed as embedding
from adiff_jax.answer import Answering, answer, sentences
from adiff_jax.arrays import Batch
from adiff_jax.audio.frontends import LogMel
from adiff_jax.data.embeddings import CachedEmbeddings, EmbeddedSource
from adiff_jax.data.order import RowOrder
from adiff_jax.data.pipeline import evaluation_batches, train_batches
from adiff_jax.data.schema import Clip, Example, Source, Truth
from adiff_jax.data.sources import SynthPairs, open_source
from adiff_jax.data.tokenizers import Words, build_tokenizer
from adiff_jax.data.transforms import Encode, EncodeConfig
from adiff_jax.embed import Embed, Embedded, embed
from adiff_jax.experiment import ConfigError, Data, Evaluation, Experiment, Split, StartFrom
from adiff_jax.experiment_json import to_json
from adiff_jax.frozen_encoder import Hearing, clip_encoder
from adiff_jax.models.adiff import AdiffModel
from adiff_jax.models.cnn10 import Cnn10
from adiff_jax.models.gpt2 import Gpt2
from adiff_jax.models.tagger import Tagger, TaggerModel
from adiff_jax.train.loop import TrainConfig
from tests.models import adiff_toys
from tests.models.toys import drawn
from tests.top import tiny_run

PAIRS = 9  # 18 clips of one second, twice the window
SHARDS = 2
CROPS = 3
ENCODE = EncodeConfig(seconds=0.5, max_tokens=64, prompt_tokens=8)


def pairs(split: str, size: int) -> SynthPairs:
    return replace(tiny_run.pairs(split, size), tier=1)


def adiff(tagger_run: Path) -> Experiment:
    """A tiny ADIFF that hears with the encoder of the tagger."""
    language = Gpt2(layers=1, heads=2, width=16, positions=128, vocab_size=512)
    return Experiment(
        name="tiny_adiff",
        model=replace(adiff_toys.ADIFF, clips=tiny_run.tagger().model, lm=language),
        data=Data(
            train=pairs("train", PAIRS),
            validation=pairs("validation", 8),
            test=(Split("pairs", pairs("test", 8)),),
            encode=ENCODE,
        ),
        train=TrainConfig(steps=1, global_batch=8, log_every=1, best_metric=""),
        evaluation=Evaluation(batch=8),
        start=(StartFrom(str(tagger_run), (("", "clips"),)),),
    )


def on(experiment: Experiment, path: Path | str) -> Experiment:
    """The experiment with its training pairs from a cache."""
    return replace(experiment, data=replace(experiment.data, train=CachedEmbeddings(str(path))))


def written(tagger_run: Path, path: Path, **how: Any) -> Embedded:
    given = {"crops": CROPS, "shards": SHARDS, **how}
    return embed(adiff(tagger_run), "train", tagger_run, str(path), Embed(**given))


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(path.iterdir())}


@pytest.fixture(scope="module")
def cache(tagger_run: Path, quickly: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be written to."""
    path = tmp_path_factory.mktemp("embeddings") / "train"
    with quickly():
        written(tagger_run, path)
    return path


@pytest.fixture
def copied(cache: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    path = tmp_path / "copied"
    path.mkdir()
    for name, content in contents(cache).items():
        (path / name).write_bytes(content)
    return path


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Windows of every call of the encoder."""
    calls: list[int] = []
    call = Hearing.__call__

    def counting(self: Hearing, windows: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        calls.append(len(windows))
        return call(self, windows, lengths)

    monkeypatch.setattr(Hearing, "__call__", counting)
    return calls


# --- what is in it ----------------------------------------------------------------------------


def test_the_centre_crop_gives_the_logits_of_the_audio(cache: Path, tagger_run: Path):
    experiment = adiff(tagger_run)
    source = open_source(experiment.data.train)
    encode = Encode(ENCODE, build_tokenizer(Words(), source.texts()))
    audio, vectors = (
        Batch(**next(evaluation_batches(of, encode, 8)))
        for of in (source, EmbeddedSource(CachedEmbeddings(str(cache))))
    )
    assert audio.features_1 is None and vectors.features_1.shape == (8, 1, tiny_run.WIDTH)
    model = experiment.objective()
    variables = drawn(jax.eval_shape(model.init, jax.random.key(0), vectors))
    variables = starting.pretrained(experiment.start)(jax.tree.map(jnp.asarray, variables))
    apply = jax.jit(AdiffModel(experiment.model).apply)
    found = [np.asarray(apply(variables, batch).logits) for batch in (audio, vectors)]
    assert found[0].std() > 0.1
    np.testing.assert_allclose(found[1], found[0], atol=1e-6 * np.abs(found[0]).max())
    other = vectors.replace(features_1=vectors.features_2, features_2=vectors.features_1)
    assert np.abs(np.asarray(apply(variables, other).logits) - found[0]).max() > 1e-3


def test_it_holds_of_an_example_all_but_its_audio(cache: Path, tagger_run: Path):
    source = open_source(adiff(tagger_run).data.train)
    found = EmbeddedSource(CachedEmbeddings(str(cache)))
    assert len(found) == len(source) == PAIRS
    assert list(found.texts()) == list(source.texts())
    for index in range(PAIRS):
        assert found.truth(index) == source.truth(index)
        example, original = found[index], source[index]
        assert [rows.shape for rows in example.embeddings] == [(CROPS, tiny_run.WIDTH)] * 2
        assert example.clips == original.described_clips
        bare = replace(original, waves=(), rate=0, clips=example.clips)
        assert replace(example, embeddings=()) == bare


def test_crops_differ_over_the_steps_and_are_the_same_on_repeat(cache: Path):
    source = EmbeddedSource(CachedEmbeddings(str(cache)))
    encode = Encode(ENCODE, build_tokenizer(Words(), source.texts()))

    def steps() -> list[dict[str, np.ndarray]]:
        return list(train_batches(source, encode, RowOrder(PAIRS, 0), PAIRS, steps=4))

    once, again = steps(), steps()
    for one, other in zip(once, again, strict=True):
        np.testing.assert_array_equal(one["features_1"], other["features_1"])
    epochs = [batch["features_1"][np.argsort(batch["example_id"])] for batch in once]
    same = np.mean([np.array_equal(epochs[0][i], epochs[e][i]) for i in range(9) for e in (1, 2)])
    assert 0 < same < 0.8
    for index in range(PAIRS):
        crops = source[index].embeddings[0]
        assert all((crops == epoch[index]).all(axis=1).any() for epoch in epochs)


class Sharing:
    """Three pairs of three clips, one of them in all; reading names every clip that is read."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Example:
        names = ("everywhere", f"own {index % 2}")
        waves = tuple(np.full(8000, 0.1 * len(name), np.float32) for name in names)
        return Example(f"p{index}", waves, 16_000, ("x",), clips=tuple(map(Clip, names)))

    def truth(self, index: int) -> Truth:
        return Truth(f"p{index}", ("x",), None, ())

    def texts(self) -> Iterator[str]:
        yield "x"


def test_a_clip_of_many_pairs_is_encoded_once_and_a_short_one_has_one_crop(
    tagger_run: Path, tmp_path: Path, heard: list[int], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(embedding, "open_data", lambda config: Sharing())
    done = written(tagger_run, tmp_path / "c", shards=1)
    assert (done.examples, done.clips, done.encoded, heard) == (3, 3, 3, [3])
    found = EmbeddedSource(CachedEmbeddings(str(tmp_path / "c")))
    rows = [found[index].embeddings for index in range(3)]
    assert rows[0][0].shape == (1, tiny_run.WIDTH)
    np.testing.assert_array_equal(rows[0][0], rows[2][0])
    np.testing.assert_array_equal(rows[0][1], rows[2][1])


def test_two_clips_of_one_name_are_refused(
    tagger_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    class Ambiguous(Sharing):
        def __getitem__(self, index: int) -> Example:
            example = super().__getitem__(index)
            return replace(example, waves=tuple(wave + index for wave in example.waves))

    monkeypatch.setattr(embedding, "open_data", lambda config: Ambiguous())
    with pytest.raises(ConfigError, match="p1: another clip is called everywhere too"):
        written(tagger_run, tmp_path / "c")
    assert not (tmp_path / "c").exists()


# --- shards -----------------------------------------------------------------------------------


def test_jobs_of_an_array_write_the_same_bytes_as_one(
    cache: Path, tagger_run: Path, tmp_path: Path
):
    for shard in ("1/2", "0/2"):
        with pytest.raises(ValueError, match=r"shards are missing|holds no embeddings"):
            EmbeddedSource(CachedEmbeddings(str(tmp_path / "c")))
        assert written(tagger_run, tmp_path / "c", shards=None, shard=shard).encoded == PAIRS
    assert contents(tmp_path / "c") == contents(cache)


def test_what_broke_off_goes_on_without_encoding_again(
    cache: Path,
    tagger_run: Path,
    tmp_path: Path,
    heard: list[int],
    monkeypatch: pytest.MonkeyPatch,
):
    call = Hearing.__call__

    def broken(self: Hearing, windows: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        if sum(heard) + len(windows) > PAIRS * CROPS + 8:  # within the second shard
            raise KeyboardInterrupt
        return call(self, windows, lengths)

    with monkeypatch.context() as patch:
        patch.setattr(Hearing, "__call__", broken)
        with pytest.raises(KeyboardInterrupt):
            written(tagger_run, tmp_path / "c")
    assert sum(heard) == PAIRS * CROPS + 8
    heard.clear()
    done = written(tagger_run, tmp_path / "c")
    assert (done.encoded, sum(heard)) == (PAIRS, PAIRS * CROPS)
    assert contents(tmp_path / "c") == contents(cache)


def test_what_is_whole_is_compared_and_not_encoded(
    copied: Path, tagger_run: Path, heard: list[int]
):
    before = contents(copied)
    done = written(tagger_run, copied, shards=None)
    assert (done.encoded, done.compared, done.shards) == (0, 2 * PAIRS, SHARDS)
    assert heard == [] and contents(copied) == before


# --- stale ------------------------------------------------------------------------------------


def another_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """The encoder's weights differ in one number."""
    load = run.load_trained

    def changed(path: Any) -> Any:
        trained = load(path)
        dense = trained.variables["params"]["encoder"]["network"]["dense_1"]
        dense["bias"] = dense["bias"].at[0].add(1e-6)
        return trained

    monkeypatch.setattr(embedding, "load_trained", changed)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"crops": 2}, "holds embeddings of another number of crops: remove it, or name"),
        ({"seed": 1}, "holds embeddings of another seed: remove it"),
        ({"size": 8}, "holds embeddings of another source: remove it"),
        ({"shards": 3}, "has 2 shards, not 3: say 2, or remove it"),
        ({"shards": None, "shard": "0/4"}, "has 2 shards, not 4"),
    ],
)
def test_a_cache_of_something_else_is_not_gone_on_with(
    copied: Path, tagger_run: Path, how: dict[str, Any], message: str
):
    before = contents(copied)
    with pytest.raises(ConfigError, match=message):
        written(tagger_run, copied, **how)
    assert contents(copied) == before


def test_a_cache_of_another_encoder_is_not_gone_on_with(
    copied: Path, tagger_run: Path, monkeypatch: pytest.MonkeyPatch
):
    another_encoder(monkeypatch)
    with pytest.raises(ConfigError, match="holds embeddings of another encoder: remove it"):
        written(tagger_run, copied)


def other_clip(path: Path, number: int) -> str:
    """Make the cache believe that it encoded another clip; its name."""
    shard, place = divmod(number, PAIRS)
    file = path / f"shard-{shard:05d}-of-{SHARDS:05d}.jsonl"
    lines = file.read_text().splitlines()
    row = json.loads(lines[place])
    lines[place] = json.dumps(row | {"sha256": "0" * 64})
    file.write_text("".join(f"{line}\n" for line in lines))
    return str(row["clip"])


def test_clips_that_changed_are_named_and_only_their_shards_encoded_again(
    copied: Path, tagger_run: Path, heard: list[int], capsys: pytest.CaptureFixture[str]
):
    before = contents(copied)
    name = other_clip(copied, 3)
    with pytest.raises(ConfigError, match=f"1 of 18 clips compared .*: {name}; .* --refresh"):
        written(tagger_run, copied)
    assert heard == []
    done = written(tagger_run, copied, refresh=True)
    assert (done.encoded, sum(heard)) == (PAIRS, PAIRS * CROPS)  # one shard of two
    assert contents(copied) == before
    assert f"encoded again: {name}" in capsys.readouterr().err


def test_examples_that_changed_are_refused_and_refreshed(
    copied: Path, tagger_run: Path, heard: list[int]
):
    before = contents(copied)
    file = copied / "examples.jsonl"
    file.write_text(file.read_text().replace('"tier": 1', '"tier": 2', 1))
    with pytest.raises(ConfigError, match="1 of 9 examples differ .* again with --refresh"):
        written(tagger_run, copied)
    written(tagger_run, copied, refresh=True)
    assert contents(copied) == before and heard == []


# --- training on it ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained_on_it(
    cache: Path, tagger_run: Path, quickly: Any, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    with quickly():
        workdir = tmp_path_factory.mktemp("adiff")
        run.train(on(adiff(tagger_run), cache), workdir)
    return workdir


@pytest.mark.slow
def test_a_run_trains_on_it_and_keeps_the_encoder(trained_on_it: Path, tagger_run: Path):
    _, variables, step = run.restore(run.RunDirectory.at(trained_on_it))
    _, tagger, _ = run.restore(run.RunDirectory.at(tagger_run))
    assert step == 1
    kept, given = (jax.tree.leaves(t) for t in (variables["params"]["clips"], tagger["params"]))
    for one, other in zip(kept, given, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_it_says_the_same_of_cached_pairs_as_of_their_audio(
    trained_on_it: Path, cache: Path, tagger_run: Path
):
    trained = run.load_trained(trained_on_it)
    heard = open_source(adiff(tagger_run).data.train)
    cached = EmbeddedSource(CachedEmbeddings(str(cache)))
    said, again = (sentences(trained, source, "greedy") for source in (heard, cached))
    assert [row.id for row in said] == [row.id for row in again]
    assert [row.text for row in said] == [row.text for row in again]


@pytest.mark.slow
def test_a_split_of_another_encoder_is_not_answered(trained_on_it: Path, copied: Path):
    about = json.loads((copied / "about.json").read_text())
    (copied / "about.json").write_text(json.dumps(about | {"encoder": "0" * 64}))
    trained = run.load_trained(trained_on_it)
    experiment = trained.parts.experiment
    test = (Split("stale", CachedEmbeddings(str(copied))),)
    experiment = replace(experiment, data=replace(experiment.data, test=test))
    trained = replace(trained, parts=replace(trained.parts, experiment=experiment))
    with pytest.raises(ConfigError, match="of another encoder than the one"):
        answer(trained, "stale", Answering())


@pytest.mark.slow
def test_the_encoder_of_an_adiff_run_makes_the_same_cache(
    trained_on_it: Path, tagger_run: Path, cache: Path, tmp_path: Path
):
    path = tmp_path / "c"
    embed(adiff(tagger_run), "train", trained_on_it, str(path), Embed(CROPS, shards=SHARDS))
    theirs, ours = contents(cache), contents(path)
    assert theirs.pop("about.json") != ours.pop("about.json")  # which names the run
    assert theirs == ours


@pytest.mark.slow
def test_settings_of_training_alone_do_not_make_another_encoder(
    cache: Path, tagger_run: Path, tmp_path: Path
):
    other = adiff(tagger_run)
    encoder = replace(other.model.clips.encoder, dropout=0.7, freeze_batch_norm=True)
    clips = replace(other.model.clips, encoder=encoder)
    other = replace(other, model=replace(other.model, clips=clips))
    run.train(on(other, cache), tmp_path / "run")


@pytest.mark.slow
def test_the_embeddings_of_cnn10_are_made_with_the_layer_of_its_head():
    frontend = LogMel(rate=8000, window=256, hop=128, mels=16, fmin=50.0, fmax=4000.0)
    tagger = Tagger(encoder=Cnn10(filters=(2, 2, 2, 4), frontend=frontend), classes=3)
    audio = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 8000)).astype(np.float32)
    lengths = np.full(2, 8000, np.int32)
    arrays = {"valid": lengths > 0, "example_id": lengths, "audio_1": audio, "length_1": lengths}
    batch = Batch(**jax.tree.map(jnp.asarray, arrays))
    variables = drawn(jax.eval_shape(TaggerModel(tagger).init, jax.random.key(0), batch))
    kept = clip_encoder(tagger, variables)
    encode = jax.jit(partial(TaggerModel(tagger).apply, method="embed"))
    expected = encode(variables, batch)
    np.testing.assert_allclose(Hearing(*kept, 2)(audio, lengths), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_it_is_made_in_the_precision_in_which_adiff_will_hear(
    cache: Path, tagger_run: Path, tmp_path: Path
):
    halved = adiff(tagger_run)
    clips = replace(halved.model.clips, compute="bfloat16")  # the tagger computes in float32
    halved = replace(halved, model=replace(halved.model, clips=clips))
    with pytest.raises(ConfigError, match="of another encoder"):
        run.train(on(halved, cache), tmp_path / "refused")
    embed(halved, "train", tagger_run, str(tmp_path / "c"), Embed(CROPS, shards=SHARDS))
    run.train(on(halved, tmp_path / "c"), tmp_path / "run")


def test_parts_that_are_frozen_at_random_weights_are_named(tagger_run: Path):
    known = replace(adiff(tagger_run), model=replace(adiff(tagger_run).model, freeze_lm=False))
    assert known.frozen_as_drawn == ()
    assert replace(known, start=()).frozen_as_drawn == ("clips",)
    assert adiff(tagger_run).frozen_as_drawn == ("lm",)
    whole = (StartFrom("run", (("", ""),)),)
    assert replace(adiff(tagger_run), start=whole).frozen_as_drawn == ()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("shard-00001-of-00002.npy", b"\x93NUMPY cut"),
        ("shard-00001-of-00002.jsonl", b'{"clip": "a", "sha'),
        ("source.json", b"{"),
        ("about.json", b'{"form": '),
        ("examples.jsonl", b'{"example": \n'),
        ("examples.jsonl", b'{"example": {}}'),  # no line end
    ],
)
def test_a_damaged_file_is_named_with_the_way_out(copied: Path, name: str, content: bytes):
    (copied / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name} is damaged .*: remove "):
        source = EmbeddedSource(CachedEmbeddings(str(copied)))
        list(source.texts()), [source[index] for index in range(len(source))]


def test_a_run_from_another_encoder_is_refused(
    cache: Path, tagger_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    restore = starting.restore

    def changed(directory: Any) -> Any:
        experiment, variables, step = restore(directory)
        variables["params"]["encoder"]["network"]["dense_1"]["bias"][0] += 1e-6
        return experiment, variables, step

    monkeypatch.setattr(starting, "restore", changed)
    with pytest.raises(ConfigError, match="of another encoder than .*: start from .*tagger, which"):
        run.train(on(adiff(tagger_run), cache), tmp_path / "run")
    assert not (tmp_path / "run" / "experiment.json").exists()


def test_a_run_from_a_new_encoder_is_refused(cache: Path, tagger_run: Path, tmp_path: Path):
    fresh = replace(on(adiff(tagger_run), cache), start=())
    with pytest.raises(ConfigError, match="this run starts from a new one: name the run"):
        run.train(fresh, tmp_path / "run")


@pytest.mark.slow
def test_a_resumed_run_is_refused_when_the_cache_is_another_by_then(
    trained_on_it: Path, cache: Path, copied: Path, tagger_run: Path, tmp_path: Path
):
    about = json.loads((copied / "about.json").read_text())
    (copied / "about.json").write_text(json.dumps(about | {"encoder": "0" * 64}))
    longer = on(adiff(tagger_run), cache)
    held = run.restore(run.RunDirectory.at(trained_on_it))[1]
    run.check_caches((CachedEmbeddings(str(cache)),), longer, lambda: held)
    with pytest.raises(ConfigError, match="of another encoder"):
        run.check_caches((CachedEmbeddings(str(copied)),), longer, lambda: held)


def test_clips_cut_in_another_way_are_refused(cache: Path, tagger_run: Path, tmp_path: Path):
    base = on(adiff(tagger_run), cache)
    longer = replace(base, data=replace(base.data, encode=replace(ENCODE, seconds=0.6)))
    with pytest.raises(ConfigError, match=r"data\.encode\.seconds 0\.5, .* has 0\.6: set it to"):
        run.train(longer, tmp_path / "run")


def test_a_few_clips_are_read_again_when_training_starts(
    copied: Path, tagger_run: Path, tmp_path: Path
):
    name = other_clip(copied, 17)  # the last is among them
    with pytest.raises(ConfigError, match=f"1 of 8 clips compared are not what .*: {name}"):
        run.train(on(adiff(tagger_run), copied), tmp_path / "run")


def test_without_the_audio_that_is_said_and_no_error(
    copied: Path, tagger_run: Path, capsys: pytest.CaptureFixture[str]
):
    about = json.loads((copied / "about.json").read_text())
    about["source"] = {"type": "Table", "path": "/nowhere", "split": "train"}
    (copied / "about.json").write_text(json.dumps(about))
    held = run.load_trained(tagger_run)
    config = (CachedEmbeddings(str(copied)),)
    tagger = replace(adiff(tagger_run), model=held.parts.experiment.model, start=())
    run.check_caches(config, tagger, lambda: held.variables)
    assert "not compared with the audio, which cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"compat": "adiff-2025"}, "is CachedEmbeddings, but data.encode.compat is 'adiff-2025'"),
        ({"freeze_encoder": False}, "freeze_encoder is False: an encoder that learns"),
    ],
)
def test_an_experiment_that_cannot_train_on_it_is_refused(
    tagger_run: Path, change: dict[str, Any], message: str
):
    base = adiff(tagger_run)
    model = replace(base.model, **change)
    tiled = {"short": "tile", "compat": "adiff-2025"} if "compat" in change else {}
    data = replace(base.data, train=CachedEmbeddings("c"), encode=replace(ENCODE, **tiled))
    with pytest.raises(ConfigError, match=f"data.train {message}|{message}"):
        replace(base, model=model, data=data)


def test_only_adiff_reads_embeddings(adc_run: Path):
    base = tiny_run.adc(str(adc_run))
    with pytest.raises(ConfigError, match="which ADIFF reads and Adc does not"):
        replace(base, data=replace(base.data, train=CachedEmbeddings("c")))


# --- what no cache is made of -----------------------------------------------------------------


def test_crops_that_are_fresh_at_every_step_are_not_cached(tagger_run: Path, tmp_path: Path):
    base = adiff(tagger_run)
    encode = replace(ENCODE, compat="adiff-2025", short="tile")
    quirky = replace(
        base,
        model=replace(base.model, compat="adiff-2025"),
        data=replace(base.data, encode=encode),
    )
    with pytest.raises(ConfigError, match="every step hears a fresh crop"):
        embed(quirky, "train", tagger_run, str(tmp_path / "c"), Embed())


def test_an_encoder_of_pairs_and_a_cache_of_a_cache_are_refused(
    adc_run: Path, tagger_run: Path, cache: Path, tmp_path: Path
):
    out = str(tmp_path / "c")
    with pytest.raises(ConfigError, match="Adc gives no embeddings of clips; a tagger and ADIFF"):
        embed(adiff(tagger_run), "train", adc_run, out, Embed())
    with pytest.raises(ConfigError, match="'train' is CachedEmbeddings, which has no audio"):
        embed(on(adiff(tagger_run), cache), "train", tagger_run, out, Embed())
    with pytest.raises(ConfigError, match="split 'nope' is not one of train, validation"):
        embed(adiff(tagger_run), "nope", tagger_run, out, Embed())
    with pytest.raises(ConfigError, match="40 shards are asked for, but there are 18 clips"):
        written(tagger_run, tmp_path / "c", shards=40)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"crops": 0}, "--crops is 0"),
        ({"shards": 0}, "--shards is 0"),
        ({"seed": -1}, "--seed is -1"),
        ({"shards": 2, "shard": "0/2"}, "give one of them"),
        ({"shard": "2/2"}, "'2/2' must be i/N"),
    ],
)
def test_settings_that_mean_nothing_are_refused(how: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        Embed(**how)


def test_the_command_writes_a_cache(
    tagger_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "config.py").write_text(
        "from adiff_jax.experiment_json import from_json\n"
        f"def get_config():\n    return from_json({to_json(adiff(tagger_run))!r})\n"
    )
    arguments = ["data", "embed", str(tmp_path / "config.py"), "--encoder", str(tagger_run)]
    cli.main([*arguments, "--out", str(tmp_path / "c"), "--split", "validation", "--size", "2"])
    out = capsys.readouterr().out
    assert "2 examples of 4 clips in 1 shard(s); 4 clips encoded, 0 compared" in out
    source: Source = EmbeddedSource(CachedEmbeddings(str(tmp_path / "c")))
    assert [rows.shape for rows in source[1].embeddings] == [(1, tiny_run.WIDTH)] * 2
