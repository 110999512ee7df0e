"""ADIFF: two clips and a prompt in, an explanation of how the clips differ out.

Deshmukh et al., ICLR 2025 (arXiv 2502.04476): a shared clip encoder (HTSAT), a shared projection,
a mapper for either clip and one for the prompt, cross-projection over all of them, and a GPT-2
that reads the result as a prefix of its own text. The paper's naive baseline is `cross=None`.

Clip embeddings may come ready made (`Batch.features_1`, `features_2` [b 1 d]), as a frozen encoder
gives the same ones in every epoch.
"""

from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct
from jaxtyping import Array, Float

from adiff_jax.arrays import Batch, Constrain, NextLogits, Output, unconstrained
from adiff_jax.matching import Matching
from adiff_jax.models.build import Encoder
from adiff_jax.models.cnn10 import Cnn10
from adiff_jax.models.gpt2 import GPT2_SMALL_LM, Gpt2, Gpt2Cache, Gpt2Module
from adiff_jax.models.htsat import HTSAT_SMALL, Htsat
from adiff_jax.models.matching import matched
from adiff_jax.models.prefix import (
    AudioMapper,
    CrossProjection,
    Mappers,
    PrefixTransformer,
    Projection,
    ProjectionHead,
    TextMapper,
    unit_length,
)
from adiff_jax.models.tagger import Tagger, TaggerModel
from adiff_jax.nn.stack import Stack


@dataclass(frozen=True)
class Adiff:
    """The assembly; the defaults are the published base model.

    `compat` states which conventions of text and audio the weights were trained with; it must be
    that of `data.encode`.
    """

    clips: Tagger = Tagger(encoder=Htsat(), classes=527)
    projection: Projection = Projection()
    mappers: Mappers = Mappers()
    cross: CrossProjection | None = CrossProjection()  # None: the naive baseline
    lm: Gpt2 = Gpt2()
    separator_id: int = 50256  # token whose embedding stands between the clips
    freeze_encoder: bool = True  # evaluation mode, and nothing below `clips` is trained
    freeze_lm: bool = True  # likewise for `lm`
    matching: Matching | None = None  # CL4AC's loss, on pairs
    zero_prefix: bool = False  # a control: the clips' vectors are zero, the prompt's are not
    compat: Literal["", "adiff-2025"] = ""
    stack: Stack = Stack()  # of mappers, cross-projection and language model
    compute: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        if not 0 <= self.separator_id < self.lm.vocab_size:
            raise ValueError(
                f"separator_id ({self.separator_id}) is no token: lm.vocab_size is "
                f"{self.lm.vocab_size}"
            )

    @property
    def encoder(self) -> Encoder | Htsat | Cnn10:
        """What hears the clips."""
        return self.clips.encoder

    @property
    def vocab_size(self) -> int:
        """A cap: the tokenizer may have fewer tokens, not more."""
        return self.lm.vocab_size

    @property
    def prefix_length(self) -> int:
        """Vectors that the language model reads before its text."""
        return 3 * self.mappers.tokens + (self.cross is not None)


@struct.dataclass
class AdiffConditioning:
    """What the language model reads first."""

    prefix: Any  # [b s d]


class AdiffModel(nn.Module):
    """A `Captioner` over pairs; see `adiff_jax.protocol`."""

    config: Adiff
    constrain: Constrain = unconstrained

    def setup(self) -> None:
        config, dtype, stack = self.config, jnp.dtype(self.config.compute), self.config.stack
        self.clips = TaggerModel(config.clips)
        self.projection = ProjectionHead(config.projection, dtype)
        self.mapper_1 = AudioMapper(config.mappers, config.lm.width, dtype, stack, self.constrain)
        self.mapper_2 = AudioMapper(config.mappers, config.lm.width, dtype, stack, self.constrain)
        self.text_mapper = TextMapper(config.mappers, dtype, stack, self.constrain)
        if config.cross is not None:
            cross = config.cross
            self.cross = PrefixTransformer(
                cross.layers, cross.heads, cross.mlp_ratio, dtype, stack, self.constrain
            )
        self.lm = Gpt2Module(config.lm, dtype, stack, self.constrain)
        if config.matching is not None:
            self.matching = nn.Dense(2, dtype=jnp.float32)

    def embeddings(self, batch: Batch, train: bool = False) -> Float[Array, "b 2 c"]:
        """Embeddings of both clips, from audio or as they were cached."""
        if batch.features_1 is not None:
            if self.is_initializing():  # so that the run can hear recordings later
                frontend = self.config.encoder.frontend
                silence = jnp.zeros((1, frontend.window + 32 * frontend.hop))  # any encoder's least
                self.clips.listen(silence, jnp.full(1, silence.shape[1]), jnp.ones(1, bool), False)
            return jnp.concatenate([batch.features_1, batch.features_2], axis=1)
        heard = self._listen(batch, train)
        return heard.embedding.reshape(-1, 2, heard.embedding.shape[-1])

    def tags(self, batch: Batch) -> Float[Array, "b 2 c"]:
        """Logits of the tagging head for both clips; needs audio."""
        logits = self._listen(batch, False).logits
        return logits.reshape(-1, 2, logits.shape[-1])

    def _listen(self, batch: Batch, train: bool) -> Any:
        # Clips are interleaved, so that merging them into the batch axis moves no row to another
        # device.
        audio = jnp.stack([batch.audio_1, batch.audio_2], axis=1)
        lengths = jnp.stack([batch.length_1, batch.length_2], axis=1)
        valid = jnp.stack([batch.valid, batch.valid], axis=1)
        return self.clips.listen(
            audio.reshape(-1, audio.shape[-1]),
            lengths.reshape(-1),
            valid.reshape(-1),
            train and not self.config.freeze_encoder,
        )

    def prefix(
        self, embeddings: Float[Array, "b 2 c"], batch: Batch, train: bool
    ) -> Float[Array, "b s d"]:
        """[clip 1 | separator | clip 2 | prompt], cross-projected, of embeddings and prompts."""
        config = self.config
        embeddings = self.constrain(embeddings, ("batch", None, None))
        projected = unit_length(self.projection(embeddings, train))
        projected = self.constrain(projected, ("batch", None, None))
        first, second = self.mapper_1(projected[:, 0]), self.mapper_2(projected[:, 1])
        if config.zero_prefix:
            first, second = jnp.zeros_like(first), jnp.zeros_like(second)
        prompt = self.text_mapper(self.lm.embed(batch.prompt), batch.prompt_mask)
        if config.cross is None:
            return jnp.concatenate([first, second, prompt], axis=1)
        separator = self.lm.embed(jnp.full((first.shape[0], 1), config.separator_id))
        parts = [first, separator.astype(first.dtype), second, prompt]
        whole = jnp.concatenate(parts, axis=1)
        return self.cross(whole, jnp.ones((1, whole.shape[1]), bool))

    def encode(self, batch: Batch, train: bool = False) -> AdiffConditioning:
        """Both clips and the prompt -> the prefix."""
        return self._condition(self.embeddings(batch, train), batch, train)

    def _condition(self, embeddings: jax.Array, batch: Batch, train: bool) -> AdiffConditioning:
        prefix = self.prefix(embeddings, batch, train)
        return AdiffConditioning(self.constrain(prefix, ("batch", None, None)))

    def pooled(self, batch: Batch) -> Float[Array, "b d"]:
        """One vector a pair, the clips' embeddings one after the other, to find similar pairs."""
        embeddings = self.embeddings(batch)
        return embeddings.reshape(embeddings.shape[0], -1)

    def __call__(self, batch: Batch, train: bool = False) -> Output:
        """Teacher forcing: the language model reads [prefix | tokens]. `aux["matching"]` holds
        `Matched` where the model has that loss."""
        embeddings = self.embeddings(batch, train)
        heard = self._condition(embeddings, batch, train)

        def read(tokens: jax.Array, swap: bool) -> jax.Array:
            given = self._condition(embeddings[:, ::-1], batch, train) if swap else heard
            words = self.lm.embed(tokens[:, :-1]).astype(given.prefix.dtype)
            inputs = jnp.concatenate([given.prefix, words], axis=1)
            hidden = self.lm(inputs, train and not self.config.freeze_lm)
            return hidden[:, given.prefix.shape[1] - 1 :]

        hidden, aux = read(batch.tokens, False), {}
        if self.config.matching is not None:
            aux["matching"] = matched(self.config.matching, self.matching, batch, hidden, read)
        logits = self.lm.logits(hidden)
        return Output(self.constrain(logits, ("batch", None, "vocab")), aux)

    def prefill(
        self, conditioning: AdiffConditioning, capacity: int
    ) -> tuple[NextLogits, Gpt2Cache]:
        """Logits of the first word and the language model's cache."""
        return self.lm.prefill(conditioning.prefix, capacity)

    def extend(self, cache: Gpt2Cache, token: jax.Array) -> tuple[NextLogits, Gpt2Cache]:
        """Append one word to every row."""
        return self.lm.extend(cache, token)


ADIFF_SMALL = Adiff(
    clips=Tagger(encoder=HTSAT_SMALL),
    projection=Projection(width=256, dropout=0.1),
    mappers=Mappers(tokens=8, audio_layers=2, text_layers=2, heads=4),
    cross=CrossProjection(layers=2, heads=4),
    lm=GPT2_SMALL_LM,
    separator_id=2,  # the end token of our own vocabularies
)
"""Small enough to train on two cores, its language model on byte pairs of the texts."""
