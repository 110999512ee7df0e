"""Pictures: a pair with the attention between its clips, and the curves of a run. PNG files.

Frames of attention [s s] cover both clips one after the other, half each; padding is cut off.
"""

import io
import json
import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
from etils import epath
from jaxtyping import Float

from adiff_jax.audio.dsp import mel_filters
from adiff_jax.audio.frontends import LogMel, NaturalLog, log_mel
from adiff_jax.storage import located

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

DYNAMIC_RANGE = 70.0  # dB shown below the loudest point of the two clips
CLIP_COLOURS = ("#1b6ca8", "#c8553d")
GOODPUT_COLOURS = "#1b6ca8 #c8553d #e0a458 #6a994e #8d6a9f #7d8597 #c9cba3".split()
"""Of steps, then of every other kind of `train.goodput`, in its order."""
DOTS_PER_INCH = 130


def plot_pair(
    path_png: epath.PathLike,
    wave_1: Float[np.ndarray, " n"],
    wave_2: Float[np.ndarray, " m"],
    rate: int,
    attention: Float[np.ndarray, "..."] | None,
    text: str,
    frame_seconds: float,
) -> None:
    """Both log-mel spectrograms under the sentence, and how each clip attends to the other.

    Waves are float32 at `rate` Hz. `attention[i, j]` is the weight of frame j for frame i over the
    frames of clip 1 followed by those of clip 2, `frame_seconds` apart; None leaves it out. Below
    each clip stand the weights that its frames receive from the other clip: their mean over time,
    then frame by frame. Raises ValueError when the attention cannot be split into two clips, or the
    file would not be called .png.
    """
    check_png(path_png)
    waves = (wave_1, wave_2)
    seconds = [len(wave) / rate for wave in waves]
    rows = 1 if attention is None else 3
    figure = _figure(width=11.0, height=3.6 if attention is None else 8.2)
    figure.suptitle(f"“{textwrap.fill(text, 95)}”" if text else "(no words)", fontsize=13)
    # Colour bars have a column of their own, so that time axes below each other stay aligned.
    grid = figure.add_gridspec(
        rows, 3, height_ratios=[3, 0.8, 3.4][:rows], width_ratios=[1, 1, 0.025]
    )
    axes = [figure.add_subplot(grid[0, column]) for column in range(2)]
    drawn = _spectrograms(axes, waves, rate)
    bar = figure.add_subplot(grid[0, 2])
    figure.colorbar(drawn, cax=bar, label="dB, the loudest is 0")
    if attention is not None:
        received = _between_clips(attention, seconds, frame_seconds)
        means = [weights.mean(axis=0) for weights in received]
        highest_mean = 1.05 * max(mean.max() for mean in means) or 1.0
        brightest = max(np.quantile(weights, 0.998) for weights in received)
        for column, (weights, mean) in enumerate(zip(received, means, strict=True)):
            other = 1 - column
            curve = figure.add_subplot(grid[1, column], sharex=axes[column])
            edges = np.arange(len(mean) + 1) * frame_seconds
            curve.stairs(mean, edges, fill=True, color=CLIP_COLOURS[column], alpha=0.8)
            curve.set_ylim(0, highest_mean)
            curve.set_ylabel("mean weight")
            curve.tick_params(labelbottom=False)
            image = figure.add_subplot(grid[2, column], sharex=axes[column])
            drawn = image.imshow(
                weights,
                origin="lower",
                aspect="auto",
                interpolation="nearest",
                cmap="Greys",
                vmin=0,
                vmax=brightest,
                extent=(0, edges[-1], 0, weights.shape[0] * frame_seconds),
            )
            image.set_ylabel(f"from clip {other + 1}, s", color=CLIP_COLOURS[other])
            image.set_xlabel(f"to clip {column + 1}, s", color=CLIP_COLOURS[column])
            image.set_ylim(0, seconds[other])
        figure.colorbar(drawn, cax=figure.add_subplot(grid[2, 2]), label="attention weight")
    for axis, length in zip(axes, seconds, strict=True):
        axis.set_xlim(0, length)
    _save(figure, path_png)


def plot_clip(
    path_png: epath.PathLike, wave: Float[np.ndarray, " n"], rate: int, text: str
) -> None:
    """The log-mel spectrogram of a clip, float32 at `rate` Hz, under the sentence about it.

    Raises ValueError when the file would not be called .png.
    """
    check_png(path_png)
    figure = _figure(width=8.0, height=3.6)
    figure.suptitle(f"“{textwrap.fill(text, 80)}”" if text else "(no words)", fontsize=13)
    grid = figure.add_gridspec(1, 2, width_ratios=[1, 0.025])
    axis = figure.add_subplot(grid[0, 0])
    drawn = _spectrograms([axis], (wave,), rate)
    figure.colorbar(drawn, cax=figure.add_subplot(grid[0, 1]), label="dB, the loudest is 0")
    axis.set_title("")  # there is no other clip to tell it from
    axis.set_xlim(0, len(wave) / rate)
    _save(figure, path_png)


def check_png(path: epath.PathLike) -> None:
    """Raise ValueError unless a picture of that name would be what its suffix says."""
    if epath.Path(path).suffix.lower() != ".png":
        suffix = epath.Path(path).suffix or "no suffix"
        raise ValueError(f"{path} ends in {suffix}, but pictures are PNG files: name it .png")


def plot_curves(path_png: epath.PathLike, metrics_jsonl: epath.PathLike) -> None:
    """Losses and scores of a run over its steps, training and validation together, and where its
    time went.

    Raises ValueError when the file holds no measurement.
    """
    text = located(metrics_jsonl).read_text()
    # A process that was killed may have left half a line at the end.
    lines = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    curves, reports = _curves(lines), [line for line in lines if line["kind"] == "goodput"]
    if not curves:
        raise ValueError(f"{metrics_jsonl} holds no line of kind train or evaluation to draw")
    panels = sorted(curves, key=lambda name: (not name.startswith("loss"), name))
    columns = min(3, len(panels))
    rows = math.ceil((len(panels) + bool(reports)) / columns)
    last = max(max(steps) for by in curves.values() for steps, _ in by.values())
    figure = _figure(width=4.2 * columns, height=2.7 * rows + 0.4)
    grid = figure.add_gridspec(rows, columns)
    for place, name in enumerate(panels):
        axis = figure.add_subplot(grid[divmod(place, columns)])
        for label, (steps, values) in sorted(curves[name].items()):
            is_training = label == "train"
            axis.plot(
                steps,
                values,
                label=label,
                color=CLIP_COLOURS[0] if is_training else CLIP_COLOURS[1],
                linewidth=1.2 if is_training else 1.8,
                marker="" if is_training else "o",
                markersize=3.5,
            )
        axis.set_title(name, fontsize=10)
        axis.grid(alpha=0.25)
        axis.set_xlim(0, last)
        if place // columns == rows - 1 or place + columns >= len(panels):
            axis.set_xlabel("step")
        if len(curves[name]) > 1:
            axis.legend(fontsize=8, frameon=False)
    if reports:
        _draw_goodput(figure.add_subplot(grid[divmod(len(panels), columns)]), reports)
    _save(figure, path_png)


def _draw_goodput(axis: "Axes", reports: Sequence[Mapping[str, Any]]) -> None:
    """A bar for each process that reported before it ended: minutes in steps, and in what keeps
    from them."""
    known = dict.fromkeys(name for report in reports for name in report)
    names = [name for name in known if name not in ("kind", "step", "seconds")]
    minutes = np.array([report["seconds"] / 60 for report in reports])
    done, places = np.zeros(len(reports)), [f"to step {report['step']}" for report in reports]
    for name, colour in zip(names, GOODPUT_COLOURS, strict=False):
        share = np.array([report.get(name, 0.0) for report in reports])
        if share.any():
            label = "steps" if name == "goodput" else name.replace("_", " ")
            axis.barh(
                np.arange(len(reports)), share * minutes, left=done, color=colour, label=label
            )
            done += share * minutes
    axis.set_title("where the time went", fontsize=10)
    axis.set_yticks(np.arange(len(reports)), places, fontsize=8)
    axis.invert_yaxis()
    axis.set_xlabel("minutes")
    axis.legend(fontsize=7, frameon=False, ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.2))


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: "Figure", path: epath.PathLike) -> None:
    image = io.BytesIO()  # matplotlib itself writes to local files only
    figure.savefig(image, format="png")
    file = located(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(image.getvalue())


def _spectrograms(axes: Sequence["Axes"], waves: Sequence[np.ndarray], rate: int) -> "AxesImage":
    """Log-mel in dB below the loudest point of both clips, on one colour scale."""
    config = LogMel(rate=rate, hop=rate // 100, mels=96, fmax=rate / 2, log=NaturalLog(1e-10))
    decibels = []
    for wave in waves:
        padded = np.pad(wave, (0, max(0, config.window - len(wave))))
        power = np.asarray(log_mel(config, jnp.asarray(padded[None], jnp.float32))[0])
        decibels.append(power[: config.frames(len(wave))] * 10 / math.log(10))
    loudest = max(values.max() for values in decibels)
    centres = _mel_centres(config)
    ticks = [t for t in (100, 500, 1000, 2000, 4000, 8000, 16000) if centres[0] <= t <= centres[-1]]
    for number, (axis, values, wave) in enumerate(zip(axes, decibels, waves, strict=True), 1):
        drawn = axis.imshow(
            values.T - loudest,
            origin="lower",
            aspect="auto",
            cmap="magma",
            vmin=-DYNAMIC_RANGE,
            vmax=0,
            extent=(0, len(wave) / rate, -0.5, config.mels - 0.5),
        )
        axis.set_title(f"clip {number}", color=CLIP_COLOURS[number - 1], fontsize=11)
        axis.set_xlabel("time, s")
        axis.set_yticks(np.interp(ticks, centres, np.arange(config.mels)))
        axis.set_yticklabels([f"{t / 1000:g}k" if t >= 1000 else str(t) for t in ticks])
        axis.set_ylabel("Hz")
    return drawn


def _mel_centres(config: LogMel) -> np.ndarray:
    """Frequency at the middle of each mel band, Hz."""
    filters = mel_filters(
        config.rate,
        config.window,
        config.mels,
        config.fmin,
        config.fmax,
        config.scale,
        config.area_norm,
    )
    bins = np.arange(len(filters)) * config.rate / config.window
    return bins @ filters / filters.sum(axis=0)


def _between_clips(
    attention: np.ndarray, seconds: Sequence[float], frame_seconds: float
) -> tuple[np.ndarray, np.ndarray]:
    """Weights from clip 2 to clip 1 and from clip 1 to clip 2, [from to], padding cut off."""
    if attention.ndim != 2 or attention.shape[0] != attention.shape[1] or len(attention) % 2:
        raise ValueError(
            f"attention has shape {attention.shape}; it must be square over the frames of both "
            "clips, an equal number for each (cut off what the model appends to them)"
        )
    half = len(attention) // 2
    first, second = (min(half, max(1, math.ceil(s / frame_seconds))) for s in seconds)
    second_to_first = attention[half : half + second, :first]
    first_to_second = attention[:first, half : half + second]
    return second_to_first, first_to_second


def _curves(
    lines: Iterable[Mapping[str, Any]],
) -> dict[str, dict[str, tuple[list[int], list[float]]]]:
    """Curves of a metrics.jsonl by name, then by who measured: "train", or a split's name."""
    curves: dict[str, dict[str, tuple[list[int], list[float]]]] = {}
    for line in lines:
        kind, step = line["kind"], line["step"]
        if kind not in ("train", "evaluation"):
            continue
        for key, value in line.items():
            if key in ("kind", "step"):
                continue
            split, _, name = key.partition("/") if kind == "evaluation" else ("train", "", key)
            if isinstance(value, int | float):
                steps, values = curves.setdefault(name, {}).setdefault(split, ([], []))
                steps.append(step)
                values.append(value)
    return curves
