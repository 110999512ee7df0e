"""The official ADIFF checkpoint in its four forms, and GPT-2 directories of Hugging Face."""

import json
import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers

from adiff_jax.convert import adiff, gpt2
from adiff_jax.convert.engine import (
    ConversionError,
    StateDict,
    canonical_entries,
    parameter_counts,
    to_ours,
    to_torch,
    torch_shape,
)
from adiff_jax.convert.shapes import adiff_shapes, language_model_shapes
from adiff_jax.convert.torch_files import read_config, read_state
from adiff_jax.models.adiff import Adiff
from adiff_jax.models.gpt2 import GPT2_LARGE, GPT2_MEDIUM, GPT2_XL, Gpt2, Gpt2Module
from tests.convert.states import (
    State,
    adiff_dtypes,
    adiff_state,
    assert_same,
    small_adiff_dtypes,
)


def names_and_shapes(table: Any, shapes: Any) -> dict[str, tuple[int, ...]]:
    """The entries that a model's leaves come from."""
    found = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(dict(shapes)):
        name, layout = table.rule_of("/".join(part.key for part in path))
        found[name] = torch_shape(layout, leaf.shape)
    return found


# ADIFF.


def test_the_published_size_has_every_entry_of_the_manifest_in_its_shape() -> None:
    published, shapes = adiff_dtypes(), adiff_shapes(Adiff())
    wanted = names_and_shapes(adiff.TABLE, shapes)
    assert all(published[name][1] == shape for name, shape in wanted.items())
    rest = published.keys() - wanted.keys()
    tied = {entry.source for entry in adiff.TABLE.tied}
    assert rest == tied | {name for name in rest if adiff.TABLE.carrier_of(name)}
    frontend, unused = 1_050_624 + 32_832, 527 * 527 + 527
    assert parameter_counts(shapes, 1)[""] == 296_265_943 - frontend - unused


def test_parameters_of_the_blocks_are_the_published_ones() -> None:
    counts = parameter_counts(adiff_shapes(Adiff()), 1)
    assert counts["projection"] == 1_837_056
    assert counts["mapper_1"] == counts["mapper_2"] == 50_417_664
    assert counts["text_mapper"] == 18_929_664
    assert counts["cross"] == 18_898_944
    assert counts["lm"] == 124_439_808


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("form", [576, 552])
def test_each_form_comes_back_bit_by_bit(form: int, prefix: str) -> None:
    dtypes = small_adiff_dtypes(form)
    assert len(dtypes) == form
    state = {prefix + name: value for name, value in adiff_state(dtypes).items()}
    config = adiff.config_of(canonical_entries(adiff.TABLE, state))
    assert config == small()
    converted = to_ours(adiff.TABLE, StateDict(state), adiff_shapes(config))
    back = to_torch(adiff.TABLE, converted.variables, converted.sidecar)
    assert_same(dict(back.entries), state)
    # frontend, counter, positions, shift masks, unused head; masks of GPT-2
    carried = 3 + 1 + 12 + 5 + 2 + (24 if form == 576 else 0)
    assert len(converted.sidecar.carried) == carried


def small() -> Adiff:
    """What `small_adiff_dtypes` holds."""
    return Adiff(lm=Gpt2(heads=1, width=64, positions=130, vocab_size=101), separator_id=100)


def test_keys_come_before_values_and_clip_1_before_clip_2() -> None:
    state = adiff_state(small_adiff_dtypes(552))
    variables = to_ours(adiff.TABLE, StateDict(state), adiff_shapes(small())).variables
    layer = "caption_decoder.audio_project2.transformer.layers.3.attn"
    keys, values = np.split(state[f"{layer}.to_keys_values.weight"], 2)
    ours = variables["params"]["mapper_2"]["transformer"]["layers_3"]
    np.testing.assert_array_equal(ours["key_value"]["kernel"][:, 0].reshape(64, 64), keys.T)
    np.testing.assert_array_equal(ours["key_value"]["kernel"][:, 1].reshape(64, 64), values.T)
    for which in (1, 2):
        np.testing.assert_array_equal(
            variables["params"][f"mapper_{which}"]["constants"],
            state[f"caption_decoder.audio_project{which}.prefix_const"],
        )


def test_a_head_that_is_not_tied_and_a_mask_that_is_not_causal_are_named() -> None:
    state = adiff_state(small_adiff_dtypes(576))
    head = "caption_decoder.gpt.lm_head.weight"
    mask = "caption_decoder.gpt.transformer.h.3.attn.bias"
    state[head] = state[head] + 1
    state[mask] = np.ones_like(state[mask])
    with pytest.raises(ConversionError) as caught:
        to_ours(adiff.TABLE, StateDict(state), adiff_shapes(small()))
    assert f"not tied: {head!r}" in str(caught.value)
    assert f"{mask!r} is no causal mask" in str(caught.value)


def test_a_file_of_something_else_is_no_adiff() -> None:
    with pytest.raises(ConversionError, match=r"no ADIFF checkpoint.*its entries are wte\.weight"):
        adiff.config_of({"wte.weight": np.zeros((3, 2), np.float32)})


# GPT-2.

TINY = Gpt2(layers=2, heads=4, width=32, positions=24, vocab_size=61)


@pytest.fixture(scope="module")
def theirs() -> Any:
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        n_layer=2,
        n_head=4,
        n_embd=32,
        n_positions=24,
        vocab_size=61,
        bos_token_id=0,
        eos_token_id=0,
    )
    return transformers.GPT2LMHeadModel(config).eval()


def converted_logits(state: StateDict, tokens: np.ndarray) -> np.ndarray:
    shapes = language_model_shapes(TINY)
    converted = to_ours(gpt2.TABLE, state, shapes)
    back = to_torch(gpt2.TABLE, converted.variables, converted.sidecar)
    assert_same(dict(back.entries), dict(state.entries))
    module = Gpt2Module(TINY)
    params = {"params": jax.tree.map(jnp.asarray, converted.variables["params"]["lm"])}
    hidden = module.apply(params, module.apply(params, jnp.asarray(tokens), method="embed"))
    return np.asarray(module.apply(params, hidden, method="logits"))


@pytest.mark.parametrize("shard", ["5GB", "20KB"])
def test_a_directory_of_hugging_face_gives_the_same_logits(
    theirs: Any, tmp_path: Path, shard: str
) -> None:
    theirs.save_pretrained(tmp_path, max_shard_size=shard)
    assert (tmp_path / "model.safetensors.index.json").exists() == (shard == "20KB")
    assert gpt2.config_of(read_config(tmp_path)) == TINY
    tokens = np.arange(10)[None] * 5 % 61
    with torch.no_grad():
        expected = theirs(torch.from_numpy(tokens)).logits.numpy()
    np.testing.assert_allclose(
        converted_logits(read_state(tmp_path), tokens), expected, rtol=1e-4, atol=1e-5
    )


def test_names_without_transformer_and_old_buffers_are_read(theirs: Any) -> None:
    """As the first published files have them: no head, masks as numbers."""
    state: State = {}
    for name, value in theirs.transformer.state_dict().items():
        state[name] = value.numpy()
        if name.endswith("ln_1.bias"):
            layer = name.removesuffix("ln_1.bias")
            state[f"{layer}attn.bias"] = np.tri(24, dtype=np.float32)[None, None]
            state[f"{layer}attn.masked_bias"] = np.array(-1e4, np.float32)
    tokens = np.arange(6)[None]
    with torch.no_grad():
        expected = theirs(torch.from_numpy(tokens)).logits.numpy()
    np.testing.assert_allclose(
        converted_logits(StateDict(state), tokens), expected, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(
    ("config", "parameters"),
    [
        (Gpt2(), 124_439_808),
        (GPT2_MEDIUM, 354_823_168),
        (GPT2_LARGE, 774_030_080),
        (GPT2_XL, 1_557_611_200),
    ],
)
def test_every_published_size_is_placed(config: Gpt2, parameters: int) -> None:
    wanted = names_and_shapes(gpt2.TABLE, language_model_shapes(config))
    assert len(wanted) == 4 + 12 * config.layers
    assert wanted["h.0.attn.c_attn.weight"] == (config.width, 3 * config.width)
    assert sum(math.prod(shape) for shape in wanted.values()) == parameters


def test_another_architecture_is_refused_with_all_its_differences(tmp_path: Path) -> None:
    stored = {
        "model_type": "gpt_neo",
        "activation_function": "relu",
        "n_layer": 2,
        "n_embd": 32,
        "n_inner": 64,
        "n_head": 4,
        "n_positions": 24,
        "scale_attn_by_inverse_layer_idx": True,
    }
    (tmp_path / "config.json").write_text(json.dumps(stored))
    with pytest.raises(ConversionError) as caught:
        gpt2.config_of(read_config(tmp_path))
    for text in (
        "vocab_size is missing",
        "model_type is 'gpt_neo', 'gpt2' is needed",
        "activation_function is 'relu', 'gelu_new' is needed",
        "scale_attn_by_inverse_layer_idx is True",
        "n_inner is 64, four times n_embd",
    ):
        assert text in str(caught.value)


def test_a_directory_without_a_readable_config_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"config\.json does not exist"):
        read_config(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ConversionError, match=r"config\.json is damaged"):
        read_config(tmp_path)
