"""Grids: shares of the work, going on, the table, and the cached features they train on."""

import json
import pickle
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adiff_jax import ablate, run, starting
from adiff_jax.ablate import Cell, Grid, load_grid, run_cells, share
from adiff_jax.answer import Answering, answer
from adiff_jax.arrays import Batch
from adiff_jax.cache import cached
from adiff_jax.checkpoint.run_directory import RunDirectoryError
from adiff_jax.data.features import CachedPairs, CachedSource, read_about, write_features
from adiff_jax.data.pipeline import evaluation_batches
from adiff_jax.data.schema import Arrays, Edit, Source, Truth
from adiff_jax.data.transforms import Encode, EncodeConfig
from adiff_jax.evaluate.predictions import Prediction, read_predictions, write_predictions
from adiff_jax.experiment import ConfigError, Experiment
from adiff_jax.experiment_json import to_json
from adiff_jax.grid_table import collect
from adiff_jax.known_pairs import Chosen
from adiff_jax.models.adc import AdcModel
from adiff_jax.objectives import Captioning
from tests.top import tiny_run


def cell_experiment() -> Experiment:
    """What the tiny ADC becomes when it is cheap: one step, one input channel."""
    base = tiny_run.adc("unused")
    model = replace(base.model, encoder=tiny_run.ENCODER, difference_channel=False)
    return replace(base, model=model, train=replace(base.train, steps=1), start=())


def tiny_grid(features_from: Path) -> Grid:
    cells = (Cell("first", cell_experiment()), Cell("second", cell_experiment()))
    return Grid("tiny", cells, seeds=1, split="pairs", features_from=str(features_from))


# --- shares -----------------------------------------------------------------------------------


@pytest.mark.parametrize("parts", [1, 3, 7, 20])
def test_the_shares_of_a_grid_hold_every_run_once(parts: int):
    shares = [share(10, f"{part}/{parts}") for part in range(parts)]
    assert sorted(place for places in shares for place in places) == list(range(10))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert share(10, None) == list(range(10))


@pytest.mark.parametrize("text", ["3/3", "-1/3", "1", "1/0", "a/b", "", "1/2/3", "1.0/3"])
def test_a_share_that_is_none_is_refused(text: str):
    with pytest.raises(ConfigError, match=r"must be i/N with 0 <= i < N"):
        share(10, text)


def test_the_first_runs_of_a_grid_are_one_seed_of_every_cell():
    grid = Grid("g", (Cell("a", Experiment()), Cell("b", Experiment())), seeds=2)
    assert [(cell.name, seed) for cell, seed in grid.runs()] == [
        ("a", 0),
        ("b", 0),
        ("a", 1),
        ("b", 1),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "defines no get_grid"),
        ("def get_grid():\n    return 3\n", "must return a Grid with at least one cell"),
        (
            "from adiff_jax.ablate import Grid\ndef get_grid():\n    return Grid('g', ())\n",
            "must return a Grid with at least one cell",
        ),
    ],
)
def test_a_file_without_a_grid_is_refused(tmp_path: Path, text: str, message: str):
    (tmp_path / "grid.py").write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_grid(str(tmp_path / "grid.py"))


# --- running ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def begun(
    tagger_run: Path, quickly: Any, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Grid, Path]:
    """A grid of two cells of which the first has run, on cached features."""
    workdir = tmp_path_factory.mktemp("grid")
    grid = tiny_grid(tagger_run)
    with quickly():
        run_cells(grid, workdir, "0/2")
    return grid, workdir


def test_a_share_runs_its_cells_and_the_table_says_what_has_not_run(begun: tuple[Grid, Path]):
    grid, workdir = begun
    assert (workdir / "first-0").is_dir()
    assert not (workdir / "second-0").exists()
    table = collect(grid, workdir).splitlines()
    (first,) = [line for line in table if line.startswith("| first ")]
    (second,) = [line for line in table if line.startswith("| second ")]
    assert "| 1/1 |" in first
    assert "not run" not in first
    assert second == "| second | 0/1 | not run | not run | not run | not run |"


def test_a_cell_answers_every_example_of_the_split(begun: tuple[Grid, Path], test_pairs: Source):
    found = read_predictions(begun[1] / "first-0" / "predictions" / "pairs.jsonl")
    assert [row.id for row in found] == [test_pairs.truth(i).id for i in range(len(test_pairs))]


def test_a_cell_measures_where_it_looks_and_the_table_shows_it(begun: tuple[Grid, Path]):
    grid, workdir = begun
    file = workdir / "first-0" / "predictions" / "pairs.attention.json"
    looked = json.loads(file.read_text())["attention"]["edited_span"]
    assert 0 < looked < 10
    head, _, first, second = collect(grid, workdir).splitlines()[2:6]
    assert head.endswith("| attention on the edit |")
    assert first.endswith(f"| {looked:.2f} |")
    assert second.endswith("| not run |")


def test_cells_train_on_the_cached_features_without_an_encoder(begun: tuple[Grid, Path]):
    experiment, variables, step = run.restore(run.RunDirectory.at(begun[1] / "first-0"))
    assert step == 1
    assert "encoder" not in variables["params"]
    assert experiment.data.train == CachedPairs(str(begun[1] / "features" / "train"))
    assert experiment.data.validation == CachedPairs(str(begun[1] / "features" / "validation"))
    assert experiment.split("pairs") == CachedPairs(str(begun[1] / "features" / "pairs"))


def test_a_grid_goes_on_with_what_is_not_finished(
    begun: tuple[Grid, Path], monkeypatch: pytest.MonkeyPatch
):
    grid, workdir = begun
    trained = []
    monkeypatch.setattr(run, "train", lambda experiment, to: trained.append((to.name, experiment)))
    monkeypatch.setattr(run, "load_trained", lambda directory: MagicMock())
    monkeypatch.setattr(ablate, "attention_on_edits", lambda *_: None)
    monkeypatch.setattr(ablate, "sentences", lambda *_: [Prediction("a", "b")])
    monkeypatch.setattr(ablate, "write_predictions", lambda path, found: None)
    run_cells(grid, workdir)
    ((name, experiment),) = trained
    assert name == "second-0"
    assert experiment.train.seed == 0


def test_a_cell_that_is_evaluated_by_itself_stays_in_the_table(begun: tuple[Grid, Path]):
    grid, workdir = begun
    before = collect(grid, workdir)
    answer(run.load_trained(workdir / "first-0"), "pairs", Answering())
    assert collect(grid, workdir) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: replace(e, label_smoothing=0.3), "label_smoothing: 0.05 in the directory, 0.3"),
        (
            lambda e: replace(e, evaluation=replace(e.evaluation, decode="beam:4")),
            r'evaluation\.decode: "greedy" in the directory, "beam:4" given',
        ),
    ],
)
def test_answers_of_another_experiment_than_the_grids_are_refused_and_the_field_named(
    begun: tuple[Grid, Path], change: Callable[[Experiment], Experiment], message: str
):
    grid, workdir = begun
    cells = tuple(replace(cell, experiment=change(cell.experiment)) for cell in grid.cells)
    for use in (lambda *given: run_cells(*given, "0/2"), collect):
        with pytest.raises(RunDirectoryError, match=f"first-0 holds another .*\n.*{message}"):
            use(replace(grid, cells=cells), workdir)


def test_answers_about_other_data_than_the_grids_are_refused(begun: tuple[Grid, Path]):
    grid, workdir = begun

    def other(experiment: Experiment) -> Experiment:
        return replace(experiment, data=replace(experiment.data, train=tiny_run.pairs("train", 23)))

    cells = tuple(replace(cell, experiment=other(cell.experiment)) for cell in grid.cells)
    with pytest.raises(ConfigError, match="train holds features of another source: remove it"):
        collect(replace(grid, cells=cells), workdir)


def test_what_changes_no_answer_and_how_the_directory_is_written_do_not_matter(
    begun: tuple[Grid, Path], monkeypatch: pytest.MonkeyPatch
):
    grid, workdir = begun

    def faster(experiment: Experiment) -> Experiment:
        return replace(experiment, evaluation=replace(experiment.evaluation, batch=64))

    cells = tuple(replace(cell, experiment=faster(cell.experiment)) for cell in grid.cells)
    monkeypatch.chdir(workdir.parent)
    assert collect(replace(grid, cells=cells), workdir.name) == collect(grid, workdir)


def test_a_grid_over_pairs_of_unknown_edits_is_refused_before_it_trains(
    tmp_path: Path, test_pairs: Source, monkeypatch: pytest.MonkeyPatch
):
    unknown = [replace(test_pairs.truth(0), edits=None)]
    monkeypatch.setattr(ablate, "truths_of", lambda source: unknown)
    monkeypatch.setattr(run, "train", None)
    with pytest.raises(ConfigError, match="the true edits of split 'pairs' are unknown"):
        run_cells(tiny_grid(Path()), tmp_path)


def test_a_cell_with_a_difference_channel_is_not_trained_on_single_clips(
    tmp_path: Path, tagger_run: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(run, "train", None)
    grid = tiny_grid(tagger_run)
    with_channel = replace(tiny_run.adc("unused"), start=())
    grid = replace(grid, cells=(*grid.cells, Cell("third", with_channel)))
    with pytest.raises(ConfigError, match="cell third: .* hold no difference channel"):
        run_cells(grid, tmp_path)


def test_seeds_differ_in_their_seed_only(tmp_path: Path):
    cell = Cell("a", cell_experiment())
    grid = Grid("g", (cell,), seeds=3, split="pairs")
    found = [ablate.experiment_of(grid, cell, seed, tmp_path) for seed in range(3)]
    assert [experiment.train.seed for experiment in found] == [0, 1, 2]
    again = [replace(e, train=replace(e.train, seed=0)) for e in found]
    assert again == [cell.experiment] * 3


def answers(workdir: Path, name: str, source: Source, right: int) -> None:
    """A run of `cell_experiment` and its predictions, of which the first `right` are references
    and the others cannot be read."""
    base, seed = cell_experiment(), int(name.rpartition("-")[2])
    experiment = replace(base, train=replace(base.train, seed=seed))
    run.RunDirectory.at(workdir / name).claim(to_json(experiment))
    truths = [source.truth(index) for index in range(len(source))]
    texts = [t.references[0] if i < right else "what" for i, t in enumerate(truths)]
    rows = [Prediction(t.id, text) for t, text in zip(truths, texts, strict=True)]
    write_predictions(workdir / name / "predictions" / "pairs.jsonl", rows)


def heard(source: Source, recordings: list[str]) -> list[Truth]:
    """The truths of a source as if these had been heard, one in each pair."""
    truths = [source.truth(index) for index in range(len(source))]
    return [replace(t, recordings=(name,)) for t, name in zip(truths, recordings, strict=True)]


def test_the_table_holds_the_mean_of_the_seeds_their_spread_and_the_difference(
    tmp_path: Path, test_pairs: Source, monkeypatch: pytest.MonkeyPatch
):
    apart = heard(test_pairs, [f"recording {place}" for place in range(len(test_pairs))])
    monkeypatch.setattr(ablate, "truths_of", lambda source: apart)
    cells = (Cell("first", cell_experiment()), Cell("second", cell_experiment()))
    grid = Grid("g", cells, seeds=2, split="pairs")
    for name, right in (("first-0", 3), ("first-1", 6), ("second-0", 9), ("second-1", 12)):
        answers(tmp_path, name, test_pairs, right)
    first, second, _, power = collect(grid, tmp_path).splitlines()[-4:]
    exact = [row.split("|")[5].strip() for row in (first, second)]
    assert exact[0] == "37.5 ± 17.7"
    assert exact[1].startswith("87.5 ± 17.7 (+50.0, ")
    assert power.startswith("smallest difference that 2 seeds a row find")


def test_a_table_whose_first_row_has_not_run_says_that_differences_wait_for_it(
    tmp_path: Path, test_pairs: Source
):
    cells = (Cell("first", cell_experiment()), Cell("second", cell_experiment()))
    answers(tmp_path, "second-0", test_pairs, 6)
    table = collect(Grid("g", cells, seeds=2, split="pairs"), tmp_path).splitlines()
    assert table[-1] == "no differences: the first row, first, has not run"
    assert "50.0" in table[-3] and "(" not in table[-3]


def test_a_table_names_the_rows_of_one_seed_whose_intervals_lack_the_noise_of_training(
    tmp_path: Path, test_pairs: Source, monkeypatch: pytest.MonkeyPatch
):
    apart = heard(test_pairs, [f"recording {place}" for place in range(len(test_pairs))])
    monkeypatch.setattr(ablate, "truths_of", lambda source: apart)
    names = ("first", "second", "third", "fourth")
    grid = Grid("g", tuple(Cell(name, cell_experiment()) for name in names), 2, "pairs")
    answers(tmp_path, "second-0", test_pairs, 6)
    for seed, right in ((0, 3), (1, 5)):
        answers(tmp_path, f"first-{seed}", test_pairs, right)
        answers(tmp_path, f"third-{seed}", test_pairs, right)
    assert collect(grid, tmp_path).splitlines()[-1].startswith("one seed: second; how much another")
    answers(tmp_path, "second-1", test_pairs, 7)
    assert "one seed" not in collect(grid, tmp_path)


def test_more_seeds_find_smaller_differences(
    tmp_path: Path, test_pairs: Source, monkeypatch: pytest.MonkeyPatch
):
    apart = heard(test_pairs, [f"recording {place}" for place in range(len(test_pairs))])
    monkeypatch.setattr(ablate, "truths_of", lambda source: apart)
    cells = (Cell("first", cell_experiment()), Cell("second", cell_experiment()))
    for name, right in (("first-0", 3), ("first-1", 6), ("second-0", 6), ("second-1", 9)):
        answers(tmp_path, name, test_pairs, right)

    def smallest(seeds: int) -> float:
        table = collect(Grid("g", cells, seeds=seeds, split="pairs"), tmp_path)
        return float(table.split("program.exact ")[-1])

    # two runs a row vary by 17.7 points: their mean by 17.7 / sqrt(seeds), differences by more
    assert smallest(2) > 2.8 * 17.7
    assert smallest(50) < smallest(8) < smallest(2)


def test_a_metric_that_applies_to_no_example_has_no_column(
    tmp_path: Path, test_pairs: Source, monkeypatch: pytest.MonkeyPatch
):
    nothing = [replace(test_pairs.truth(i), edits=(Edit("none"),)) for i in range(12)]
    monkeypatch.setattr(ablate, "truths_of", lambda source: nothing)
    answers(tmp_path, "first-0", test_pairs, 3)
    table = collect(Grid("g", (Cell("first", cell_experiment()),), 1, "pairs"), tmp_path)
    assert "| cell | seeds | operation.accuracy | program.exact |" in table


def test_a_table_over_too_few_recordings_says_so_instead_of_differences(
    tmp_path: Path, test_pairs: Source, monkeypatch: pytest.MonkeyPatch
):
    cells = (Cell("first", cell_experiment()), Cell("second", cell_experiment()))
    grid = Grid("g", cells, seeds=1, split="pairs")
    for name in ("first-0", "second-0"):
        answers(tmp_path, name, test_pairs, 6)
    alike = heard(test_pairs, ["one"] * len(test_pairs))
    monkeypatch.setattr(ablate, "truths_of", lambda source: alike)
    table = collect(grid, tmp_path).splitlines()
    assert table[-1].startswith("no differences: too few separate recordings")
    assert "| second | 1/1 | " in table[-3]


# --- cached features --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def features(begun: tuple[Grid, Path]) -> CachedSource:
    """The split "pairs" as the grid's cells read it."""
    return CachedSource(CachedPairs(str(begun[1] / "features" / "pairs")))


def batch_of(source: Source) -> Batch:
    """The first eight pairs."""
    tokenless = Encode(tiny_run.ENCODE)
    return Batch(**next(evaluation_batches(source, tokenless, 8)))


def test_cached_features_give_the_logits_of_the_audio_under_the_same_frozen_encoder(
    features: CachedSource, test_pairs: Source, tagger_run: Path
):
    """Features are kept as float16, whose numbers are within 2**-11 of themselves; values here
    are of the order of 1, and layers after them add up 16 of them."""
    config = replace(cell_experiment().model, freeze_encoder=True)
    module = AdcModel(config)
    audio, frames = (
        batch.replace(tokens=jnp.full((8, 4), 5), tokens_mask=jnp.ones((8, 4), bool))
        for batch in (batch_of(test_pairs), batch_of(features))
    )
    shapes = jax.eval_shape(Captioning(config).init, jax.random.key(0), audio)
    rng = np.random.default_rng(3)
    variables = jax.tree.map(lambda x: jnp.asarray(rng.normal(0, 0.3, x.shape), x.dtype), shapes)
    variables = starting.pretrained((starting.StartFrom(str(tagger_run)),))(variables)
    logits = [np.asarray(jax.jit(module.apply)(variables, b).logits) for b in (audio, frames)]
    assert logits[0].std() > 0.1
    np.testing.assert_allclose(logits[1], logits[0], atol=16 * 2**-11 * np.abs(logits[0]).max())


def test_the_cache_holds_of_an_example_all_but_its_audio(
    features: CachedSource, test_pairs: Source
):
    assert len(features) == len(test_pairs)
    for index in range(len(test_pairs)):
        assert features.truth(index) == test_pairs.truth(index)
        example = features[index]
        assert example.waves == ()
        assert [frames.shape for frames in example.features] == [(6, tiny_run.WIDTH)] * 2
    assert list(features.texts()) == list(test_pairs.texts())


def test_pairs_of_one_scene_stay_of_one_scene_in_the_cache(
    features: CachedSource, test_pairs: Source
):
    scenes = [[source[i].scene for i in range(len(source))] for source in (features, test_pairs)]
    same = [np.array([[a == b for a in row] for b in row]) for row in scenes]
    np.testing.assert_array_equal(same[0], same[1])


def test_a_cached_source_travels_to_a_worker(features: CachedSource):
    copy = pickle.loads(pickle.dumps(features))
    np.testing.assert_array_equal(copy[3].features[1], features[3].features[1])
    assert len(pickle.dumps(features)) < 20_000  # the features are not in it


def test_features_that_are_there_are_not_encoded_again(
    begun: tuple[Grid, Path], tagger_run: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("adiff_jax.cache.encode_clips", None)
    path = str(begun[1] / "features" / "pairs")
    data = cell_experiment().data
    assert cached(data.test[0].source, str(tagger_run), path, data) == CachedPairs(path)


@pytest.fixture
def other_tagger(tagger_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The encoder's weights differ in one number."""
    load = run.load_trained

    def changed(path: Any) -> Any:
        trained = load(path)
        bias = trained.variables["params"]["encoder"]["network"]["dense_1"]["bias"]
        trained.variables["params"]["encoder"]["network"]["dense_1"]["bias"] = bias.at[0].add(1e-6)
        return trained

    monkeypatch.setattr("adiff_jax.cache.load_trained", changed)


def test_features_of_another_encoder_are_refused(
    begun: tuple[Grid, Path], tagger_run: Path, other_tagger: None
):
    data = cell_experiment().data
    with pytest.raises(ConfigError, match="pairs holds features of another encoder: remove it"):
        path = str(begun[1] / "features" / "pairs")
        cached(data.test[0].source, str(tagger_run), path, data)


def test_features_of_an_encoder_with_other_statistics_are_refused(
    begun: tuple[Grid, Path], tagger_run: Path, monkeypatch: pytest.MonkeyPatch
):
    load = run.load_trained

    def shifted(path: Any) -> Any:
        trained = load(path)
        experiment = trained.parts.experiment
        model = replace(experiment.model, encoder=replace(experiment.model.encoder, mean=-4.0))
        parts = replace(trained.parts, experiment=replace(experiment, model=model))
        return replace(trained, parts=parts)

    monkeypatch.setattr("adiff_jax.cache.load_trained", shifted)
    data = cell_experiment().data
    with pytest.raises(ConfigError, match="pairs holds features of another encoder: remove it"):
        path = str(begun[1] / "features" / "pairs")
        cached(data.test[0].source, str(tagger_run), path, data)


def test_features_of_another_source_or_window_are_refused(
    begun: tuple[Grid, Path], tagger_run: Path
):
    path, data = str(begun[1] / "features" / "pairs"), cell_experiment().data
    with pytest.raises(ConfigError, match="holds features of another source: remove it"):
        cached(tiny_run.pairs("test", 13), str(tagger_run), path, data)
    longer = replace(data, encode=EncodeConfig(seconds=0.5, max_tokens=16))
    with pytest.raises(ConfigError, match="holds features of another seconds: remove it"):
        cached(data.test[0].source, str(tagger_run), path, longer)
    tiled = replace(data, encode=replace(data.encode, short="tile"))
    with pytest.raises(ConfigError, match="holds features of another short: remove it"):
        cached(data.test[0].source, str(tagger_run), path, tiled)


def test_an_encoder_of_pairs_makes_no_features_of_single_clips(adc_run: Path, tmp_path: Path):
    data = cell_experiment().data
    with pytest.raises(ConfigError, match="adc reads pairs, not single clips"):
        cached(data.test[0].source, str(adc_run), str(tmp_path), data)


def test_an_encoder_of_another_rate_is_refused(tagger_run: Path, tmp_path: Path):
    data = replace(cell_experiment().data, encode=EncodeConfig(seconds=1.0, rate=32_000))
    with pytest.raises(ConfigError, match="hears 16000 Hz, but data.encode.rate is 32000 Hz"):
        cached(data.test[0].source, str(tagger_run), str(tmp_path), data)


# --- writing ----------------------------------------------------------------------------------


def encoded(source: Source, count: int, valid_frames: int = 6) -> Iterator[tuple[Arrays, Any, Any]]:
    """Batches as an encoder gives them, of `count` of the pairs."""
    for start in range(0, count, 4):
        rows = np.arange(start, start + 4)
        arrays = {
            "valid": rows < count,
            "example_id": np.where(rows < count, rows, 0).astype(np.int32),
            "scene_id": rows.astype(np.int32),
        }
        frames = np.broadcast_to(rows[:, None, None, None], (4, 2, 6, 3)).astype(np.float32)
        yield arrays, frames, np.full((4, 2), valid_frames)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "features"


def test_each_example_finds_its_own_features_and_padding_rows_are_dropped(
    test_pairs: Source, path: Path
):
    first = Chosen(test_pairs, tuple(range(10)))
    write_features(str(path), first, encoded(first, 10), {"source": 1})
    found = CachedSource(CachedPairs(str(path)))
    assert len(found) == 10
    for index in range(10):
        np.testing.assert_array_equal(found[index].features[1], np.full((6, 3), index))
    assert json.loads((path / "about.json").read_text())["source"] == 1


def test_of_a_cache_that_was_broken_off_nothing_is_kept(test_pairs: Source, path: Path):
    def broken() -> Iterator[tuple[Arrays, Any, Any]]:
        yield next(encoded(test_pairs, 12))
        (private,) = path.parent.iterdir()
        assert (private / "frames.npy").exists()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_features(str(path), test_pairs, broken(), {})
    with pytest.raises(ValueError, match="8 of 12 examples were encoded; nothing is kept"):
        write_features(str(path), test_pairs, encoded(test_pairs, 8), {})
    assert list(path.parent.iterdir()) == []
    with pytest.raises(ValueError, match="holds no finished feature cache"):
        CachedSource(CachedPairs(str(path)))


def test_what_a_killed_writer_left_is_not_taken_for_a_cache(test_pairs: Source, path: Path):
    left = path.with_name("features.partial-0123")
    left.mkdir()
    (left / "frames.npy").write_bytes(b"half")
    assert read_about(str(path)) is None
    write_features(str(path), test_pairs, encoded(test_pairs, 12), {})
    assert len(CachedSource(CachedPairs(str(path)))) == 12


def test_a_folder_that_is_no_cache_is_left_alone(test_pairs: Source, path: Path):
    path.mkdir()
    (path / "letter.txt").write_text("dear reader")
    with pytest.raises(ValueError, match="features is there but holds no finished .*: remove it"):
        write_features(str(path), test_pairs, encoded(test_pairs, 12), {})
    assert [file.name for file in path.iterdir()] == ["letter.txt"]


def test_of_two_writers_at_once_the_first_to_end_gives_the_whole_cache(
    test_pairs: Source, path: Path
):
    def overtaken() -> Iterator[tuple[Arrays, Any, Any]]:
        for place, (arrays, frames, lengths) in enumerate(encoded(test_pairs, 12)):
            yield arrays, frames + 100, lengths
            if place == 1:
                write_features(str(path), test_pairs, encoded(test_pairs, 12), {"by": "other"})

    write_features(str(path), test_pairs, overtaken(), {"by": "this one"})
    found = CachedSource(CachedPairs(str(path)))
    assert found.about["by"] == "other"
    for index in range(12):
        np.testing.assert_array_equal(found[index].features[0], np.full((6, 3), index))
    assert list(path.parent.iterdir()) == [path]


def test_a_cache_that_another_writer_made_of_something_else_meanwhile_is_refused(
    test_pairs: Source, tagger_run: Path, path: Path, monkeypatch: pytest.MonkeyPatch
):
    def overtaken(*_: Any) -> Iterator[tuple[Arrays, Any, Any]]:
        other = {"source": {}, "encoder": "other"}
        other |= {"seconds": 1.0, "short": "pad", "compat": ""}
        write_features(str(path), test_pairs, encoded(test_pairs, 12), other)
        yield from encoded(test_pairs, 12)

    monkeypatch.setattr("adiff_jax.cache.encode_clips", overtaken)
    data = cell_experiment().data
    with pytest.raises(ConfigError, match="holds features of another source and encoder"):
        cached(data.test[0].source, str(tagger_run), str(path), data)


def test_only_the_first_process_encodes_and_the_others_wait(
    test_pairs: Source, tagger_run: Path, path: Path, monkeypatch: pytest.MonkeyPatch
):
    data = cell_experiment().data
    source = data.test[0].source
    monkeypatch.setattr("adiff_jax.cache.encode_clips", lambda *_: encoded(test_pairs, 12))
    cached(source, str(tagger_run), str(path), data)
    first = path.rename(path.with_name("by the first process"))
    monkeypatch.setattr("adiff_jax.cache.encode_clips", None)
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    barrier = "adiff_jax.cache.multihost_utils.sync_global_devices"
    monkeypatch.setattr(barrier, lambda name: first.rename(path))
    assert cached(source, str(tagger_run), str(path), data) == CachedPairs(str(path))


@pytest.mark.parametrize("value", [7e4, -7e4, np.nan])
def test_features_beyond_float16_are_refused_and_the_pair_named(
    value: float, test_pairs: Source, path: Path
):
    def large() -> Iterator[tuple[Arrays, Any, Any]]:
        for arrays, frames, lengths in encoded(test_pairs, 12):
            frames = frames.copy()
            frames[arrays["example_id"] == 5, 1, 2, 0] = value
            yield arrays, frames, lengths

    with pytest.raises(ValueError, match="test/000005: features reach (7e[+]04|nan), but float16"):
        write_features(str(path), test_pairs, large(), {})
    assert not path.exists()


def test_a_clip_that_does_not_fill_its_window_is_refused_and_named(test_pairs: Source, path: Path):
    with pytest.raises(ValueError, match="test/000000: a clip is shorter"):
        write_features(str(path), test_pairs, encoded(test_pairs, 12, valid_frames=5), {})
