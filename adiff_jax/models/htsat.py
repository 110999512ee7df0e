"""HTSAT: a Swin transformer on a folded spectrogram, and its tagging head.

Chen et al., "HTS-AT" (2022), in the form of ADIFF (Deshmukh et al., ICLR 2025): log-mel in decibels
[b f m] is normalised per mel bin, stretched to `chunks` × `columns` frames, cut into `chunks`
pieces that are stacked into one picture, and embedded in patches; four stages of windowed
attention, each on a grid of half the side, leave tokens [b s d]. Their mean is the embedding of
the clip; the head reads events from the tokens in the order of time.
"""

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from adiff_jax.arrays import Lengths
from adiff_jax.audio.augment import SpecAugment, spec_augment
from adiff_jax.audio.frontends import HTSAT, Decibel, LogMel
from adiff_jax.nn.swin import SwinStage


@dataclass(frozen=True)
class Htsat:
    """The published size. Raises ValueError that names the field that does not fit the others."""

    frontend: LogMel = HTSAT
    width: int = 96  # of the first stage; each later one has twice the width of the one before
    depths: tuple[int, ...] = (2, 2, 6, 2)  # blocks of each stage
    heads: tuple[int, ...] = (4, 8, 16, 32)  # of each stage
    window: int = 8  # tokens on a side
    patch: int = 4  # pixels on a side
    chunks: int = 4  # pieces that the frames are cut into; the picture has chunks × mels rows
    columns: int = 256  # of the picture, frames of a chunk
    mlp_ratio: int = 4
    stochastic_depth: float = 0.1  # of the last block; the first has none, between them a line
    augment: SpecAugment = SpecAugment(time_stripes=2, time_width=64, mel_stripes=2, mel_width=8)
    freeze_batch_norm: bool = False  # keep the running statistics; for batches below 16

    def __post_init__(self) -> None:
        def refuse(field: str, reason: str) -> None:
            raise ValueError(f"Htsat.{field} is {getattr(self, field)}: {reason}")

        if not self.depths:
            refuse("depths", "give at least one stage")
        if len(self.heads) != len(self.depths):
            refuse("heads", f"depths has {len(self.depths)} stages, give as many")
        if self.window % 2:
            refuse("window", "windows move by half of it, so it must be even")
        for size, name in ((self.rows, "chunks × frontend.mels rows"), (self.columns, "columns")):
            if size % self.patch:
                refuse("patch", f"it does not divide the picture's {size} {name}")
        for stage, (rows, columns) in enumerate(self.grids):
            width = self.width << stage
            if width % self.heads[stage]:
                refuse("heads", f"stage {stage} has width {width}, which is no multiple")
            if rows % self.window or columns % self.window or not rows or not columns:
                refuse(
                    "window",
                    f"it does not divide stage {stage}'s grid of {rows} × {columns} tokens; "
                    "change columns, chunks, frontend.mels, patch or the number of depths",
                )
        if self.grids[-1][0] % self.chunks:
            refuse(
                "chunks",
                f"the last grid's {self.grids[-1][0]} rows are no multiple of it, so "
                "that a row would hold two times",
            )
        if not 0 <= self.stochastic_depth < 1:
            refuse("stochastic_depth", "it is a probability below 1")

    @property
    def rows(self) -> int:
        """Rows of the picture."""
        return self.chunks * self.frontend.mels

    @property
    def grids(self) -> tuple[tuple[int, int], ...]:
        """Rows and columns of each stage's tokens."""
        sides = (self.rows // self.patch, self.columns // self.patch)
        return tuple((sides[0] >> stage, sides[1] >> stage) for stage in range(len(self.depths)))

    @property
    def embedding_width(self) -> int:
        """Width of tokens and embedding."""
        return self.width << (len(self.depths) - 1)

    @property
    def drops(self) -> tuple[tuple[float, ...], ...]:
        """Stochastic depth of each block, by stage."""
        line = np.linspace(0.0, self.stochastic_depth, sum(self.depths)).tolist()
        ends = np.cumsum(self.depths).tolist()
        return tuple(
            tuple(line[end - depth : end]) for depth, end in zip(self.depths, ends, strict=True)
        )


HTSAT_SMALL = Htsat(
    frontend=LogMel(rate=32000, hop=640, mels=32, fmin=50.0, fmax=14000.0, log=Decibel()),
    depths=(2, 2),
    heads=(4, 8),
    patch=8,
    columns=128,
    augment=SpecAugment(time_stripes=2, time_width=32, mel_stripes=2, mel_width=4),
)
"""For CPUs: 1.2 million parameters, 20 ms frames, the same last grid of 8 × 8 tokens. Patches of
8 × 8 pixels in place of a stage of fine ones: half the time a step, and it learns in fewer."""


@functools.lru_cache(maxsize=8)
def bicubic_matrix(source: int, target: int) -> Float[np.ndarray, "target source"]:
    """Resampling along one axis as a matrix: cubic convolution with a = -0.75 (Keys, 1981), ends
    aligned, edges repeated.

    Coordinates are float32, as published; they lie up to 3e-4 from the exact ones. Raises
    ValueError where frames would be lost.
    """
    if not 0 < source <= target:
        raise ValueError(
            f"a clip of {source} frames does not fit into a picture of {target}: shorten clips "
            "(data.encode.seconds), or raise Htsat.columns"
        )
    step = np.float32(source - 1) / np.float32(max(target - 1, 1))
    place = np.arange(target, dtype=np.float32) * step
    first = np.floor(place)
    a = -0.75
    matrix = np.zeros((target, source), np.float64)
    for tap in (-1, 0, 1, 2):
        far = np.abs(place.astype(np.float64) - first - tap)
        near = ((a + 2) * far - (a + 3)) * far**2 + 1
        beyond = a * (((far - 5) * far + 8) * far - 4)
        weight = np.where(far <= 1, near, np.where(far < 2, beyond, 0.0))
        index = np.clip(first.astype(int) + tap, 0, source - 1)
        np.add.at(matrix, (np.arange(target), index), weight)
    return matrix.astype(np.float32)


class Patches(nn.Module):
    """A convolution whose stride is its kernel, as one matrix product."""

    width: int
    patch: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, picture: Float[Array, "b r w"]) -> Float[Array, "b rows columns d"]:
        size, (b, rows, columns) = self.patch, picture.shape
        shape = (size, size, 1, self.width)
        uniform = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")  # PyTorch's
        kernel = self.param("kernel", uniform, shape).astype(self.dtype)
        bias = self.param("bias", nn.initializers.zeros, (self.width,)).astype(self.dtype)
        cut = picture.astype(self.dtype).reshape(b, rows // size, size, columns // size, size)
        return jnp.einsum("bricj,ijd->brcd", cut, kernel[:, :, 0]) + bias


class PatchEmbedding(nn.Module):
    """Picture -> grid of normalised tokens."""

    width: int
    patch: int
    dtype: DTypeLike

    def setup(self) -> None:
        self.conv = Patches(self.width, self.patch, self.dtype)
        self.norm = nn.LayerNorm(1e-5, dtype=self.dtype)

    def __call__(self, picture: Float[Array, "b r w"]) -> Float[Array, "b rows columns d"]:
        return self.norm(self.conv(picture))


class HtsatEncoder(nn.Module):
    """Log-mel [b f m] -> tokens [b s d], s = rows × columns of the last grid, row by row."""

    config: Htsat
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        config = self.config
        self.norm_0 = nn.BatchNorm(momentum=0.9, epsilon=1e-5)  # momentum: PyTorch's 0.1
        self.patch = PatchEmbedding(config.width, config.patch, self.dtype)
        self.stages = [
            SwinStage(
                heads=config.heads[stage],
                window=config.window,
                hidden=config.mlp_ratio * (config.width << stage),
                drops=drops,
                merges=stage < len(config.depths) - 1,
                dtype=self.dtype,
            )
            for stage, drops in enumerate(config.drops)
        ]
        self.norm = nn.LayerNorm(1e-5, dtype=self.dtype)

    def normalised(
        self, features: Float[Array, "b f m"], lengths: Lengths, train: bool = False
    ) -> Float[Array, "b f m"]:
        """Log-mel less its mean, by its deviation, per mel bin; in training those of the valid
        frames [b] of this batch."""
        valid = jnp.arange(features.shape[1])[None] < lengths[:, None]
        held = not train or self.config.freeze_batch_norm
        return self.norm_0(features, use_running_average=held, mask=valid[:, :, None])

    def picture(self, features: Float[Array, "b f m"]) -> Float[Array, "b r w"]:
        """Normalised log-mel -> picture [b rows columns]: row = chunk · m + mel bin."""
        config = self.config
        resize = bicubic_matrix(features.shape[1], config.chunks * config.columns)
        resize = resize.reshape(config.chunks, config.columns, -1)
        pieces = jnp.einsum("cwf,bfm->bcmw", resize, features, precision=jax.lax.Precision.HIGHEST)
        return pieces.reshape(features.shape[0], config.rows, config.columns)

    def __call__(
        self,
        features: Float[Array, "b f m"],
        lengths: Lengths,
        train: bool = False,
        key: jax.Array | None = None,
    ) -> Float[Array, "b s d"]:
        """`lengths` are the valid frames of each row, 0 for a row that is padding; what follows
        them is heard as it stands, but is no part of batch statistics. `key` masks stripes of the
        normalised log-mel (SpecAugment); without one none are masked.
        """
        x = self.normalised(features, lengths, train)
        if key is not None:
            x = spec_augment(key, self.config.augment, x)
        x = self.patch(self.picture(x))
        for stage in self.stages:
            x = stage(x, train)
        return self.norm(x.reshape(x.shape[0], -1, x.shape[-1]))


class HtsatHead(nn.Module):
    """Event logits of every column of every chunk: tokens [b s d] -> [b t classes] in the order
    of time, t = chunk · columns + column. Their mean over t is the clip's logit, its sigmoid the
    published probability.
    """

    config: Htsat
    classes: int

    @nn.compact
    def __call__(self, tokens: Float[Array, "b s d"]) -> Float[Array, "b t c"]:
        config, (b, _, width) = self.config, tokens.shape
        rows, columns = config.grids[-1]
        bins = rows // config.chunks
        x = tokens.astype(jnp.float32).reshape(b, config.chunks, bins, columns, width)
        x = x.swapaxes(1, 2).reshape(b, bins, config.chunks * columns, width)
        uniform = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")  # PyTorch's
        return nn.Conv(
            self.classes, (bins, 3), padding=((0, 0), (1, 1)), kernel_init=uniform, name="conv"
        )(x)[:, 0]
