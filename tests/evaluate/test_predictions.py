"""The prediction file: stable bytes, and errors that name the line and the field."""

import json

import pytest

from adiff_jax.evaluate.predictions import Prediction, read_predictions, write_predictions

ROWS = [
    Prediction("b", "a dog — bark", (3, 1), -1.23456789, ("one", "two"), "tell", 2),
    Prediction("a", "line separator \u2028 inside", (), None),
]


def test_bytes_depend_on_neither_order_nor_noise_below_the_rounding(tmp_path):
    write_predictions(tmp_path / "one.jsonl", ROWS)
    noisy = [Prediction(**{**vars(ROWS[0]), "logprob": -1.23456781}), ROWS[1]]
    write_predictions(tmp_path / "two.jsonl", noisy[::-1])
    written = (tmp_path / "one.jsonl").read_bytes()
    assert written == (tmp_path / "two.jsonl").read_bytes()
    assert [json.loads(line)["id"] for line in written.decode().split("\n")[:-1]] == ["a", "b"]


def test_a_small_negative_logprob_is_written_as_zero_not_minus_zero(tmp_path):
    write_predictions(tmp_path / "p.jsonl", [Prediction("a", "x", (), -1e-9)])
    assert '"logprob": 0.0' in (tmp_path / "p.jsonl").read_text()


def test_keys_come_in_the_order_of_the_contract(tmp_path):
    write_predictions(tmp_path / "p.jsonl", ROWS)
    line = json.loads((tmp_path / "p.jsonl").read_text().split("\n")[0])
    assert list(line) == ["id", "text", "tokens", "logprob", "references", "prompt", "tier"]


def test_reading_gives_back_what_was_written(tmp_path):
    write_predictions(tmp_path / "p.jsonl", ROWS)
    rounded = Prediction(**{**vars(ROWS[0]), "logprob": -1.2346})
    assert read_predictions(tmp_path / "p.jsonl") == [ROWS[1], rounded]


def test_an_id_and_a_text_are_a_line(tmp_path):
    (tmp_path / "p.jsonl").write_text('{"id": "1", "text": "add a bark"}\n\n')
    assert read_predictions(tmp_path / "p.jsonl") == [Prediction("1", "add a bark")]


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path):
    (tmp_path / "p.jsonl").write_text('{"id": "1", "text": "é"}\r\n', encoding="utf-8-sig")
    assert read_predictions(tmp_path / "p.jsonl") == [Prediction("1", "é")]
    (tmp_path / "p.jsonl").write_text('{"id": "1", "text": "é"}\n', encoding="latin-1")
    with pytest.raises(ValueError, match="p.jsonl, line 1: .* save the file as UTF-8"):
        read_predictions(tmp_path / "p.jsonl")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"id": "2"}', ['"text"', "missing"]),
        ('{"id": 2, "text": "x"}', ['"id"', "string"]),
        ('{"id": "2", "txt": "x", "text": "y"}', ['"txt"', "unknown"]),
        ('{"id": "2", "text": "x", "tokens": [1.5]}', ['"tokens"', "integers"]),
        ('{"id": "2", "text": "x", "logprob": NaN}', ['"logprob"', "finite"]),
        ('{"id": "2", "text": "x", "references": "one"}', ['"references"', "list"]),
        ('{"id": "2", "text": "x", "tier": true}', ['"tier"', "integer"]),
        ('{"id": "1", "text": "x"}', ['"id"', "line 1"]),
        ('["2"]', ["object"]),
        ('{"id": "2"', ["line 2"]),
    ],
)
def test_an_error_names_file_line_and_field(tmp_path, line, words):
    (tmp_path / "p.jsonl").write_text('{"id": "1", "text": "x"}\n' + line + "\n")
    with pytest.raises(ValueError) as error:
        read_predictions(tmp_path / "p.jsonl")
    for word in ["p.jsonl, line 2", *words]:
        assert word in str(error.value)


@pytest.mark.parametrize("logprob", [float("nan"), float("-inf")])
def test_a_logprob_that_is_not_finite_is_refused_by_id(tmp_path, logprob):
    with pytest.raises(ValueError, match="'a'"):
        write_predictions(tmp_path / "p.jsonl", [Prediction("a", "x", (), logprob)])


def test_a_repeated_id_is_refused_and_no_file_left(tmp_path):
    with pytest.raises(ValueError, match="'a'"):
        write_predictions(tmp_path / "p.jsonl", [Prediction("a", "x"), Prediction("a", "y")])
    assert not list(tmp_path.iterdir())
