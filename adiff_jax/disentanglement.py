"""SDD's losses on a batch, and controls that keep them honest (Takeuchi et al., DCASE 2023)."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from adiff_jax import losses
from adiff_jax.arrays import Batch, Term
from adiff_jax.models.sdd import ClipEmbeddings, Disentanglement
from adiff_jax.protocol import Variables


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


def disentanglement_controls(module: Any, variables: Variables, batch: Batch) -> dict[str, Term]:
    """What SDD's losses are worth on pairs where they should mean nothing; `module` is a captioner
    that has them.

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
    repaired = module.apply(variables, rolled).aux["sdd"]
    identical = module.apply(variables, same).aux["sdd"]
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
