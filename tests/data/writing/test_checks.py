"""The form of an explanation: what people wrote passes, what models add does not."""

import csv
from pathlib import Path

import pytest

from adiff_jax.data.writing.checks import problem
from adiff_jax.data.writing.prompts import read_prompts
from tests.data.writing.chat_server import GOOD

PROMPTS = read_prompts()
FILES = {1: "fewwords", 2: "sentence", 3: "detail"}


def fault(text: str, tier: int = 1) -> str:
    return problem(text, tier, PROMPTS.tiers[tier - 1].words)


@pytest.mark.parametrize("tier", [1, 2, 3])
def test_a_good_answer_passes(tier: int):
    assert fault(GOOD[tier], tier) == ""
    assert fault(f"\n {GOOD[tier]}\n\n", tier) == ""


@pytest.mark.parametrize(
    "text",
    [
        "Great applause fills audio 1 from beginning to end, while audio 2 has a lone bird.",
        "Audio (1) is a loud machine that runs on and on; audio (2) is a whisper.",
        "The former has a man who says that he is sorry and cannot come, the latter has rain.",
    ],
)
def test_words_that_only_look_suspicious_pass(text: str):
    assert fault(text) == ""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        (" \n\t", "is empty"),
        (f"Sure, here is the sentence: {GOOD[1]}", "talks about the answer"),
        (f"Here's the comparison: {GOOD[1]}", "talks about the answer"),
        (f"Answer: {GOOD[1]}", "talks about the answer"),
        (f"Tier 1: {GOOD[1]}", "talks about the answer"),
        (f"**Audio 1** {GOOD[1]}", "holds markup"),
        (f"- {GOOD[1]}", "holds markup"),
        (f"# Difference. {GOOD[1]}", "holds markup"),
        (f"`{GOOD[1]}`", "holds markup"),
        (f'"{GOOD[1]}"', "is in quotation marks"),
        (f"“{GOOD[1]}”", "is in quotation marks"),
        (GOOD[1].replace(", whereas", ",\nwhereas"), "has several lines"),
        (GOOD[1].replace(", whereas", ",\u2028whereas"), "has several lines"),
        (f"<think>A dog, then rain.</think> {GOOD[1]}", "holds tags"),
        (f"<|assistant|> {GOOD[1]}", "holds tags"),
        (f"I'm sorry, but I cannot listen to audio. {GOOD[1]}", "refuses"),
        (f"I can't hear them. {GOOD[1]}", "refuses"),
        (f"As an AI, I do not listen, but {GOOD[1]}", "refuses"),
        (f"{GOOD[1]} Let me know if you want more.", "speaks of the task"),
        ("The first caption is about a dog, while the second one is about some rain.", "speaks of"),
        ("Audio 1 barks, audio 2 rains.", "has 6 words instead of 10 to 50"),
        (f"{GOOD[1]} " * 4, "words instead of 10 to 50"),
        ("A dog that barks is quite another thing than rain on the second roof.", "the first"),
        ("A dog that barks in audio 1 is quite a different thing from rain.", "the second"),
        (GOOD[1].removesuffix("."), "does not end like a sentence"),
        (GOOD[1].replace("dog", "dog\x00"), "holds characters that are no text"),
        (GOOD[1].replace("dog", "dog\ud800"), "holds characters that are no text"),
    ],
)
def test_what_is_no_explanation_is_named(text: str, reason: str):
    assert reason in fault(text)


def test_the_second_tier_is_one_sentence():
    two = GOOD[2].replace(", whereas the", ". The")
    assert fault(two, 2) == "has more than one sentence"
    assert fault(GOOD[2].replace("rain over", "rain of 1.5 mm over"), 2) == ""


@pytest.mark.parametrize("tier", [1, 2, 3])
def test_nearly_all_published_explanations_pass(tier: int, data_directory: Path):
    path = data_directory / "adiff_pairs" / f"acd_val_adiff_{FILES[tier]}_answer.csv"
    if not path.exists():
        pytest.skip(f"no published explanations: {path} does not exist")
    with path.open(newline="") as file:
        faults = [fault(row["answer"], tier) for row in csv.DictReader(file)]
    assert faults.count("") / len(faults) > 0.96
