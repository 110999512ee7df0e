"""Several tables as one source: ADIFF is trained on pairs of AudioCaps and of Clotho together."""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import accumulate
from typing import Any

from etils import epath

from adiff_jax.data.builders.table_source import Table, TableSource
from adiff_jax.data.schema import Coverage, Example, Truth


@dataclass(frozen=True)
class Joined:
    """The examples of `tables`, table after table. Raises ValueError for folders of one name, which
    is what tells their examples and clips apart."""

    tables: tuple[Table, ...]

    def __post_init__(self) -> None:
        names = [_name(table) for table in self.tables]
        if not names:
            raise ValueError("Joined.tables is empty: give one table or more")
        if twice := sorted({name for name in names if names.count(name) > 1}):
            if len({table.path for table in self.tables if _name(table) == twice[0]}) == 1:
                raise ValueError(
                    f"Joined.tables names {twice[0]!r} twice: splits of one table cannot be joined"
                )
            raise ValueError(
                f"Joined.tables has more than one folder called {twice[0]!r}, so that their clips "
                "cannot be told apart: rename one"
            )


class JoinedSource:
    """The examples of a `Joined`. A `Source`, `Captioned` and `Described`.

    Ids and names of clips have the folder of their table before them, "acd/...". Errors are those
    of `TableSource`.
    """

    def __init__(self, config: Joined) -> None:
        self._tables = {_name(table): TableSource(table) for table in config.tables}

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Example:
        name, place = self._place(index)
        return _named(name, self._tables[name][place])

    def described(self, index: int) -> Example:
        """Example `index` without its audio."""
        name, place = self._place(index)
        return _named(name, self._tables[name].described(place))

    def truth(self, index: int) -> Truth:
        name, place = self._place(index)
        truth = self._tables[name].truth(place)
        return replace(truth, id=f"{name}/{truth.id}")

    def clip_captions(self, index: int) -> tuple[tuple[str, ...], ...]:
        """The sentences about each clip of example `index`."""
        name, place = self._place(index)
        return self._tables[name].clip_captions(place)

    def texts(self) -> Iterator[str]:
        for table in self._tables.values():
            yield from table.texts()

    @property
    def coverage(self) -> Coverage | None:
        """That of the tables together; None unless all say something."""
        known = [table.coverage for table in self._tables.values()]
        found = [coverage for coverage in known if coverage is not None]
        if len(found) < len(known):
            return None
        names = [field.name for field in fields(Coverage)]
        return Coverage(**{name: sum(getattr(one, name) for one in found) for name in names})

    def _place(self, index: int) -> tuple[str, int]:
        """The table of example `index`, and its number there."""
        if not 0 <= index < len(self):
            raise IndexError(f"example {index} of a source of {len(self)}")
        number = bisect_right(self._ends, index)
        before = self._ends[number - 1] if number else 0
        return tuple(self._tables)[number], index - before

    @cached_property
    def _ends(self) -> list[int]:
        return list(accumulate(map(len, self._tables.values())))

    def __getstate__(self) -> dict[str, Any]:
        return {"_tables": self._tables}  # a worker opens the files itself


def _name(table: Table) -> str:
    return epath.Path(table.path).name


def _named(name: str, example: Example) -> Example:
    clips = tuple(replace(clip, name=f"{name}/{clip.name}") for clip in example.clips)
    return replace(example, id=f"{name}/{example.id}", clips=clips)
