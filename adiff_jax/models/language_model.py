"""A language model by itself: stage 1 of ADIFF for those who have no GPT-2 of their own kind.

It learns the texts that ADIFF is to say, one after the other, without any clip. `context` end
tokens stand before a text, as in GPT-2's training the end of another document does: as many as the
prefix that ADIFF will put there, so that words stand at the positions where they will stand then.
"""

from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
from flax import linen as nn

from adiff_jax.arrays import Batch, Constrain, Output, unconstrained
from adiff_jax.models.gpt2 import GPT2_SMALL_LM, Gpt2, Gpt2Module
from adiff_jax.nn.stack import Stack


@dataclass(frozen=True)
class LanguageModel:
    """`end_id` is the end token of the vocabulary."""

    lm: Gpt2 = GPT2_SMALL_LM
    end_id: int = 2  # of our own vocabularies; GPT-2's is 50256
    context: int = 25
    stack: Stack = Stack()
    compute: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        if not 0 <= self.end_id < self.lm.vocab_size:
            raise ValueError(
                f"end_id ({self.end_id}) is no token: lm.vocab_size is {self.lm.vocab_size}"
            )
        if self.context < 1:
            raise ValueError(f"context is {self.context}: a text needs a token to begin after")

    @property
    def vocab_size(self) -> int:
        """A cap: the tokenizer may have fewer tokens, not more."""
        return self.lm.vocab_size


class LanguageModelModule(nn.Module):
    """Tokens [b t] -> logits [b t v] of each from those before it. Its parameters below `lm`
    carry over to ADIFF's."""

    config: LanguageModel
    constrain: Constrain = unconstrained

    def setup(self) -> None:
        config = self.config
        self.lm = Gpt2Module(config.lm, jnp.dtype(config.compute), config.stack, self.constrain)

    def __call__(self, batch: Batch, train: bool = False) -> Output:
        """Teacher forcing."""
        context = self.config.context
        before = jnp.full((batch.tokens.shape[0], context), self.config.end_id, jnp.int32)
        tokens = jnp.concatenate([before, batch.tokens[:, :-1]], axis=1)
        hidden = self.lm(self.lm.embed(tokens), train)
        logits = self.lm.logits(hidden[:, context - 1 :])
        return Output(self.constrain(logits, ("batch", None, "vocab")))
