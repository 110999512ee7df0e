"""The texts of a source without its clips: what a language model is trained on."""

from collections.abc import Iterator

from adiff_jax.data.schema import Example, Source, Truth


class Texts:
    """A `Source` whose examples have captions and no clips; no audio is read or made for them,
    unless the texts themselves state what is measured on it."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Example:
        truth = self._source.truth(index)
        return Example(
            id=truth.id,
            waves=(),
            rate=0,
            captions=truth.references,
            edits=truth.edits,
            recordings=truth.recordings,
            prompt=truth.prompt,
            tier=truth.tier,
        )

    def truth(self, index: int) -> Truth:
        return self._source.truth(index)

    def texts(self) -> Iterator[str]:
        yield from self._source.texts()
