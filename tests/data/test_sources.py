"""Made sources: the same on every machine, truth without audio, and the fixed ESC-10 test sets."""

import json
import pickle
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from adiff_jax.data.schema import Described, Edit, Truth
from adiff_jax.data.sources import (
    LabelledMixes,
    NaturalPairs,
    RecipeFile,
    SynthPairs,
    open_fixed_set,
    open_source,
    write_recipe_files,
)
from adiff_jax.data.synth.captions import read_edits
from adiff_jax.data.synth.fixed_sets import ESC10_SETS, FixedSet, read_fixed_set, write_fixed_set
from adiff_jax.data.synth.layouts import Recording
from adiff_jax.data.synth.library import Folder, Procedural
from adiff_jax.data.synth.made import EditedPairs, RawPairs
from adiff_jax.data.synth.mixes import Mixes
from adiff_jax.data.synth.recipe import Recipe, Weights

RATE = 8_000
MADE = Procedural(recordings_per_class=3)
RECIPES = Path(__file__).parents[2] / "configs" / "recipes"
CONFIGS = (
    SynthPairs(MADE, Recipe(two_edits=0.5, jitter=0.2), size=20, rate=RATE),
    NaturalPairs(MADE, size=20, rate=RATE),
    LabelledMixes(MADE, size=20, rate=RATE),
)
PAIRS, NATURAL, MIXES = CONFIGS


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: type(c).__name__)
def test_an_example_is_the_same_in_every_copy_and_in_any_order(config: SynthPairs) -> None:
    source = open_source(config)
    copy = pickle.loads(pickle.dumps(source))
    again = open_source(config)
    again[13]
    for index in (3, 0, 11):
        first = source[index]
        for other in (copy[index], again[index]):
            assert other.id == first.id == f"{config.split}/{index:06d}"
            assert (other.captions, other.edits, other.labels) == (
                first.captions,
                first.edits,
                first.labels,
            )
            for one, two in zip(first.waves, other.waves, strict=True):
                assert np.array_equal(one, two)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: type(c).__name__)
def test_truth_is_that_of_the_example_and_needs_no_audio(
    config: SynthPairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = open_source(config)
    expected = []
    for index in range(6):
        e = source[index]
        stated = (e.id, e.captions, e.edits, e.recordings, e.prompt, e.tier)
        expected.append(Truth(*stated, e.heard, e.backgrounds))
    fresh = open_source(config)

    def refuse(recording: Recording) -> np.ndarray:
        raise AssertionError(f"{recording.name} was decoded")

    monkeypatch.setattr(fresh.library, "_load", refuse)
    assert [fresh.truth(index) for index in range(6)] == expected


@pytest.mark.parametrize("tier", [0, 1, 2])
def test_a_pair_is_described_as_it_is_read_and_without_audio_below_tier_2(
    tier: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, fresh = (open_source(replace(PAIRS, tier=tier)) for _ in range(2))
    assert isinstance(fresh, Described)
    read = [source[index] for index in range(3)]
    if tier < 2:
        monkeypatch.setattr(fresh.library, "_load", None)  # type: ignore[attr-defined]
    for index, example in enumerate(read):
        bare = replace(example, waves=(), rate=0, clips=example.described_clips)
        assert fresh.described(index) == bare


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: type(c).__name__)
def test_waves_are_finite_float32_within_range(config: SynthPairs) -> None:
    source = open_source(config)
    for index in range(len(source)):
        for wave in source[index].waves:
            assert wave.dtype == np.float32 and wave.ndim == 1
            assert 1e-4 < np.abs(wave).max() <= 1.0


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: type(c).__name__)
def test_an_index_out_of_range_is_refused(config: SynthPairs) -> None:
    source = open_source(config)
    for index in (-1, 20):
        with pytest.raises(IndexError, match=f"example {index} of a source of 20"):
            source[index]


def test_seed_and_split_change_the_pairs() -> None:
    edits = [
        [open_source(config).truth(i).recordings for i in range(20)]
        for config in (PAIRS, replace(PAIRS, seed=1), replace(PAIRS, split="validation"))
    ]
    assert edits[0] != edits[1] != edits[2] != edits[0]


def test_captions_of_a_pair_all_say_its_edits() -> None:
    for templates in ("train", "test"):
        source = open_source(replace(PAIRS, templates=templates))
        for index in range(len(source)):
            truth = source.truth(index)
            assert len(set(truth.references)) == 5
            assert {read_edits(text) for text in truth.references} == {frozenset(truth.edits)}


def test_pairs_of_equal_content_share_a_scene_and_others_do_not() -> None:
    config = replace(PAIRS, size=120, recipe=Recipe(event_counts=(0.5, 0.5)))
    source = open_source(config)
    assert isinstance(source, EditedPairs)
    contents: dict[str, set[str]] = {}
    for index in range(len(source)):
        scenes = source.scenes(index)
        heard = [
            [s.background[0].label, sorted(e.label for e in s.events)]
            for s in (scenes.first, scenes.second)
        ]
        contents.setdefault(json.dumps(heard), set()).add(source[index].scene)
    assert all(len(scenes) == 1 for scenes in contents.values())
    assert len(set.union(*contents.values())) == len(contents) < 120


def test_recordings_are_the_originals_heard_in_either_clip() -> None:
    source = open_source(PAIRS)
    assert isinstance(source, EditedPairs)
    scenes = source.scenes(4)
    names = {
        part.recording
        for scene in (scenes.first, scenes.second)
        for part in (*scene.background, *scene.events)
    }
    assert source.truth(4).recordings == tuple(sorted(names))


def test_texts_hold_every_word_of_the_training_captions() -> None:
    source = open_source(PAIRS)
    known = {word for text in source.texts() for word in text.split()}
    said = {w for i in range(20) for text in source.truth(i).references for w in text.split()}
    assert said <= known


def test_natural_pairs_are_two_whole_recordings_in_turn_of_one_class_and_of_two() -> None:
    source = open_source(NATURAL)
    assert isinstance(source, RawPairs)
    for index in range(len(source)):
        first, second = source.pair(index)
        assert first != second
        assert (first.label == second.label) == (index % 2 == 0)
        same = first.label == second.label
        expected = Edit("none") if same else Edit("replace", first.label, second.label)
        assert source.truth(index).edits == (expected,)
    example, (first, second) = source[1], source.pair(1)
    for wave, recording in zip(example.waves, (first, second), strict=True):
        np.testing.assert_array_equal(wave, source.library.wave(recording))


def test_mixes_are_labelled_with_every_class_heard() -> None:
    source = open_source(replace(MIXES, size=200))
    assert isinstance(source, Mixes)
    assert source.classes == source.library.labels
    seen: Counter[str] = Counter()
    for index in range(len(source)):
        scene = source.scene(index)
        heard = {e.label for e in scene.events} | {layer.label for layer in scene.background}
        if index < 5:
            assert set(source[index].labels) == heard
        seen.update(heard)
        assert 0 <= len(scene.events) <= 3
    assert set(seen) == set(source.classes)


def test_classes_that_a_sentence_cannot_tell_apart_are_refused(tmp_path: Path) -> None:
    for label in ("rain", "clock_tick", "clock tick 2", "door_knock", "door_wood_knock"):
        for clip in range(2):
            path = tmp_path / label / f"{clip}.wav"
            path.parent.mkdir(exist_ok=True)
            sf.write(path, 0.1 * np.random.default_rng(clip).standard_normal(RATE), RATE)
    folder = Folder(str(tmp_path), backgrounds=("rain",))
    with pytest.raises(ValueError, match="'door_knock' and 'door_wood_knock' are both called"):
        open_source(SynthPairs(folder, rate=RATE))


def test_balanced_operations_come_in_turn() -> None:
    source = open_source(replace(PAIRS, size=24, recipe=Recipe(balance=True)))
    operations = [source.truth(i).edits[0].operation for i in range(24)]
    assert operations[:8] == list(Weights().drawn())
    assert set(Counter(operations).values()) == {3}


# the fixed test sets of ESC-10


@lru_cache
def esc10(name: str, data_directory: Path) -> EditedPairs | RawPairs:
    folder = str(data_directory / "esc10")
    return open_source(RecipeFile(str(RECIPES / f"esc10_{name}.json"), folder))


NAMES = tuple(fixed.name for fixed in ESC10_SETS)


@pytest.mark.parametrize("fixed", ESC10_SETS, ids=NAMES)
def test_committed_recipe_files_say_what_the_code_says(fixed: FixedSet) -> None:
    committed = read_fixed_set(str(RECIPES / f"esc10_{fixed.name}.json"))
    assert replace(committed, sha256="") == fixed
    assert len(committed.sha256) == 64


@pytest.mark.parametrize("name", NAMES)
def test_recipe_files_draw_the_scenes_they_were_written_with(
    name: str, data_directory: Path
) -> None:
    source = esc10(name, data_directory)  # checks the hash
    assert len(source) == 1200
    assert source.truth(12).id == f"{name}/000012"
    assert all(r.startswith("4-") for i in range(0, 1200, 50) for r in source.truth(i).recordings)


def operations(pairs: Iterable[tuple[Edit, ...]]) -> Counter[tuple[str, ...]]:
    """How often each combination of operations occurs."""
    return Counter(tuple(edit.operation for edit in edits) for edits in pairs)


def test_single_has_the_eight_operations_equally_often(data_directory: Path) -> None:
    single = esc10("single", data_directory)
    counts = operations(single.scenes(index).edits for index in range(1200))
    assert counts == {(name,): 150 for name in Weights().drawn()}
    assert len(counts) == 8


def test_redraw_is_single_with_other_onsets_and_shift_is_single_through_channels(
    data_directory: Path,
) -> None:
    single, redraw, shift = (esc10(n, data_directory) for n in ("single", "redraw", "shift"))
    for index in range(0, 1200, 29):
        one, other, through = (s.scenes(index) for s in (single, redraw, shift))
        assert one.edits == other.edits == through.edits
        assert one.first == other.first
        before, after = one.second.events, other.second.events
        assert all(a.onset != b.onset for a, b in zip(before, after, strict=True))
        assert [replace(e, onset=0.0) for e in before] == [replace(e, onset=0.0) for e in after]
        assert through.first.channel != through.second.channel
        assert replace(through.second, channel=None) == one.second
        assert single.truth(index).references == redraw.truth(index).references


def test_double_has_two_edits_and_natural_is_half_unchanged(data_directory: Path) -> None:
    double, natural = esc10("double", data_directory), esc10("natural", data_directory)
    assert {len(double.scenes(index).edits) for index in range(1200)} == {2}
    counts = operations(natural.truth(index).edits for index in range(1200))
    assert counts == {("none",): 600, ("replace",): 600}


def test_the_official_layout_gives_the_same_test_set(data_directory: Path, tmp_path: Path) -> None:
    rows = (data_directory / "esc10" / "clips.csv").read_text().splitlines()[1:]
    official = ["filename,fold,target,category,esc10,src_file,take"]
    (tmp_path / "audio").mkdir()
    (tmp_path / "meta").mkdir()
    for row in rows:
        file, category, fold = row.split(",")[:3]
        name = Path(file).stem + "-0.ogg"
        (tmp_path / "audio" / name).symlink_to(data_directory / "esc10" / file)
        official.append(f"{name},{fold},0,{category},True,0,A")
    (tmp_path / "meta" / "esc50.csv").write_text("\n".join(official))
    path = str(RECIPES / "esc10_single.json")
    source = open_source(RecipeFile(path, str(tmp_path)))
    theirs, ours = source[9], esc10("single", data_directory)[9]
    assert theirs.captions == ours.captions
    for one, other in zip(theirs.waves, ours.waves, strict=True):
        assert np.array_equal(one, other)


def test_other_recordings_than_the_recipes_are_an_error(
    data_directory: Path, tmp_path: Path
) -> None:
    fixed = replace(ESC10_SETS[0], folds=(3,), size=10)
    folder = str(data_directory / "esc10")
    (path,) = write_recipe_files(str(tmp_path), [fixed], folder, "mine_")
    assert path == str(tmp_path / "mine_single.json")
    assert len(open_source(RecipeFile(path, folder))) == 10
    written = read_fixed_set(path)
    write_fixed_set(path, replace(written, folds=(2,)))
    with pytest.raises(ValueError, match="mine_single.json was drawn from other recordings"):
        open_source(RecipeFile(path, folder))
    assert len(open_fixed_set(replace(written, folds=(2,)), folder, RATE)) == 10


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (None, "no such recipe file"),
        ("not json", "is no recipe file"),
        ("{}", "is no recipe file"),
        ('{"name": "x", "folds": [4], "backgrounds": [], "sise": 3}', "sise"),
        ('{"name": "x", "folds": [4], "backgrounds": [], "recipe": {"snr": 3}}', "snr"),
    ],
)
def test_unreadable_recipe_files_are_refused(
    tmp_path: Path, text: str | None, complaint: str
) -> None:
    path = tmp_path / "r.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=complaint) as error:
        read_fixed_set(str(path))
    assert str(path) in str(error.value)
