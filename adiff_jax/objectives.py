"""What is minimised: a model together with its losses, as `train` sees it.

`Captioning` is caption cross-entropy with SDD's losses where the model has them, `Tagging` binary
cross-entropy on labels, `LanguageModelling` cross-entropy of texts. All implement
`adiff_jax.protocol.Objective`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp

from adiff_jax import losses
from adiff_jax.arrays import Batch, Constrain, Term, unconstrained
from adiff_jax.models.adc import Adc, AdcModel
from adiff_jax.models.adiff import Adiff, AdiffModel
from adiff_jax.models.language_model import LanguageModel, LanguageModelModule
from adiff_jax.models.sdd import ClipEmbeddings, Disentanglement
from adiff_jax.models.tagger import Tagger, TaggerModel
from adiff_jax.protocol import Variables

Rngs = Mapping[str, jax.Array]


@dataclass(frozen=True)
class Captioning:
    """Caption cross-entropy, plus λ (L_S + L_D) of SDD where the model has it."""

    model: Adc | Adiff = Adc()
    label_smoothing: float = 0.05
    constrain: Constrain = unconstrained

    @property
    def module(self) -> Any:  # AdcModel | AdiffModel; linen's `apply` has no useful type
        match self.model:
            case Adc():
                return AdcModel(self.model, self.constrain)
            case Adiff():
                return AdiffModel(self.model, self.constrain)

    @property
    def sdd(self) -> Disentanglement:
        """SDD's settings; "off" for models without it."""
        return self.model.sdd if isinstance(self.model, Adc) else Disentanglement(stage="off")

    @property
    def weights(self) -> Mapping[str, float]:
        if self.sdd.stage == "off":
            return {"caption": 1.0}
        return {"caption": 1.0, "similarity": self.sdd.weight, "discrepancy": self.sdd.weight}

    @property
    def couples_examples(self) -> bool:
        if self.sdd.stage != "off":
            return True
        match self.model:
            case Adc(freeze_encoder=frozen, encoder=encoder):
                return not (frozen or encoder.freeze_batch_norm)
            case Adiff(freeze_encoder=frozen):
                return not frozen

    @property
    def frozen(self) -> tuple[str, ...]:
        match self.model:
            case Adc(freeze_encoder=frozen):
                # on cached features there is no encoder, and nothing matches
                return ("encoder/.*",) if frozen else ()
            case Adiff(freeze_encoder=encoder, freeze_lm=lm):
                return (*(("clips/.*",) if encoder else ()), *(("lm/.*",) if lm else ()))

    @property
    def streams(self) -> tuple[str, ...]:
        return ("augment", "dropout")

    def init(self, key: jax.Array, batch: Batch) -> Variables:
        """Fresh variables for batches shaped like `batch`."""
        return self.module.init({"params": key}, batch)

    def loss(
        self, variables: Variables, batch: Batch, rngs: Rngs, train: bool
    ) -> tuple[dict[str, Term], Mapping[str, Any], dict[str, Term]]:
        """Terms `caption`, `similarity`, `discrepancy`; metrics beside them."""
        output, statistics = _apply(self.module, variables, batch, rngs, train)
        mask = batch.tokens_mask & batch.valid[:, None]
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


def disentanglement_terms(
    config: Disentanglement, embeddings: ClipEmbeddings, batch: Batch
) -> tuple[dict[str, Term], dict[str, Term]]:
    """L_S and L_D of a batch, and the measures that keep them honest.

    Rows with the same scene are no negatives of each other. "None" pairs are left out of L_D, or
    attracted; their mean cosine is reported either way.
    """
    allowed = losses.negatives(batch.scene_id, batch.valid)
    valid = batch.valid.astype(jnp.float32)
    changed = valid * batch.changed
    unchanged = valid * ~batch.changed
    match config.none_pairs:
        case "exclude":
            weight = changed
        case "attract":
            weight = changed - unchanged
    similar = (embeddings.similar_1, embeddings.similar_2)
    discrepant = (embeddings.discrepant_1, embeddings.discrepant_2)
    terms = {
        "similarity": losses.sym_info_nce(*similar, embeddings.temperature, allowed, batch.valid),
        "discrepancy": losses.pair_cosine(*discrepant, weight),
    }
    metrics = {
        "sdd_retrieval": losses.retrieval_accuracy(*similar, allowed, batch.valid),
        "sdd_none_cosine": losses.pair_cosine(*discrepant, unchanged),
    }
    return terms, metrics


def disentanglement_controls(
    objective: Captioning, variables: Variables, batch: Batch
) -> dict[str, Term]:
    """What SDD's losses are worth on pairs where they should mean nothing.

    `retrieval_repaired`: retrieval accuracy of L_S when every first clip is compared with the
    second clip of the row before; late SDD can solve it through the attention itself. The clip's
    true partner, and others of its scene, are no negatives: they would win by what is shared. Rows
    that were given such a clip are left out.
    `identical_cosine`: L_D on (x, x), +1 unless the segment vectors alone meet the loss.
    """
    rolled = replace(
        batch,
        valid=batch.valid & jnp.roll(batch.valid, 1, axis=0),
        scene_id=jnp.roll(batch.scene_id, 1, axis=0),
        audio_2=_roll(batch.audio_2),
        features_2=_roll(batch.features_2),
        length_2=jnp.roll(batch.length_2, 1, axis=0),
    )
    same = replace(
        batch, audio_2=batch.audio_1, features_2=batch.features_1, length_2=batch.length_1
    )
    shared = batch.scene_id[:, None] == rolled.scene_id[None, :]
    given_shared = jnp.diagonal(shared)
    itself = jnp.eye(shared.shape[0], dtype=bool)
    allowed = losses.negatives(rolled.scene_id, rolled.valid) & (~shared | itself)
    counted = rolled.valid & ~given_shared
    repaired = objective.module.apply(variables, rolled).aux["sdd"]
    identical = objective.module.apply(variables, same).aux["sdd"]
    return {
        "retrieval_repaired": losses.retrieval_accuracy(
            repaired.similar_1, repaired.similar_2, allowed, counted
        ),
        "identical_cosine": losses.pair_cosine(
            identical.discrepant_1, identical.discrepant_2, batch.valid.astype(jnp.float32)
        ),
    }


def _roll(x: jax.Array | None) -> jax.Array | None:
    return None if x is None else jnp.roll(x, 1, axis=0)
