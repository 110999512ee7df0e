"""What `adiff data embed` keeps of a source, and whether the source is still what was encoded."""

from collections.abc import Sequence
from itertools import chain

from tqdm import tqdm

from adiff_jax.data.embedding_files import ClipPlace, EmbeddingFiles, KeptSource, clip_places
from adiff_jax.data.embeddings import example_line
from adiff_jax.data.pipeline import LoaderConfig, read_ahead
from adiff_jax.data.read_clips import Describe, HashClips, groups
from adiff_jax.data.schema import Source, coverage_of
from adiff_jax.experiment import ConfigError
from adiff_jax.frozen_encoder import changed_clips, clips_of_shard
from adiff_jax.parts import note


def kept_of(source: Source, loader: LoaderConfig) -> KeptSource:
    """What a cache keeps of a source.

    Raises ConfigError when two clips of one name differ, where the audio had to be read.
    """
    numbers: dict[str, int] = {}
    digests: dict[str, str] = {}
    lines = []
    read = read_ahead(Describe(source), len(source), loader)
    for seen in tqdm(read, "examples", len(source), unit="example", disable=None):
        for clip, digest in zip(seen.example.clips, seen.digests, strict=False):
            if digests.setdefault(clip.name, digest) != digest:
                raise ConfigError(f"{seen.example.id}: another clip is called {clip.name} too")
        lines.append(example_line(seen.example, seen.truth, numbers))
    return KeptSource(lines, list(source.texts()), coverage_of(source))


def compare_examples(
    files: EmbeddingFiles, source: Source, refresh: bool, loader: LoaderConfig
) -> None:
    """Raise ConfigError unless the examples are those of the source. With `refresh` they are
    written anew, as long as the clips are called the same."""
    now, kept = kept_of(source, loader), files.examples()
    if now == kept:
        return
    differing = sum(a != b for a, b in zip(now.lines, kept.lines, strict=False))
    differing += abs(len(now.lines) - len(kept.lines))
    if [c.name for c in clip_places(now.lines)] != [c.name for c in files.clip_places()]:
        raise ConfigError(
            f"{files.path}: the source has other clips by now ({differing} examples differ): "
            "remove the directory, or name another --out"
        )
    if not refresh:
        raise ConfigError(
            f"{files.path}: {differing} of {len(now.lines)} examples differ from those of the "
            "source, or its vocabulary does: write them again with --refresh"
        )
    files.write_examples(now)


def changed_shards(
    files: EmbeddingFiles,
    source: Source,
    among: Sequence[int],
    refresh: bool,
    loader: LoaderConfig,
) -> list[int]:
    """Finished shards with clips that are not what was encoded; from now on they are unfinished.

    Raises ConfigError that names the clips unless `refresh` is set.
    """
    about = files.about()
    shards = about["shards"] if about else 0
    places = files.clip_places()
    names: list[str] = []
    found = []
    total = clips_in(places, among, shards)
    with tqdm(total=total, desc="comparing", unit="clip", disable=None) as bar:
        for shard in among:
            before, clips = len(names), clips_of_shard(places, shard, shards)
            kept, hashed = files.shard_clips(shard, shards), HashClips(source, groups(clips))
            now = chain.from_iterable(read_ahead(hashed, len(hashed.groups), loader))
            for stored, digest in zip(kept, now, strict=True):
                names += [stored.name] * (stored.sha256 != digest)
                bar.update()
            found += [shard] * (len(names) > before)
    if names and not refresh:
        raise ConfigError(changed_clips(files, names, total))
    if names:
        note(f"encoded again: {', '.join(names)}")
    for shard in found:
        files.drop_shard(shard, shards)
    return found


def clips_in(places: list[ClipPlace], of: Sequence[int], shards: int) -> int:
    """How many clips the shards `of` hold together."""
    return sum(len(clips_of_shard(places, shard, shards)) for shard in of)
