"""Text is UTF-8 with or without a mark; anything else is refused by file and line."""

from pathlib import Path

import pytest

from adiff_jax.text_files import read_text

TEXT = "file,category\r\nü.wav,Türe\r\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "clips.csv"
    path.write_bytes(TEXT.encode(encoding))
    assert read_text(path) == TEXT


@pytest.mark.parametrize(("encoding", "line"), [("cp1252", 2), ("utf-16", 1)])
def test_another_encoding_is_refused_by_file_and_line(
    tmp_path: Path, encoding: str, line: int
) -> None:
    path = tmp_path / "clips.csv"
    path.write_bytes(TEXT.encode(encoding))
    with pytest.raises(ValueError, match=f"clips.csv, line {line}: .* save the file as UTF-8"):
        read_text(path)
