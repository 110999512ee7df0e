"""Texts as ids: the default form, and that of ADIFF's published code."""

from dataclasses import replace

import numpy as np
import pytest

from adiff_jax.data.lengths import check_lengths
from adiff_jax.data.schema import Example
from adiff_jax.data.transforms import Encode, EncodeConfig
from adiff_jax.data.wording import Adiff2025, Plain, wording
from tests.data.toy_source import toy_tokenizer

ENDING = " <|endoftext|>"
SPACE, END = 220, 50256


class Letters:
    """A letter a token, with GPT-2's ids for what ADIFF's form is made of."""

    end_id = END

    def encode(self, text: str) -> list[int]:
        body, ending, rest = text.partition(ENDING)
        ids = [{"!": 0, " ": SPACE}.get(letter, ord(letter)) for letter in body]
        return [*ids, SPACE, END, *self.encode(rest)] if ending else ids


COMPAT = EncodeConfig(
    seconds=0.01, max_tokens=9, short="tile", prompt_tokens=8, compat="adiff-2025"
)


def test_by_default_the_end_token_ends_an_answer_and_stops_it() -> None:
    form = wording(Letters(), "")
    ids, counted = form.answer("a!")
    assert ids.tolist() == [97, 0, END] and counted.all()
    assert form.stop_ids == (END,)
    ids, counted = form.prompt("a!", 4)
    assert ids.tolist() == [97, 0, END, END]
    assert counted.tolist() == [True, True, False, False]


def test_as_published_a_prompt_ends_in_space_and_end_and_its_padding_takes_part() -> None:
    form = wording(Letters(), "adiff-2025")
    ids, counted = form.prompt("a!b", 8)
    assert ids.tolist() == [97, 0, 98, SPACE, END, 0, 0, 0] and counted.all()
    ids, counted = form.prompt("abcdef", 4)
    assert ids.tolist() == [97, 98, 99, 100] and counted.all()


def test_as_published_an_answer_does_not_learn_its_exclamation_marks() -> None:
    form = wording(Letters(), "adiff-2025")
    ids, counted = form.answer("a!!")
    assert ids.tolist() == [97, 0, 0, SPACE, END]
    assert counted.tolist() == [True, False, False, True, True]
    assert form.stop_ids == (SPACE,)


def test_the_published_form_needs_gpt2s_vocabulary() -> None:
    with pytest.raises(ValueError, match=r"tokenizer is not GPT-2's: set data.tokenizer to Gpt2"):
        Adiff2025(toy_tokenizer())
    with pytest.raises(ValueError, match="tokenizer is not GPT-2's"):
        check_lengths(COMPAT, toy_tokenizer(), ["add a dog"])


def test_rows_have_the_form_of_their_configuration() -> None:
    wave = np.ones(160, np.float32)
    example = Example("one", (wave,), 16_000, captions=("a!",), prompt="b")
    encode = Encode(COMPAT, Letters())
    row = encode(example, 0, 0)
    assert row["prompt"].tolist() == [98, SPACE, END, 0, 0, 0, 0, 0]
    assert row["prompt_mask"].all()
    assert row["tokens"].tolist() == [97, 0, SPACE, END, 0, 0, 0, 0, 0]
    assert row["tokens_mask"].tolist() == [True, False, True, True] + 5 * [False]
    assert encode.stop_ids == (SPACE,)
    plain = replace(encode, config=replace(COMPAT, compat=""))
    assert plain(example, 0, 0)["prompt_mask"].sum() == 1
    assert plain.stop_ids == Plain(Letters()).stop_ids == (END,)
    assert Encode(COMPAT).stop_ids == ()


def test_the_published_ending_counts_towards_the_length_of_an_answer() -> None:
    check_lengths(replace(COMPAT, max_tokens=4), Letters(), ["ab"])
    with pytest.raises(ValueError, match="'ab' takes 4 tokens.*at least 4"):
        check_lengths(replace(COMPAT, max_tokens=3), Letters(), ["ab"])


def crops(config: EncodeConfig, example_id: str = "one", draw: int | None = None) -> list[int]:
    """Where the two clips of a pair of equal, too long clips begin."""
    wave = np.arange(4000, dtype=np.float32)
    row = Encode(config)(Example(example_id, (wave, wave), 16_000), 0, draw)
    return [int(row["audio_1"][0]), int(row["audio_2"][0])]


def test_as_published_long_clips_are_cropped_at_random_by_seed_id_clip_and_draw() -> None:
    first = crops(COMPAT)
    assert first == crops(COMPAT)
    others = (crops(COMPAT, "two"), crops(replace(COMPAT, crop_seed=1)), crops(COMPAT, draw=2**63))
    starts = {*first, *(start for other in others for start in other)}
    assert len(starts) == 8
    assert crops(replace(COMPAT, compat="")) == [1920, 1920]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt_tokens": -1}, "prompt_tokens is -1"),
        ({"paraphrase": True, "prompt_tokens": 0}, "paraphrase is on, but prompt_tokens is 0"),
        ({"short": "pad"}, "short is 'pad', but compat.*tiles"),
        ({"compat": "", "crop_seed": 3}, "crop_seed is 3, but only compat"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(COMPAT, **changes)
