"""Pictures: what is drawn is the right part of the attention, in the right place."""

import json

import numpy as np
import pytest

from adiff_jax import plots

RATE = 16000
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def figures(monkeypatch):
    """Every figure saved by the test, as matplotlib's object."""
    saved = []
    save = plots._save
    monkeypatch.setattr(plots, "_save", lambda f, path: (saved.append(f), save(f, path)))
    return saved


def tone(seconds: float, hertz: float) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(int(seconds * RATE)) / RATE).astype(np.float32)


def axis_labelled(figure, label):
    (axis,) = [a for a in figure.axes if label in (a.get_xlabel(), a.get_ylabel(), a.get_title())]
    return axis


def test_each_panel_shows_what_its_clip_receives_without_padding(tmp_path, figures):
    # Ten frames of 0.1 s a clip; clip 1 fills 8 of them, clip 2 all.
    attention = np.arange(400, dtype=np.float64).reshape(20, 20)
    path = tmp_path / "new" / "pair.png"
    plots.plot_pair(
        path, tone(0.8, 440), tone(1.0, 2000), RATE, attention, "add a bell", frame_seconds=0.1
    )
    assert path.read_bytes().startswith(PNG)
    (figure,) = figures
    to_first = axis_labelled(figure, "to clip 1, s").images[0]
    to_second = axis_labelled(figure, "to clip 2, s").images[0]
    np.testing.assert_array_equal(to_first.get_array(), attention[10:20, :8])
    np.testing.assert_array_equal(to_second.get_array(), attention[:8, 10:20])
    np.testing.assert_allclose(to_first.get_extent(), (0, 0.8, 0, 1.0))
    np.testing.assert_allclose(to_second.get_extent(), (0, 1.0, 0, 0.8))
    assert "add a bell" in figure.get_suptitle()


@pytest.mark.parametrize("rate", [16000, 44100])
def test_a_tone_is_brightest_at_its_frequency_and_both_clips_share_one_scale(
    tmp_path, figures, rate
):
    wave = np.sin(2 * np.pi * 2000 * np.arange(rate) / rate).astype(np.float32)
    plots.plot_pair(tmp_path / "pair.png", wave, 0.1 * wave, rate, None, "quieter", 0.1)
    (figure,) = figures
    loud, quiet = (axis_labelled(figure, f"clip {n}") for n in (1, 2))
    labels = [label.get_text() for label in loud.get_yticklabels()]
    band = loud.get_yticks()[labels.index("2k")]
    shown = np.asarray(loud.images[0].get_array())
    assert abs(shown[:, 50].argmax() - band) <= 0.75
    assert shown.max() == 0
    np.testing.assert_allclose(np.asarray(quiet.images[0].get_array()).max(), -20, atol=0.1)
    assert loud.get_xlim() == (0, 1)


def test_a_clip_of_one_sample_can_be_drawn(tmp_path):
    plots.plot_pair(
        tmp_path / "pair.png", np.ones(1, np.float32), tone(1, 440), RATE, np.eye(20), "", 0.1
    )
    assert (tmp_path / "pair.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize(("name", "suffix"), [("b.jpg", "[.]jpg"), ("b", "no suffix")])
def test_a_picture_of_another_suffix_is_refused(tmp_path, name, suffix):
    with pytest.raises(ValueError, match=f"{name} ends in {suffix}, .* name it .png"):
        plots.plot_pair(tmp_path / name, tone(1, 440), tone(1, 440), RATE, None, "x", 0.1)
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("shape", [(20, 19), (19, 19), (20,)])
def test_attention_that_is_not_of_two_clips_is_refused(tmp_path, shape):
    with pytest.raises(ValueError, match="square over the frames of both"):
        plots.plot_pair(
            tmp_path / "p.png", tone(1, 440), tone(1, 440), RATE, np.ones(shape), "x", 0.1
        )


def test_curves_join_training_and_validation_of_one_name(tmp_path, figures):
    lines = [
        {"step": 1, "kind": "train", "loss/caption": 3.0, "learning_rate": 0.1},
        {"step": 2, "kind": "train", "loss/caption": "nan", "learning_rate": 0.2},
        {"step": 2, "kind": "event", "event": "saved"},
        {"step": 2, "kind": "evaluation", "validation/loss/caption": 2.5},
        {"step": 3, "kind": "train", "loss/caption": 2.0, "learning_rate": 0.3},
    ]
    metrics = tmp_path / "metrics.jsonl"
    metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    plots.plot_curves(tmp_path / "curves.png", metrics)
    (figure,) = figures
    assert [axis.get_title() for axis in figure.axes] == ["loss/caption", "learning_rate"]
    drawn = {line.get_label(): line.get_xydata().tolist() for line in figure.axes[0].lines}
    assert drawn == {"train": [[1, 3.0], [3, 2.0]], "validation": [[2, 2.5]]}


def test_the_time_of_each_process_is_a_bar_of_what_it_was_spent_on(tmp_path, figures):
    lines: list[dict] = [{"step": 1, "kind": "train", "loss": 3.0}]
    for step, restart in ((5, 0.0), (9, 0.25)):
        report = {"seconds": 120.0, "goodput": 0.5, "compile": 0.5 - restart, "restart": restart}
        lines.append({"step": step, "kind": "goodput", **report})
    metrics = tmp_path / "metrics.jsonl"
    text = "".join(json.dumps(line) + "\n" for line in lines)
    metrics.write_text(text + '{"step": 10, "ki')  # killed while it wrote
    plots.plot_curves(tmp_path / "curves.png", metrics)
    *_, axis = figures[0].axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["to step 5", "to step 9"]
    assert [text.get_text() for text in axis.get_legend().get_texts()] == [
        "steps",
        "compile",
        "restart",
    ]
    ends = [bar.get_x() + bar.get_width() for bar in axis.patches[-2:]]
    assert ends == pytest.approx([2.0, 2.0])  # minutes


def test_a_run_without_measurements_is_refused(tmp_path):
    metrics = tmp_path / "metrics.jsonl"
    metrics.write_text('{"step": 0, "kind": "event", "event": "started"}\n')
    with pytest.raises(ValueError, match=r"metrics\.jsonl holds no line"):
        plots.plot_curves(tmp_path / "curves.png", metrics)
