"""What is minimised: a model together with its losses, as `train` sees it.

`Captioning` is caption cross-entropy with the losses of SDD and CL4AC where the model has them,
`Tagging` binary cross-entropy on labels, `LanguageModelling` cross-entropy of texts. All implement
`adiff_jax.protocol.Objective`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp

from adiff_jax import losses
from adiff_jax.arrays import Batch, Constrain, Term, unconstrained
from adiff_jax.disentanglement import disentanglement_terms
from adiff_jax.matching import InBatch
from adiff_jax.matching_terms import caption_only, matching_terms, other_clips, with_negatives
from adiff_jax.models.adc import Adc, AdcModel
from adiff_jax.models.adiff import Adiff, AdiffModel
from adiff_jax.models.cl4ac import Cl4ac, Cl4acModel
from adiff_jax.models.language_model import LanguageModel, LanguageModelModule
from adiff_jax.models.sdd import Disentanglement
from adiff_jax.models.tagger import Tagger, TaggerModel
from adiff_jax.protocol import Variables

Rngs = Mapping[str, jax.Array]


@dataclass(frozen=True)
class Captioning:
    """Caption cross-entropy, plus λ (L_S + L_D) of SDD and the matching loss of CL4AC where the
    model has them."""

    model: Adc | Adiff | Cl4ac = Adc()
    label_smoothing: float = 0.05
    constrain: Constrain = unconstrained

    @property
    def module(self) -> Any:  # of three kinds; linen's `apply` has no useful type
        match self.model:
            case Adc():
                return AdcModel(self.model, self.constrain)
            case Adiff():
                return AdiffModel(self.model, self.constrain)
            case Cl4ac():
                return Cl4acModel(self.model, self.constrain)

    @property
    def sdd(self) -> Disentanglement:
        """SDD's settings; "off" for models without it."""
        return self.model.sdd if isinstance(self.model, Adc) else Disentanglement(stage="off")

    @property
    def weights(self) -> Mapping[str, float]:
        weights = {"caption": 1.0}
        if self.sdd.stage != "off":
            weights |= {"similarity": self.sdd.weight, "discrepancy": self.sdd.weight}
        if self.model.matching is not None:
            weights["matching"] = self.model.matching.weight
        return weights

    @property
    def couples_examples(self) -> bool:
        if self.sdd.stage != "off" or self._in_batch:
            return True
        match self.model:
            case Adc() | Cl4ac():
                frozen, encoder = self.model.freeze_encoder, self.model.encoder
                return not (frozen or encoder.freeze_batch_norm)
            case Adiff(freeze_encoder=frozen):
                return not frozen

    @property
    def frozen(self) -> tuple[str, ...]:
        match self.model:
            case Adc(freeze_encoder=frozen) | Cl4ac(freeze_encoder=frozen):
                # on cached features there is no encoder, and nothing matches
                return ("encoder/.*",) if frozen else ()
            case Adiff(freeze_encoder=encoder, freeze_lm=lm):
                return (*(("clips/.*",) if encoder else ()), *(("lm/.*",) if lm else ()))

    @property
    def _in_batch(self) -> bool:
        matching = self.model.matching
        return matching is not None and isinstance(matching.negative, InBatch)

    @property
    def streams(self) -> tuple[str, ...]:
        return ("augment", "dropout", *(("negatives",) if self._in_batch else ()))

    def init(self, key: jax.Array, batch: Batch) -> Variables:
        """Fresh variables for batches shaped like `batch`."""
        return self.module.init({"params": key}, batch)

    def prepared(self, batch: Batch, rngs: Rngs) -> Batch:
        """The batch as the model reads it: with negatives of its own, padding as in `compat`."""
        if isinstance(self.model, Cl4ac) and self.model.compat:
            end = self.model.decoder.end_id
            padded = {"tokens": jnp.where(batch.tokens_mask, batch.tokens, end)}
            if batch.negative is not None:
                padded["negative"] = jnp.where(batch.negative_mask, batch.negative, end)
            batch = replace(batch, **padded)
        if self._in_batch:
            assert self.model.matching is not None
            key = rngs["negatives"] if "negatives" in rngs else jax.random.key(0)
            batch = with_negatives(self.model.matching, batch, key)
        return batch

    def loss(
        self, variables: Variables, batch: Batch, rngs: Rngs, train: bool
    ) -> tuple[dict[str, Term], Mapping[str, Any], dict[str, Term]]:
        """Terms `caption`, `similarity`, `discrepancy`, `matching`; metrics beside them."""
        batch = self.prepared(batch, rngs)
        for_module = {name: key for name, key in rngs.items() if name != "negatives"}
        output, statistics = _apply(self.module, variables, batch, for_module, train)
        mask = batch.tokens_mask & batch.valid[:, None]
        if isinstance(self.model, Cl4ac) and self.model.compat:
            mask = jnp.broadcast_to(batch.valid[:, None], mask.shape)
        terms = {
            "caption": losses.token_cross_entropy(
                output.logits, batch.tokens, mask, self.label_smoothing if train else 0.0
            )
        }
        metrics = {"token_accuracy": losses.token_accuracy(output.logits, batch.tokens, mask)}
        if "sdd" in output.aux:
            sdd_terms, sdd_metrics = disentanglement_terms(self.sdd, output.aux["sdd"], batch)
            terms |= sdd_terms
            metrics |= sdd_metrics
        if self.model.matching is not None:
            found = matching_terms(self.model.matching, output.aux["matching"], batch)
            terms |= found[0]
            metrics |= found[1]
        return terms, statistics, metrics


@dataclass(frozen=True)
class Tagging:
    """Binary cross-entropy over the labels of single clips."""

    model: Tagger = Tagger()

    @property
    def module(self) -> Any:  # TaggerModel
        return TaggerModel(self.model)

    @property
    def weights(self) -> Mapping[str, float]:
        return {"tagging": 1.0}

    @property
    def couples_examples(self) -> bool:
        return not self.model.encoder.freeze_batch_norm

    @property
    def frozen(self) -> tuple[str, ...]:
        return ()

    @property
    def streams(self) -> tuple[str, ...]:
        return ("augment", "dropout")

    def init(self, key: jax.Array, batch: Batch) -> Variables:
        """Fresh variables for batches shaped like `batch`."""
        return self.module.init({"params": key}, batch)

    def loss(
        self, variables: Variables, batch: Batch, rngs: Rngs, train: bool
    ) -> tuple[dict[str, Term], Mapping[str, Any], dict[str, Term]]:
        """The one term `tagging`."""
        logits, statistics = _apply(self.module, variables, batch, rngs, train)
        return {"tagging": losses.tagging(logits, batch.labels, batch.valid)}, statistics, {}


@dataclass(frozen=True)
class LanguageModelling:
    """Cross-entropy of every token of a text from those before it."""

    model: LanguageModel = LanguageModel()
    constrain: Constrain = unconstrained

    @property
    def module(self) -> Any:  # LanguageModelModule
        return LanguageModelModule(self.model, self.constrain)

    @property
    def weights(self) -> Mapping[str, float]:
        return {"language": 1.0}

    @property
    def couples_examples(self) -> bool:
        return False

    @property
    def frozen(self) -> tuple[str, ...]:
        return ()

    @property
    def streams(self) -> tuple[str, ...]:
        return ("dropout",)

    def init(self, key: jax.Array, batch: Batch) -> Variables:
        """Fresh variables for batches shaped like `batch`."""
        return self.module.init({"params": key}, batch)

    def loss(
        self, variables: Variables, batch: Batch, rngs: Rngs, train: bool
    ) -> tuple[dict[str, Term], Mapping[str, Any], dict[str, Term]]:
        """The one term `language`."""
        output, statistics = _apply(self.module, variables, batch, rngs, train)
        mask = batch.tokens_mask & batch.valid[:, None]
        term = losses.token_cross_entropy(output.logits, batch.tokens, mask)
        accuracy = losses.token_accuracy(output.logits, batch.tokens, mask)
        return {"language": term}, statistics, {"token_accuracy": accuracy}


def _apply(
    module: Any, variables: Variables, batch: Batch, rngs: Rngs, train: bool
) -> tuple[Any, Mapping[str, Any]]:
    """Apply a module; new batch statistics in training, those given otherwise."""
    statistics = variables.get("batch_stats", {})
    if not train:
        return module.apply(variables, batch, train=False), statistics
    output, updated = module.apply(
        variables, batch, train=True, rngs=dict(rngs), mutable=["batch_stats"]
    )
    return output, updated.get("batch_stats", statistics)


def matching_controls(objective: Captioning, variables: Variables, batch: Batch) -> dict[str, Term]:
    """What the matching loss can be had of sentences alone: `matching_caption_only`, how often they
    are told apart under the clips of other rows."""
    config = objective.model.matching
    if config is None:
        return {}
    heard, counted = other_clips(objective.prepared(batch, {}))
    matched = objective.module.apply(variables, heard).aux["matching"]
    return caption_only(config, matched, replace(heard, valid=counted))
