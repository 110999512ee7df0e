"""SPICE: installing its jars, saying what is missing, and reading its answer."""

import hashlib
import json
import subprocess
import zipfile

import numpy as np
import pytest

from adiff_jax.evaluate import spice as room
from adiff_jax.evaluate.java import java_missing, package_directory
from adiff_jax.evaluate.spice import (
    JARS,
    install,
    jar_directory,
    spice,
    spice_missing,
    try_out,
)

needs_java = pytest.mark.skipif(java_missing() is not None, reason=java_missing() or "")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ADIFF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(room, "java_missing", lambda: None)
    monkeypatch.setattr(room, "java_version", lambda: 8)


@pytest.fixture
def folder(tmp_path):
    """A folder with archives that hold the entries SPICE needs."""
    source = tmp_path / "jars"
    source.mkdir()
    for name, entries in JARS.items():
        with zipfile.ZipFile(source / name, "w") as jar:
            for entry in entries:
                jar.writestr(entry, "content of " + entry)
    return source


def test_spice_is_missing_until_installed_and_says_how(folder):
    assert "adiff metrics install" in spice_missing()
    with pytest.raises(RuntimeError, match="adiff metrics install"):
        spice(["a"], [["a"]])
    digests = install(folder)
    assert spice_missing() is None
    for name, digest in digests.items():
        content = (jar_directory() / name).read_bytes()
        assert content == (folder / name).read_bytes()
        assert digest == hashlib.sha256(content).hexdigest()


def test_a_jar_that_changed_after_installing_is_noticed(folder):
    install(folder)
    name = next(iter(JARS))
    (jar_directory() / name).write_bytes(b"cut short")
    assert name in spice_missing()


def spoil(folder, how):
    models = folder / "stanford-corenlp-3.6.0-models.jar"
    match how:
        case "absent":
            models.unlink()
        case "text":
            models.write_text("<html>not found</html>")
        case "other version":
            with zipfile.ZipFile(models, "w") as jar:
                jar.writestr("edu/stanford/nlp/other.class", "x")
        case "damaged":
            content = models.read_bytes()
            models.write_bytes(content.replace(b"content of", b"c0ntent of", 1))


@pytest.mark.parametrize(
    ("how", "error", "words"),
    [
        ("absent", FileNotFoundError, "models.jar does not exist"),
        ("text", ValueError, "not a jar archive"),
        ("other version", ValueError, "holds no edu/stanford/nlp/models"),
        ("damaged", ValueError, "fails its checksum"),
    ],
)
def test_a_bad_jar_is_refused_and_nothing_is_installed(folder, how, error, words):
    spoil(folder, how)
    with pytest.raises(error, match=words):
        install(folder)
    assert not list(jar_directory().iterdir())
    assert spice_missing() is not None


def test_a_download_is_checked_against_the_checksum_beside_it(folder, monkeypatch):
    monkeypatch.setattr(room, "CORENLP", folder.as_uri())
    for name in JARS:
        digest = hashlib.sha1((folder / name).read_bytes()).hexdigest()
        (folder / f"{name}.sha1").write_text(digest + "\n")
    assert set(install()) == set(JARS)
    assert spice_missing() is None
    (folder / f"{next(iter(JARS))}.sha1").write_text("0" * 40)
    with pytest.raises(ValueError, match="published SHA-1"):
        install()


def test_a_failed_download_says_what_to_do_instead(tmp_path, monkeypatch):
    monkeypatch.setattr(room, "CORENLP", (tmp_path / "nowhere").as_uri())
    with pytest.raises(ConnectionError, match="adiff metrics install --from FOLDER"):
        install()


def test_new_java_without_a_compiler_is_named_as_the_reason(folder, monkeypatch):
    install(folder)
    monkeypatch.setattr(room, "java_version", lambda: 17)
    monkeypatch.setattr(room, "_has_compiler", lambda: False)
    assert "Java 17 has no JavaScript engine" in spice_missing()


def test_scores_are_matched_by_their_number_and_must_be_complete(folder, monkeypatch):
    install(folder)
    answer = [{"image_id": i, "scores": {"All": {"f": f}}} for i, f in ((1, 0.5), (0, 0.25))]
    monkeypatch.setattr(room, "_run", lambda rows: answer)
    np.testing.assert_array_equal(spice(["a", "b"], [["a"], ["b"]]), [0.25, 0.5])
    with pytest.raises(RuntimeError, match="2 of 3"):
        spice(["a", "b", "c"], [["a"], ["b"], ["c"]])
    answer[0]["scores"]["All"]["f"] = None
    with pytest.raises(RuntimeError):
        spice(["a", "b"], [["a"], ["b"]])


def test_trying_says_why_no_sentence_is_scored(folder, monkeypatch):
    def out_of_memory(rows):
        raise RuntimeError("SPICE fails: OutOfMemoryError")

    assert "adiff metrics install" in try_out()
    install(folder)
    monkeypatch.setattr(room, "_run", out_of_memory)
    assert try_out() == "SPICE fails: OutOfMemoryError"
    monkeypatch.setattr(room, "_run", lambda rows: [{"image_id": 0, "scores": {"All": {"f": 0.5}}}])
    assert try_out() is None


@pytest.mark.parametrize(
    ("printed", "told"),
    [
        ('Exception in thread "main" java.lang.Error: x\n\tat A.b(A.java:3)\n', "thread.*Error: x"),
        ("Invalid maximum heap size\nCould not create it.\n", "Could not create it"),
        ("", "it printed nothing"),
    ],
)
def test_a_failure_is_told_in_one_line(folder, monkeypatch, printed, told):
    ended = subprocess.CompletedProcess([], 1, stdout="", stderr=printed)
    monkeypatch.setattr(room.subprocess, "run", lambda *_, **__: ended)
    monkeypatch.setattr(room, "package_directory", lambda: folder)
    with pytest.raises(RuntimeError, match=told) as caught:
        room._run([])
    assert "\n" not in str(caught.value)


@needs_java
def test_the_scorer_of_pycocoevalcap_answers_through_the_bridge(monkeypatch):
    # No sentences: the scorer loads and answers without the parser's models. The classes it links
    # against are in the older CoreNLP that pycocoevalcap ships.
    monkeypatch.setattr(room, "java_version", lambda: 17)
    monkeypatch.setattr(room, "JARS", {"stanford-corenlp-3.4.1.jar": ()})
    monkeypatch.setattr(room, "jar_directory", lambda: package_directory() / "tokenizer")
    if not room._has_compiler():
        pytest.skip("no Java compiler (a JRE, not a JDK)")
    assert room._run([]) == []
    with pytest.raises(RuntimeError, match="SPICE fails"):
        room._run([{"image_id": 0, "test": "a dog", "refs": ["a dog"]}])


def test_the_record_of_an_installation_is_plain_json(folder):
    install(folder)
    record = json.loads((jar_directory() / room.RECORD).read_text())
    for name in JARS:
        assert record[name]["bytes"] == (folder / name).stat().st_size
