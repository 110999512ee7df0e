"""From an example to a row of a batch."""

import dataclasses
from dataclasses import replace

import numpy as np
import pytest

from adiff_jax.arrays import Batch
from adiff_jax.data.lengths import check_lengths
from adiff_jax.data.prompts import CANONICAL, PARAPHRASES, paraphrase
from adiff_jax.data.schema import Edit, Example
from adiff_jax.data.tokenizers import Words, build_tokenizer
from adiff_jax.data.transforms import Encode, EncodeConfig, fair_caption
from tests.data.toy_source import CAPTIONS, ToySource, toy_encode, toy_tokenizer

EXAMPLE = ToySource(3)[1]
ASKED = replace(EXAMPLE, prompt="add a dog")


def encode_wave(wave: np.ndarray, rate: int = 16_000, seconds: float = 0.01) -> dict:
    example = Example(id="one", waves=(wave,), rate=rate)
    return Encode(EncodeConfig(seconds=seconds))(example, 0)


def test_keys_are_fields_of_the_batch() -> None:
    row = replace(toy_encode(prompt_tokens=3), classes=("dog",))(ASKED, 1, 0)
    fields = {field.name for field in dataclasses.fields(Batch)}
    of_caches = {"features_1", "features_2"}
    of_the_matching_loss = {"negative", "negative_mask", "negative_true"}
    assert row.keys() == fields - of_caches - of_the_matching_loss


def test_dtypes_are_those_the_batch_documents() -> None:
    row = replace(toy_encode(prompt_tokens=3), classes=("dog",))(ASKED, 1, 0)
    dtypes = {key: np.asarray(value).dtype.name for key, value in row.items()}
    assert dtypes == {
        "valid": "bool",
        "example_id": "int32",
        "scene_id": "int32",
        "content_id": "int32",
        "source_id": "int32",
        "text_id": "int32",
        "question_id": "int32",
        "changed": "bool",
        "audio_1": "float32",
        "audio_2": "float32",
        "length_1": "int32",
        "length_2": "int32",
        "prompt": "int32",
        "prompt_mask": "bool",
        "tokens": "int32",
        "tokens_mask": "bool",
        "labels": "float32",
    }


def test_a_single_clip_has_no_second_audio() -> None:
    row = encode_wave(np.ones(160, np.float32))
    assert "audio_1" in row and "audio_2" not in row and "tokens" not in row


def test_a_long_clip_keeps_its_centre() -> None:
    row = encode_wave(np.arange(200, dtype=np.float32))
    np.testing.assert_array_equal(row["audio_1"], np.arange(20, 180))
    assert row["length_1"] == 160


def test_a_short_clip_is_padded_and_keeps_its_length() -> None:
    row = encode_wave(np.arange(1, 101, dtype=np.float32))
    np.testing.assert_array_equal(row["audio_1"], [*range(1, 101), *[0] * 60])
    assert row["length_1"] == 100


@pytest.mark.parametrize("rate", [8_000, 44_100, 192_000])
def test_a_clip_of_another_rate_keeps_its_pitch_and_duration(rate: int) -> None:
    time = np.arange(rate) / rate
    row = encode_wave(np.sin(2 * np.pi * 1000 * time).astype(np.float32), rate, seconds=2.0)
    assert row["length_1"] == 16_000
    spectrum = np.abs(np.fft.rfft(row["audio_1"][:16_000]))
    assert np.argmax(spectrum) == 1000


def test_a_short_clip_can_be_repeated_until_it_fills_the_window() -> None:
    wave = np.arange(1, 71, dtype=np.float32)
    config = EncodeConfig(seconds=0.01, short="tile")
    row = Encode(config)(Example("one", (wave,), 16_000), 0)
    np.testing.assert_array_equal(row["audio_1"], [*wave, *wave, *wave[:20]])
    assert row["length_1"] == 160
    long = Example("one", (np.arange(200, dtype=np.float32),), 16_000)
    np.testing.assert_array_equal(Encode(config)(long, 0)["audio_1"], np.arange(20, 180))


def test_a_prompt_is_padded_with_masked_end_tokens() -> None:
    encode, tokenizer = toy_encode(prompt_tokens=5), toy_tokenizer()
    row = encode(ASKED, 0)
    ids = tokenizer.encode("add a dog")
    assert row["prompt"].tolist() == [*ids, tokenizer.end_id, tokenizer.end_id]
    assert row["prompt_mask"].tolist() == [True, True, True, False, False]
    assert "prompt" not in toy_encode()(ASKED, 0)


def test_prompts_are_there_without_targets() -> None:
    row = replace(toy_encode(prompt_tokens=5), targets=False)(ASKED, 0)
    assert "prompt" in row and "tokens" not in row


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("", "states no prompt, but data.encode.prompt_tokens is 2"),
        ("?!", "the prompt '\\?!' holds no token"),
        ("add a dog", "the prompt 'add a dog' takes 3 tokens.*prompt_tokens is 2: shorten it"),
    ],
)
def test_a_prompt_that_cannot_be_asked_is_refused(prompt: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        toy_encode(prompt_tokens=2)(replace(EXAMPLE, prompt=prompt), 0)


def test_prompts_are_paraphrased_in_training_only() -> None:
    texts = PARAPHRASES["tier-2"]
    tokenizer = build_tokenizer(Words(), texts)
    config = replace(toy_encode().config, prompt_tokens=20, paraphrase=True)
    encode = Encode(config, tokenizer, targets=False)
    example = replace(EXAMPLE, prompt=CANONICAL["tier-2"])

    def asked(draw: int | None) -> str:
        row = encode(example, 0, draw)
        return tokenizer.decode(row["prompt"][row["prompt_mask"]].tolist())

    def normal(text: str) -> str:
        return tokenizer.decode(tokenizer.encode(text))

    assert {asked(draw) for draw in range(200)} == {normal(text) for text in texts}
    assert asked(None) == CANONICAL["tier-2"]
    assert asked(7) == asked(7) == normal(paraphrase("tier-2", 7))
    plain = replace(encode, config=replace(config, paraphrase=False))
    np.testing.assert_array_equal(plain(example, 0, 7)["prompt"], encode(example, 0)["prompt"])
    with pytest.raises(ValueError, match="'which[?]' is a wording of none of"):
        encode(replace(EXAMPLE, prompt="which?"), 0, 7)


def test_paraphrases_that_do_not_fit_are_refused_before_training() -> None:
    tokenizer = build_tokenizer(Words(), [*CAPTIONS, *sum(PARAPHRASES.values(), ())])
    config = EncodeConfig(max_tokens=5, prompt_tokens=14, paraphrase=True)
    check_lengths(config, tokenizer, CAPTIONS)
    with pytest.raises(ValueError, match="the prompt '.*prompt_tokens is 8: shorten it"):
        check_lengths(replace(config, prompt_tokens=8), tokenizer, CAPTIONS)
    check_lengths(replace(config, prompt_tokens=8, paraphrase=False), tokenizer, CAPTIONS)


def test_without_a_draw_the_caption_is_chosen_by_the_id_and_not_the_first() -> None:
    chosen = [fair_caption(f"pair-{number}", CAPTIONS) for number in range(300)]
    counts = [chosen.count(caption) for caption in CAPTIONS]
    assert min(counts) > 70
    assert chosen == [fair_caption(f"pair-{number}", CAPTIONS) for number in range(300)]
    encode, tokenizer = toy_encode(), toy_tokenizer()
    for number in range(6):
        row = encode(replace(EXAMPLE, id=f"pair-{number}"), 0)
        ids = [*tokenizer.encode(chosen[number]), tokenizer.end_id]
        assert row["tokens"][row["tokens_mask"]].tolist() == ids


def test_tokens_are_the_drawn_caption_and_its_end() -> None:
    encode, tokenizer = toy_encode(), toy_tokenizer()
    for draw in range(6):
        row = encode(EXAMPLE, 0, draw)
        ids = [*tokenizer.encode(CAPTIONS[draw % 3]), tokenizer.end_id]
        np.testing.assert_array_equal(row["tokens"][: len(ids)], ids)
        np.testing.assert_array_equal(row["tokens_mask"], np.arange(6) < len(ids))


def test_an_example_without_captions_can_be_evaluated_but_not_trained_on() -> None:
    silent = replace(EXAMPLE, captions=())
    assert not toy_encode()(silent, 0)["tokens_mask"].any()
    with pytest.raises(ValueError, match="no caption"):
        toy_encode()(silent, 0, 0)


def test_a_caption_that_does_not_fit_is_refused_with_the_length_it_needs() -> None:
    toy_encode(max_tokens=5)(EXAMPLE, 0, 1)  # four words and the end just fit
    with pytest.raises(ValueError, match="'put a dog in' takes 5 tokens.*at least 5"):
        toy_encode(max_tokens=4)(EXAMPLE, 0, 1)
    with pytest.raises(ValueError, match="'put a dog in' takes 5 tokens.*at least 5"):
        check_lengths(EncodeConfig(max_tokens=4), toy_tokenizer(), CAPTIONS)
    check_lengths(EncodeConfig(max_tokens=5), toy_tokenizer(), CAPTIONS)


@pytest.mark.parametrize(
    ("edits", "changed"),
    [(None, True), ((Edit("none"),), False), ((Edit("add", "dog"),), True)],
)
def test_only_a_lone_none_edit_is_unchanged(edits: tuple | None, changed: bool) -> None:
    assert toy_encode()(replace(EXAMPLE, edits=edits), 0)["changed"] == changed


def test_scene_ids_are_shared_by_scenes_only() -> None:
    def scene(name: str, identity: str) -> int:
        return int(toy_encode()(replace(EXAMPLE, scene=name, id=identity), 0)["scene_id"])

    assert scene("rain+dog", "a") == scene("rain+dog", "b")
    assert scene("", "a") != scene("", "b")
    assert scene("a", "x") != scene("", "a")


def test_labels_follow_the_order_of_the_classes() -> None:
    encode = replace(toy_encode(), classes=("rain", "dog", "sea"))
    row = encode(replace(EXAMPLE, labels=("sea", "rain")), 0)
    np.testing.assert_array_equal(row["labels"], [1, 0, 1])
    with pytest.raises(ValueError, match="'cat' is not among the classes rain, dog, sea"):
        encode(replace(EXAMPLE, labels=("cat",)), 0)


@pytest.mark.parametrize(
    ("wave", "rate", "message"),
    [
        (np.zeros(0, np.float32), 16_000, r"shape \(0,\)"),
        (np.zeros((2, 160), np.float32), 16_000, r"shape \(2, 160\)"),
        (np.full(160, np.nan, np.float32), 16_000, "NaN"),
        (np.ones(1, np.float32), 192_000, "shorter than one sample"),
    ],
)
def test_a_wave_that_is_no_clip_is_refused(wave: np.ndarray, rate: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        encode_wave(wave, rate)


def test_three_clips_are_refused() -> None:
    with pytest.raises(ValueError, match="3 clips"):
        toy_encode()(replace(EXAMPLE, waves=EXAMPLE.waves + EXAMPLE.waves[:1]), 0)


def test_a_long_clip_can_be_cropped_at_random_in_training() -> None:
    """At a start that the reading draws, the same in both clips of a pair."""
    wave = np.arange(1600, dtype=np.float32)
    encode = Encode(EncodeConfig(seconds=0.01, crop="random"))
    example = Example("long", (wave, wave), 16_000)
    rows = [encode(example, 0, draw) for draw in range(40)]
    starts = [int(row["audio_1"][0]) for row in rows]
    assert len(set(starts)) > 20 and max(starts) > 1000
    for row, start in zip(rows, starts, strict=True):
        np.testing.assert_array_equal(row["audio_1"], wave[start : start + 160])
        np.testing.assert_array_equal(row["audio_2"], row["audio_1"])
        assert row["length_1"] == 160
    np.testing.assert_array_equal(encode(example, 0, 7)["audio_1"], rows[7]["audio_1"])
    np.testing.assert_array_equal(encode(example, 0)["audio_1"], wave[720:880])  # evaluation
    short = Example("short", (wave[:100],), 16_000)
    assert encode(short, 0, 3)["length_1"] == 100
    with pytest.raises(ValueError, match='data.encode.crop is "random", but compat'):
        EncodeConfig(crop="random", compat="adiff-2025", short="tile")


@pytest.mark.parametrize(("clips", "held"), [(1, 2), (2, 1)])
def test_a_model_is_given_as_many_clips_as_it_hears(clips: int, held: int) -> None:
    wave = np.ones(160, np.float32)
    example = Example("x", (wave,) * held, 16_000)
    with pytest.raises(ValueError, match=f"holds {held} clips?, but the model hears {clips} clip"):
        Encode(EncodeConfig(seconds=0.01), clips=clips)(example, 0)
