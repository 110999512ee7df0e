"""Text files that users write: tables, answers of another system.

Spreadsheets put a byte-order mark before the first column's name, or save in the code page of the
machine. The first is left out here, the second refused: guessing would change names silently.
"""

from etils import epath

from adiff_jax.storage import located


def read_text(path: epath.PathLike) -> str:
    """The text of a UTF-8 file, with or without a byte-order mark; line ends are as written.

    Raises ValueError that names the file when it is not UTF-8.
    """
    # Not epath's read_text(encoding="utf-8-sig"): it ignores the encoding and keeps the mark.
    data = located(path).read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{path}, line {line}: byte 0x{data[error.start]:02x} is not UTF-8; save the file "
            'as UTF-8 (in a spreadsheet: "CSV UTF-8")'
        ) from error
