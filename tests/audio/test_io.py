"""Audio files: what is read is what was written; what cannot be trusted is refused by name."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from adiff_jax.audio.io import (
    AudioError,
    SilentClipError,
    check_wave,
    decode_audio,
    encode_flac,
    read_audio,
    write_audio,
)
from adiff_jax.audio.resample import Resampler, resample

RATE = 16_000


def tone(rate: int = RATE, seconds: float = 1.0, hertz: float = 440.0) -> np.ndarray:
    time = np.arange(int(rate * seconds)) / rate
    return (0.5 * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


def written(path: Path, wave: np.ndarray, rate: int = RATE, **options: str) -> Path:
    sf.write(path, wave, rate, **options)
    return path


def dominant_hertz(wave: np.ndarray, rate: int) -> float:
    return float(np.argmax(np.abs(np.fft.rfft(wave))) * rate / len(wave))


@pytest.mark.parametrize(
    ("suffix", "subtype", "step"),
    [
        ("wav", "PCM_16", 2**-15),
        ("wav", "PCM_24", 2**-23),
        ("wav", "FLOAT", 0.0),
        ("flac", "PCM_16", 2**-15),
        ("flac", "PCM_24", 2**-23),
    ],
)
def test_lossless_files_are_read_to_within_one_step(
    tmp_path: Path, suffix: str, subtype: str, step: float
) -> None:
    path = written(tmp_path / f"a.{suffix}", tone(), subtype=subtype)
    read = read_audio(path, RATE)
    assert read.dtype == np.float32
    assert np.abs(read - tone()).max() <= step


@pytest.mark.parametrize(
    ("suffix", "options"),
    [("ogg", {}), ("mp3", {}), ("opus", {"format": "OGG", "subtype": "OPUS"})],
)
def test_lossy_files_keep_length_and_content(
    tmp_path: Path, suffix: str, options: dict[str, str]
) -> None:
    path = written(tmp_path / f"a.{suffix}", tone(seconds=2.0), **options)
    read = read_audio(path, RATE)
    assert abs(len(read) - 2 * RATE) <= 0.1 * RATE
    middle = slice(RATE // 2, RATE)
    assert np.corrcoef(read[middle], tone(seconds=2.0)[middle])[0, 1] > 0.99


@pytest.mark.parametrize("rate", [8_000, 11_025, 44_100, 48_000, 192_000])
def test_resampling_keeps_duration_pitch_and_level(tmp_path: Path, rate: int) -> None:
    path = written(tmp_path / "a.wav", tone(rate, 2.0), rate, subtype="FLOAT")
    read = read_audio(path, RATE)
    assert abs(len(read) - 2 * RATE) <= 1
    assert dominant_hertz(read, RATE) == pytest.approx(440, abs=1)
    assert np.abs(read[RATE // 2 : RATE]).max() == pytest.approx(0.5, abs=2e-3)


def test_channels_are_mixed_by_their_mean(tmp_path: Path) -> None:
    channels = np.stack([tone(), 0.5 * tone(hertz=880), 0 * tone()], axis=1)
    path = written(tmp_path / "a.wav", channels, subtype="FLOAT")
    np.testing.assert_allclose(read_audio(path, RATE), channels.mean(axis=1), atol=1e-7)


def test_flac_bytes_decode_to_the_wave_they_encode() -> None:
    noise = np.random.default_rng(0).uniform(-1, 1, RATE).astype(np.float32)
    decoded = decode_audio(encode_flac(noise, RATE), "noise", RATE)
    assert np.abs(decoded - noise).max() <= 2**-15


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_written_files_are_read_back(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    write_audio(str(path), tone(), RATE)
    assert sf.info(path).format == suffix.upper()
    assert np.abs(read_audio(path, RATE) - tone()).max() <= 2**-15


def test_writing_refuses_unknown_formats_and_clipping(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="name it .wav or .flac"):
        write_audio(tmp_path / "a.mp3", tone(), RATE)
    with pytest.raises(AudioError, match="would clip"):
        write_audio(tmp_path / "a.wav", 3 * tone(), RATE)


def broken_file(kind: str, folder: Path) -> Path:
    """A file of one of the kinds that cannot be used."""
    path = folder / "clip.wav"
    match kind:
        case "missing":
            pass
        case "folder":
            path.mkdir()
        case "empty":
            path.write_bytes(b"")
        case "text":
            path.write_text("this is a shopping list, not a recording\n" * 50)
        case "no samples":
            written(path, np.zeros(0, np.float32))
        case "one sample":
            written(path, np.full(1, 0.5, np.float32))
        case "silent":
            written(path, np.zeros(RATE, np.float32))
        case "nan":
            written(path, np.full(RATE, np.nan, np.float32), subtype="FLOAT")
        case "one infinite":
            wave = tone()
            wave[77] = np.inf
            written(path, wave, subtype="FLOAT")
        case "corrupt":
            written(path, tone())
            path.write_bytes(b"RIFF" + bytes(range(256)) * 10)
        case "truncated":
            written(path, tone())
            path.write_bytes(path.read_bytes()[:8000])
        case "header only":
            written(path, tone())
            path.write_bytes(path.read_bytes()[:20])
    return path


@pytest.mark.parametrize(
    ("kind", "complaint"),
    [
        ("missing", "no such file"),
        ("folder", "is a folder"),
        ("empty", "is empty"),
        ("text", "cannot be read as audio"),
        ("no samples", "holds 0 samples"),
        ("one sample", "holds 1 samples"),
        ("silent", "silent throughout"),
        ("nan", "NaN or infinite"),
        ("one infinite", "holds 1 samples of 16000 that are NaN or infinite"),
        ("corrupt", "cannot be read as audio"),
        ("truncated", "is truncated"),
        ("header only", "cannot be read as audio|truncated"),
    ],
)
def test_unusable_files_are_refused_by_name(tmp_path: Path, kind: str, complaint: str) -> None:
    path = broken_file(kind, tmp_path)
    with pytest.raises(AudioError, match=complaint) as error:
        read_audio(str(path), RATE)
    assert str(path) in str(error.value)


def test_the_reason_names_no_object_of_ours(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"cannot be read as audio \([^<]+\); it is") as error:
        read_audio(broken_file("text", tmp_path), RATE)
    assert "0x" not in str(error.value)


@pytest.mark.parametrize("seconds", [0.05, 1.0])
@pytest.mark.parametrize(("rate", "hertz"), [(192_000, 40_000.0), (44_100, 20_000.0)])
def test_a_clip_of_which_resampling_leaves_nothing_is_silent(
    tmp_path: Path, rate: int, hertz: float, seconds: float
) -> None:
    path = written(tmp_path / "a.wav", tone(rate, seconds, hertz), rate, subtype="PCM_24")
    assert len(read_audio(path, rate)) == int(rate * seconds)
    with pytest.raises(SilentClipError, match="a.wav is silent at 16000 Hz: .* above 8000 Hz"):
        read_audio(path, RATE)


def test_channels_that_cancel_but_for_rounding_are_silent(tmp_path: Path) -> None:
    steps = np.round(tone() * 32768).astype(np.int16)
    off_by_one = -steps + np.random.default_rng(0).integers(0, 2, len(steps), np.int16)
    path = tmp_path / "a.wav"
    sf.write(path, np.stack([steps, off_by_one], axis=1), RATE, subtype="PCM_16")
    with pytest.raises(SilentClipError, match="a.wav is silent throughout"):
        read_audio(path, RATE)


@pytest.mark.parametrize("rate", [RATE, 44_100])
def test_a_clip_of_a_few_steps_is_heard(tmp_path: Path, rate: int) -> None:
    quiet = tone(rate) * np.float32(8 * 2**-15)
    assert np.abs(read_audio(written(tmp_path / "a.wav", quiet, rate), RATE)).max() > 2**-15


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_half_a_file_is_called_truncated_in_every_format(tmp_path: Path, suffix: str) -> None:
    path = written(tmp_path / f"a.{suffix}", tone(seconds=3.0))
    read_audio(path, RATE)  # the whole file is fine
    data = path.read_bytes()
    with pytest.raises(AudioError, match="truncated|cannot be read"):
        decode_audio(data[: len(data) // 2], "half", RATE)


@pytest.mark.parametrize("kept", [4, 5, 6])
def test_an_ogg_file_cut_at_a_page_is_called_truncated(kept: int) -> None:
    """4 bytes are the page's capture pattern, the sixth byte its flags."""
    buffer = io.BytesIO()
    sf.write(buffer, tone(seconds=30.0), RATE, format="OGG")
    data = buffer.getvalue()
    pages = [found.start() for found in re.finditer(rb"OggS", data)]
    assert len(pages) > 3
    with pytest.raises(AudioError, match="cut is truncated"):
        decode_audio(data[: pages[-2] + kept], "cut", RATE)


def test_a_wav_stream_of_unknown_length_is_no_truncated_file() -> None:
    buffer = io.BytesIO()
    sf.write(buffer, tone(), RATE, format="WAV", subtype="PCM_16")
    data = bytearray(buffer.getvalue())
    data[4:8] = b"\xff\xff\xff\xff"
    data[40:44] = b"\xff\xff\xff\xff"
    assert len(decode_audio(bytes(data), "stream", RATE)) == RATE


@pytest.mark.parametrize(
    ("wave", "complaint"),
    [
        (np.zeros((2, 100), np.float32), "one axis"),
        (np.zeros(0, np.float32), "nothing to hear"),
        (np.zeros(100, np.float32), "silent"),
        (np.array([0.1, np.nan, 0.2], np.float32), "NaN"),
        (np.array([0.1, -20_000.0, 0.2], np.float32), "peak of 20000.*by 32768"),
    ],
)
def test_check_wave_names_the_clip(wave: np.ndarray, complaint: str) -> None:
    with pytest.raises(AudioError, match=f"my clip.*{complaint}"):
        check_wave(wave, "my clip")


@pytest.mark.parametrize("resampler", ["soxr", "windowed-sinc"])
def test_concatenated_channels_are_each_resampled_by_itself(
    tmp_path: Path, resampler: Resampler
) -> None:
    left, right = tone(), 0.5 * tone()[::-1]
    path = tmp_path / "stereo.wav"
    sf.write(path, np.stack([left, right], axis=1), RATE, subtype="FLOAT")
    np.testing.assert_allclose(
        read_audio(path, RATE, "concatenate"), [*left, *right], rtol=0, atol=1e-7
    )
    read = read_audio(path, 2 * RATE, "concatenate", resampler)
    alone = [resample(channel, RATE, 2 * RATE, resampler) for channel in (left, right)]
    np.testing.assert_allclose(read, np.concatenate(alone), rtol=0, atol=1e-6)
    assert len(read) == 2 * len(read_audio(path, 2 * RATE))


def test_channels_that_cancel_are_silent_when_mixed_only(tmp_path: Path) -> None:
    path = tmp_path / "opposite.wav"
    sf.write(path, np.stack([tone(), -tone()], axis=1), RATE, subtype="FLOAT")
    assert len(read_audio(path, RATE, "concatenate")) == 2 * len(tone())
    with pytest.raises(SilentClipError, match="silent throughout"):
        read_audio(path, RATE)
