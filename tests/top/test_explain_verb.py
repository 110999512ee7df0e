"""`adiff explain` on ADIFF: questions, tables of pairs, whole recordings, warnings, prefixes."""

import csv
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from adiff_jax import api, cli, explain_table
from adiff_jax.api import Explainer
from adiff_jax.audio.io import write_audio
from adiff_jax.data.prompts import CANONICAL
from adiff_jax.evaluate.unsupported import ENOUGH, PRECISE, THRESHOLD, Measured, remember
from adiff_jax.explain_table import read_table
from tests.top.tiny_adiff import CLASSES, RATE

Waves = list[tuple[np.ndarray, np.ndarray]]


@pytest.fixture(autouse=True)
def no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adiff_jax.train.compilation.enable_compile_cache", lambda: None)


@pytest.fixture
def loaded(adiff: Explainer, monkeypatch: pytest.MonkeyPatch) -> Explainer:
    """The run of ADIFF, without reading it again."""
    monkeypatch.setattr(api, "load", lambda path: adiff)
    return adiff


@pytest.fixture
def clips(adiff_waves: Waves, tmp_path: Path) -> list[str]:
    """Files of the first pair."""
    return written(tmp_path, "clip", adiff_waves[0])


def written(folder: Path, name: str, waves: Sequence[np.ndarray]) -> list[str]:
    paths = [folder / f"{name}_{number}.wav" for number in range(len(waves))]
    for path, wave in zip(paths, waves, strict=True):
        write_audio(path, wave, RATE)
    return list(map(str, paths))


def fails(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    with pytest.raises(SystemExit) as caught:
        cli.main([str(argument) for argument in arguments])
    assert caught.value.code == 2
    return capsys.readouterr().err


def explained(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[str, str]:
    cli.main(["explain", "run", *arguments])
    said = capsys.readouterr()
    return said.out, said.err


# --- one pair ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        ([], {}),
        (["--tier", "3"], {"tier": 3}),
        (["--caption", "both"], {"caption": "both"}),
        (["--prompt", "which bell?"], {"prompt": "which bell?"}),
        (["--windows"], {"whole": True}),
    ],
)
def test_what_is_asked_is_answered_with_the_events_of_both_clips(
    loaded: Explainer,
    clips: list[str],
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    asked: dict[str, Any],
):
    out, err = explained(capsys, *clips, *options)
    said = loaded(*clips, **asked)
    assert out == f"{said.text}\t(log-probability {said.score:.2f})\n"
    for number, events in enumerate(said.events, start=1):
        name, chance = events[0]
        assert f"events in clip {number}: {name} {chance:.2f}, " in err
    assert "warning" not in err


def test_all_tiers_stand_under_their_questions(
    loaded: Explainer, clips: list[str], capsys: pytest.CaptureFixture[str]
):
    out, err = explained(capsys, *clips, "--tier", "all")
    said = [loaded(*clips, tier=tier) for tier in (1, 2, 3)]
    assert out == "".join(
        f"{CANONICAL[f'tier-{tier}']}:\n{one.text}\t(log-probability {one.score:.2f})\n"
        for tier, one in enumerate(said, start=1)
    )
    assert err.count("events in clip 1") == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tier", "1", "--caption", "both"], "not allowed with argument"),
        (["--tier", "1", "--prompt", "x"], "not allowed with argument"),
        (["--prompt", "x", "--caption", "first"], "not allowed with argument"),
        (["--tier", "4"], "invalid choice"),
        (["--prompt", " "], "--prompt is empty"),
        (["--out", "x.jsonl"], "--out is where the answers to --pairs go"),
        (["--pairs", "x.csv"], "--pairs CSV takes --out JSONL and no audio files"),
        (["--tier", "all", "--probe"], "name the tier"),
        (["--tier", "all", "--plot", "x.png"], "name the tier"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_is_loaded(
    capsys: pytest.CaptureFixture[str], options: list[str], message: str
):
    assert message in fails(capsys, "explain", "nowhere", "a.wav", "b.wav", *options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "give the audio files, or a table of them with --pairs"),
        (["--pairs", "x.csv"], "--pairs CSV takes --out JSONL"),
        (["--pairs", "x.csv", "--out", "y", "--n-best", "2"], "are for a single pair"),
        (["--pairs", "x.csv", "--out", "y", "--tier", "all"], "are for a single pair"),
    ],
)
def test_a_pair_or_a_table_must_be_given(
    capsys: pytest.CaptureFixture[str], options: list[str], message: str
):
    assert message in fails(capsys, "explain", "nowhere", *options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tier", "2"], "reads no prompt"),
        (["--tier", "all"], "reads no prompt"),
        (["--caption", "both"], "reads no prompt"),
        (["--prompt", "x"], "reads no prompt"),
        (["--windows"], "cannot be heard whole"),
        (["--probe"], "--probe: only ADIFF gives its language model a prefix"),
    ],
)
def test_a_model_without_prompts_refuses_them_and_answers_nothing(
    explainer: Explainer,
    clips: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    message: str,
):
    monkeypatch.setattr(api, "load", lambda path: explainer)
    with pytest.raises(SystemExit) as caught:
        cli.main(["explain", "run", *clips, *options])
    said = capsys.readouterr()
    assert caught.value.code == 2
    assert message in said.err
    assert said.out == ""


def test_what_is_shown_of_a_long_clip_is_the_window_that_was_heard(
    loaded: Explainer, monkeypatch: pytest.MonkeyPatch
):
    size = loaded.experiment.data.encode.samples
    wave = np.arange(3 * size, dtype=np.float32) / (3 * size)
    assert loaded.heard(wave).tolist() == wave[size : 2 * size].tolist()
    assert loaded.heard(wave[: size // 2]).tolist() == wave[: size // 2].tolist()  # not tiled
    config = replace(loaded._encode.config, compat="adiff-2025")
    monkeypatch.setattr(loaded, "_encode", replace(loaded._encode, config=config))
    for number in (1, 2):
        windows, _ = loaded._encode.heard(wave, False, (number,))
        assert loaded.heard(wave, number).tolist() == windows[0].tolist()
    assert loaded.heard(wave, 1).tolist() != loaded.heard(wave, 2).tolist()


def test_the_picture_of_a_model_of_vectors_has_no_attention(
    loaded: Explainer, clips: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    _, err = explained(capsys, *clips, "--plot", str(tmp_path / "pair.png"))
    assert (tmp_path / "pair.png").read_bytes().startswith(b"\x89PNG")
    assert f"picture: {tmp_path / 'pair.png'}" in err


def test_the_words_nearest_to_every_vector_of_the_prefix_are_printed(
    loaded: Explainer, clips: list[str], capsys: pytest.CaptureFixture[str]
):
    out, _ = explained(capsys, *clips, "--tier", "2", "--probe")
    _, _, probed = out.rpartition("(log-probability ")
    parts = ["clip 1"] * 3 + ["separator"] + ["clip 2"] * 3 + ["prompt"] * 3
    lines = probed.splitlines()[1:]
    assert len(lines) == len(parts)
    for place, (line, part) in enumerate(zip(lines, parts, strict=True)):
        assert re.fullmatch(rf" +{place} {part} +(\S.* -?\d\.\d\d(, )?){{5}}", line), line


# --- warnings ---------------------------------------------------------------------------------


def test_a_warning_is_shown_only_where_it_was_measured_to_be_right(
    loaded: Explainer,
    clips: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    said = replace(loaded(*clips), unsupported=("bell", "siren"))
    monkeypatch.setattr(Explainer, "__call__", lambda *_, **__: said)
    monkeypatch.setattr(Explainer, "warned", Measured(0.85, 40, ("fold4",)))
    _, err = explained(capsys, *clips)
    assert "warning: named, but in neither clip by its tags: bell, siren" in err
    assert "on fold4 85% of 40 such warnings were right" in err
    monkeypatch.setattr(Explainer, "warned", None)
    assert "warning" not in explained(capsys, *clips)[1]


def test_how_right_warnings_are_is_read_from_the_run(
    loaded: Explainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    file = tmp_path / "unsupported.json"
    monkeypatch.setattr(type(loaded.trained.directory), "unsupported", file)
    assert Explainer(loaded.trained).warned is None
    scores = {"precision": PRECISE, "count": ENOUGH, "threshold": THRESHOLD}
    remember(file, loaded.trained.step, "fold4", scores)
    assert Explainer(loaded.trained).warned == Measured(PRECISE, ENOUGH, ("fold4",))


def test_named_events_below_the_threshold_in_both_clips_are_unsupported(
    loaded: Explainer, adiff_waves: Waves, monkeypatch: pytest.MonkeyPatch
):
    """The head of a model that has seen nothing gives every class about a half."""
    sentence = "a bell, then some thunder and a unicorn"
    monkeypatch.setattr(type(loaded.tokenizer), "decode", lambda *_: sentence)
    assert {"bell", "thunder"} <= {*CLASSES}
    assert loaded(*adiff_waves[0]).unsupported == ()
    monkeypatch.setattr("adiff_jax.evaluate.unsupported.THRESHOLD", 1.0)
    assert loaded(*adiff_waves[0]).unsupported == ("bell", "thunder")


# --- a table of pairs -------------------------------------------------------------------------


@pytest.fixture
def table(adiff_waves: Waves, tmp_path: Path) -> Path:
    """Ten pairs, one with a clip that is not there."""
    rows = [("first", "second", "id")]
    for number in range(10):
        first, second = written(tmp_path, f"{number}", adiff_waves[number % 3])
        rows.append((Path(first).name, second, f"pair {number}"))
    rows[4] = (rows[4][0], "absent.wav", rows[4][2])
    path = tmp_path / "pairs.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def told(table: Path, out: Path, *options: str) -> int:
    """Explain a table; the exit code."""
    with pytest.raises(SystemExit) as caught:
        cli.main(["explain", "run", "--pairs", str(table), "--out", str(out), *options])
    return int(caught.value.code or 0)


def lines_of(out: Path) -> dict[str, dict[str, Any]]:
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert len({line["id"] for line in lines}) == len(lines)
    return {line["id"]: line for line in lines}


def test_every_pair_of_a_table_is_answered_as_it_is_alone(
    loaded: Explainer,
    table: Path,
    adiff_waves: Waves,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    out = tmp_path / "new" / "said.jsonl"
    assert told(table, out, "--tier", "2") == 1
    assert "9 rows answered, 1 with a clip that cannot be used" in capsys.readouterr().out
    found = lines_of(out)
    assert set(found) == {f"pair {number}" for number in range(10)}
    broken = found.pop("pair 3")
    assert "absent.wav: no such file" in broken["error"] and "text" not in broken
    for line in found.values():
        assert line["prompt"] == CANONICAL["tier-2"]
        assert "unsupported" not in line  # never measured on this run
    for number in (0, 9):
        pair = [tmp_path / f"{number}_0.wav", tmp_path / f"{number}_1.wav"]
        said, line = loaded(*pair, tier=2), found[f"pair {number}"]
        assert line["text"] == said.text
        assert line["logprob"] == pytest.approx(said.score, abs=1e-2)
        assert len(line["events"]) == 2
        assert line["events"][0] == pytest.approx(dict(said.events[0][:5]), abs=1e-3)


@pytest.mark.parametrize("decode", ["", "sample:1"])
def test_an_interrupted_table_goes_on_and_ends_with_the_same_lines(
    decode: str,
    loaded: Explainer,
    table: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    told(table, tmp_path / "whole.jsonl", "--decode", decode)
    whole = lines_of(tmp_path / "whole.jsonl")
    out, many, calls = tmp_path / "said.jsonl", Explainer.many, list[int]()

    def interrupted(self: Explainer, pairs: Any, **asked: Any) -> Any:
        calls.append(len(pairs))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return many(self, pairs, **asked)

    monkeypatch.setattr(Explainer, "many", interrupted)
    assert told(table, out, "--decode", decode) == 130
    before = out.read_text()
    assert len(before.splitlines()) == 8
    out.write_text(before[:-20])  # the last line was cut off
    capsys.readouterr()
    # what cannot be used is tried again
    assert told(table, out, "--decode", decode) == 1
    said = capsys.readouterr().out
    assert "3 rows answered, 6 were there, 1 with a clip that cannot be used" in said
    assert lines_of(out) == whole
    write_audio(tmp_path / "absent.wav", np.full(RATE, 0.1, np.float32), RATE)
    assert told(table, out, "--decode", decode) == 0
    assert "1 rows answered, 9 were there" in capsys.readouterr().out
    assert all("text" in line for line in lines_of(out).values())
    answered = len(calls)
    assert told(table, out, "--decode", decode or loaded.usual_decode) == 0
    assert len(calls) == answered


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tier", "3"], f"answers prompt {CANONICAL['tier-1']!r}, not {CANONICAL['tier-3']!r}"),
        (["--windows"], "answers windows False, not True"),
        (["--decode", "beam:2"], "answers decode 'greedy', not 'beam:2'"),
    ],
)
def test_a_file_of_answers_to_another_question_is_refused_and_kept(
    loaded: Explainer,
    table: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    message: str,
):
    out = tmp_path / "said.jsonl"
    model = explain_table._model(loaded)
    assert model.startswith(f"tiny_adiff, step {loaded.trained.step}, ")
    line = {
        **{"id": "pair 0", "first": "0_0.wav", "second": str(tmp_path / "0_1.wav"), "text": "x"},
        **{"model": model, "prompt": CANONICAL["tier-1"]},
        **{"decode": "greedy", "windows": False},
    }
    out.write_text(json.dumps(line) + "\n")
    before = out.read_bytes()
    assert told(table, out, *options) == 2
    said = capsys.readouterr().err
    assert message in said and "line 1" in said and "choose another file" in said
    out.write_text(json.dumps({**line, "first": "other.wav"}) + "\n")
    assert told(table, out) == 2
    assert "is on other.wav and" in capsys.readouterr().err
    out.write_text(json.dumps({**line, "model": "other, step 1"}) + "\n")
    assert told(table, out) == 2
    assert "answers model 'other, step 1'" in capsys.readouterr().err
    other = jax.tree.map(lambda leaf: leaf + 1, dict(loaded.trained.variables))
    same_name = replace(loaded.trained, variables=other)
    monkeypatch.setattr(loaded, "trained", same_name)
    out.write_bytes(before)
    assert told(table, out) == 2
    assert f"answers model {model!r}" in capsys.readouterr().err
    out.write_text("notes of mine\n")
    assert told(table, out) == 2
    assert "line 1 is no answer of ours" in capsys.readouterr().err
    assert out.read_text() == "notes of mine\n"
    out.write_bytes(before)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("one,two\na,b\n", "has no column 'first', only one, two"),
        ("first,second\na.wav,\n", "line 2: a pair needs two files"),
        ("first,second\na.wav, \n", "line 2: a pair needs two files"),
        ("first,second,id\na,b,x\nc,d,x\n", "line 3: the id 'x' stands for more than one pair"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused(tmp_path: Path, text: str, message: str):
    (tmp_path / "pairs.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_table(str(tmp_path / "pairs.csv"))


def test_pairs_without_ids_are_called_after_their_lines(tmp_path: Path):
    (tmp_path / "pairs.csv").write_text("second,first\nb.wav,a.wav\n\nd.wav,c.wav\n")
    found = read_table(str(tmp_path / "pairs.csv"))
    assert [(row.id, row.first, row.second) for row in found] == [
        ("2", "a.wav", "b.wav"),
        ("4", "c.wav", "d.wav"),
    ]
