"""Audio files in and out, as one axis of float32 samples at the rate one asks for.

Reads what soundfile reads (wav, flac, ogg, opus, mp3, ...; any rate, integer or float samples,
any number of channels), mixes channels down by their mean and resamples with soxr, unless told
otherwise. Nothing is repaired silently: a clip that cannot be trusted raises `AudioError` with the
file and the way out.
"""

import io
import os
from typing import Literal

import numpy as np
import soundfile as sf

from adiff_jax.audio.resample import Resampler, resample
from adiff_jax.storage import located

SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aif", ".aiff")
"""What files of audio are called, the usual ones first."""

SHORTEST_SECONDS = 0.01
# Peak amplitude up to which nothing is heard: one step of 16-bit audio, 90 dB below full scale.
# What rounding leaves of channels that cancel is no more, and a 16-bit file could not hold less.
SILENCE = 2.0**-15
# Peak above which floats are no samples within ±1, not even overdriven ones: integers, most often.
LOUDEST = 10.0

# Output samples at either end in which a tone that is cut off rings through the resampler, though
# the tone itself is above its band: measured with soxr, 5e-4 after 16 samples, 2e-6 after 80.
_RINGING = 80

Channels = Literal["mean", "concatenate"]
"""What becomes of several channels: their mean, or one after the other, each resampled by itself,
so that a stereo clip is twice as long (ADIFF's published code)."""

_STREAMED = (0, 0xFFFFFFFF)  # sizes that a recorder writes when it does not know the length yet


class AudioError(ValueError):
    """A clip that cannot be used; the message names the file and what to do about it."""


class SilentClipError(AudioError):
    """A clip in which there is nothing to hear."""


def read_audio(
    path: str | os.PathLike[str],
    rate: int,
    channels: Channels = "mean",
    resampler: Resampler = "soxr",
) -> np.ndarray:
    """The clip at `path` (local or remote, through etils.epath): float32 [n] at `rate` Hz.

    Raises AudioError when the file is missing or the clip is unusable (see `decode_audio`).
    """
    file = located(path)
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        raise AudioError(f"{path}: no such file; check the path") from None
    except IsADirectoryError:
        raise AudioError(f"{path} is a folder; name one audio file in it") from None
    return decode_audio(data, str(path), rate, channels, resampler)


def decode_audio(
    data: bytes,
    name: str,
    rate: int,
    channels: Channels = "mean",
    resampler: Resampler = "soxr",
) -> np.ndarray:
    """The clip encoded in `data`: float32 [n], of all its `channels`, resampled to `rate` Hz.

    `name` is what errors call the clip. Raises AudioError for an empty, unreadable, truncated,
    too short, silent or non-finite clip.
    """
    if not data:
        raise AudioError(f"{name} is empty (0 bytes); write the clip again")
    try:
        with sf.SoundFile(io.BytesIO(data)) as file:
            promised, native, kind = file.frames, file.samplerate, file.format
            frames = file.read(dtype="float32", always_2d=True)
    except (sf.LibsndfileError, RuntimeError) as error:
        # Its str() begins with the object that the bytes were read from.
        reason = error.error_string if isinstance(error, sf.LibsndfileError) else error
        raise AudioError(
            f"{name} cannot be read as audio ({reason}); it is damaged or not an audio file: "
            "convert it to WAV or FLAC again"
        ) from error
    if _truncated(data, kind, promised, len(frames)):
        raise AudioError(
            f"{name} is truncated: it ends after {len(frames) / native:.2f} s, before the end its "
            "header announces; copy or convert the whole file again"
        )
    if len(frames) < SHORTEST_SECONDS * native:
        raise AudioError(
            f"{name} holds {len(frames)} samples at {native} Hz; a clip needs at least "
            f"{SHORTEST_SECONDS * 1000:.0f} ms"
        )
    if frames.shape[1] > 1 and channels == "mean":
        frames = frames.mean(axis=1, dtype=np.float32, keepdims=True)
    check_wave(frames.T.reshape(-1), name)
    waves = [resample(wave, native, rate, resampler) for wave in frames.T]
    if native != rate:
        edge = min(_RINGING, len(waves[0]) // 4) if native > rate else 0
        heard = [wave[edge : len(wave) - edge] for wave in waves]
        if np.abs(heard).max() <= SILENCE:
            raise SilentClipError(
                f"{name} is silent at {rate} Hz: all it holds is above {rate // 2} Hz; leave it out"
            )
    return np.ascontiguousarray(np.concatenate(waves), dtype=np.float32)


def check_wave(wave: np.ndarray, name: str) -> None:
    """Raises AudioError, naming the clip `name`, unless `wave` is [n], finite, audible and scaled
    to ±1."""
    if wave.ndim != 1:
        raise AudioError(f"{name} has shape {wave.shape}; a clip is one axis of samples")
    if len(wave) < 2:
        raise AudioError(f"{name} holds {len(wave)} samples; there is nothing to hear")
    if not np.isfinite(wave).all():
        broken = int(np.count_nonzero(~np.isfinite(wave)))
        raise AudioError(
            f"{name} holds {broken} samples of {len(wave)} that are NaN or infinite; "
            "export it again"
        )
    if (peak := np.abs(wave).max()) > LOUDEST:
        raise AudioError(
            f"{name} has a peak of {peak:g}, where samples lie within ±1: divide 16-bit integers "
            "by 32768, or export it again"
        )
    if peak <= SILENCE:
        raise SilentClipError(
            f"{name} is silent throughout (channels mixed, its peak is at most one 16-bit step); "
            "record or export it again, or leave it out"
        )


def encode_flac(wave: np.ndarray, rate: int) -> bytes:
    """`wave` float32 [n] within ±1 as the bytes of a 16-bit FLAC file."""
    return _encode(wave, rate, "FLAC", "encode_flac's input")


def write_audio(path: str | os.PathLike[str], wave: np.ndarray, rate: int) -> None:
    """Write `wave` float32 [n] within ±1 as 16-bit WAV or FLAC, by the suffix of `path`."""
    file = located(path)
    formats = {".wav": "WAV", ".flac": "FLAC"}
    if file.suffix.lower() not in formats:
        raise AudioError(f"{path}: cannot write {file.suffix!r} audio; name it .wav or .flac")
    file.write_bytes(_encode(wave, rate, formats[file.suffix.lower()], str(path)))


def as_pcm16(wave: np.ndarray) -> np.ndarray:
    """`wave` [n] as the int16 samples that files hold: reading 16-bit audio and writing it again
    changes nothing (libsndfile's own conversion scales by 32767 and reads by 32768)."""
    return np.clip(np.round(np.asarray(wave, np.float64) * 32768), -32768, 32767).astype(np.int16)


def _encode(wave: np.ndarray, rate: int, kind: str, name: str) -> bytes:
    check_wave(wave, name)
    peak = float(np.abs(wave).max())
    if peak > 1.0:
        raise AudioError(f"{name} peaks at {peak:.3f} and would clip; scale it to within 1.0 first")
    buffer = io.BytesIO()
    sf.write(buffer, as_pcm16(wave), rate, format=kind, subtype="PCM_16")
    return buffer.getvalue()


def _truncated(data: bytes, kind: str, promised: int, read: int) -> bool:
    """Whether the file ends before its own header says. libsndfile notices only some of these."""
    if read < promised:
        return True
    if kind == "OGG":
        flags = data[data.rfind(b"OggS") + 5 :]  # of the last page; none if it is cut before them
        return not flags or not flags[0] & 0x04  # "end of stream"
    if kind in ("WAV", "WAVEX") and data[:4] == b"RIFF":
        size = int.from_bytes(data[4:8], "little")
        return size not in _STREAMED and size + 8 > len(data) + 1  # the pad byte is often missing
    return False
