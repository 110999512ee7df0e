"""SPICE (Anderson et al. 2016), when the parser it needs has been installed.

pycocoevalcap ships SPICE itself but not Stanford CoreNLP 3.6.0 and its models, which it would
download into its own package in the middle of an evaluation. Here `install` puts the two jars into
the user's cache once, and evaluation never touches the network: it scores, or it says what is
missing. SPICE writes its result through the JavaScript engine that Java lost in version 15; on
newer Java a few lines of Java, compiled as they are run, read the result from the scorer instead.
"""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from adiff_jax.evaluate.java import java_missing, java_version, package_directory

CORENLP = "https://repo1.maven.org/maven2/edu/stanford/nlp/stanford-corenlp/3.6.0"

JARS = {
    "stanford-corenlp-3.6.0.jar": (
        "edu/stanford/nlp/pipeline/StanfordCoreNLP.class",
        "edu/stanford/nlp/trees/UniversalEnglishGrammaticalRelations.class",
    ),
    "stanford-corenlp-3.6.0-models.jar": (
        "edu/stanford/nlp/models/lexparser/englishPCFG.ser.gz",
        "edu/stanford/nlp/models/ner/english.all.3class.distsim.crf.ser.gz",
    ),
}
"""The two files and entries that SPICE reads from them. We know no SHA-256 of them from their
publisher: a file is accepted when it is a sound archive that holds these entries (a download also
when it has the SHA-1 published beside it), and its SHA-256 is recorded."""

RECORD = "corenlp-3.6.0.json"
LAST_JAVA_WITH_JAVASCRIPT = 14

# SpiceScorer and its arguments are visible in their own package only, hence the reflection.
_BRIDGE = """
import java.lang.reflect.Constructor;
import java.nio.file.Files;
import java.nio.file.Paths;

public class Bridge {
  public static void main(String[] files) throws Exception {
    Class<?> argumentsClass = Class.forName("edu.anu.spice.SpiceArguments");
    Constructor<?> makeArguments = argumentsClass.getDeclaredConstructor(String[].class);
    Constructor<?> makeScorer =
        Class.forName("edu.anu.spice.SpiceScorer").getDeclaredConstructor();
    makeArguments.setAccessible(true);
    makeScorer.setAccessible(true);
    Object scorer = makeScorer.newInstance();
    Object arguments =
        makeArguments.newInstance((Object) new String[] {files[0], "-silent"});
    scorer.getClass().getMethod("scoreBatch", argumentsClass).invoke(scorer, arguments);
    Object stats = scorer.getClass().getField("stats").get(scorer);
    String json = (String) stats.getClass().getMethod("toJSONString").invoke(stats);
    Files.write(Paths.get(files[1]), json.getBytes("UTF-8"));
  }
}
"""


def cache_directory() -> Path:
    """ADIFF_CACHE, or ~/.cache/adiff_jax."""
    given = os.environ.get("ADIFF_CACHE")
    return Path(given) if given else Path.home() / ".cache" / "adiff_jax"


def jar_directory() -> Path:
    """Where `install` puts the jars."""
    return cache_directory() / "metrics"


def spice_missing() -> str | None:
    """Why SPICE cannot run here; None when it can."""
    reason = java_missing()
    if reason is not None:
        return reason
    record = jar_directory() / RECORD
    if not record.is_file():
        return "CoreNLP 3.6.0 is not installed: run `adiff metrics install`"
    for name, facts in json.loads(record.read_text()).items():
        jar = jar_directory() / name
        if not jar.is_file() or jar.stat().st_size != facts["bytes"]:
            return f"{jar} is gone or has changed: run `adiff metrics install` again"
    if java_version() > LAST_JAVA_WITH_JAVASCRIPT and not _has_compiler():
        return (
            f"Java {java_version()} has no JavaScript engine, which SPICE writes through, and no "
            "compiler to do without: install a JDK instead of a JRE, or a Java up to 14"
        )
    return None


def install(source: Path | None = None) -> dict[str, str]:
    """Put the CoreNLP jars into the cache, from the folder `source` or from Maven Central.

    Returns the SHA-256 of each jar by name. Raises FileNotFoundError when `source` lacks a jar,
    ConnectionError when a download fails, ValueError when a file is not what it should be. The
    cache changes only once both files have been checked.
    """
    target = jar_directory()
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target, prefix="installing-") as folder:
        sizes, digests = {}, {}
        for name, entries in JARS.items():
            jar = Path(folder) / name
            if source is None:
                _download(name, jar)
            elif (source / name).is_file():
                shutil.copyfile(source / name, jar)
            else:
                raise FileNotFoundError(
                    f"{source / name} does not exist; the folder must hold {' and '.join(JARS)}"
                )
            _check_archive(jar, entries)
            sizes[name], digests[name] = jar.stat().st_size, _digest(jar, "sha256")
        for name in JARS:
            (Path(folder) / name).replace(target / name)
        record = Path(folder) / RECORD
        facts = {name: {"bytes": sizes[name], "sha256": digests[name]} for name in JARS}
        record.write_text(json.dumps(facts, indent=2) + "\n")
        record.replace(target / RECORD)
    return digests


def try_out() -> str | None:
    """Why SPICE does not score a sentence here, having tried; None when it does."""
    reason = spice_missing()
    if reason is None:
        try:
            spice(["a dog barks loudly"], [["a dog is barking"]])
        except (RuntimeError, OSError) as error:
            return str(error)
    return reason


def spice(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> np.ndarray:
    """SPICE F-score of each sentence, [n]; the corpus score is their mean.

    Raises RuntimeError, with one sentence, when SPICE cannot run or fails.
    """
    reason = spice_missing()
    if reason is not None:
        raise RuntimeError(f"SPICE: {reason}")
    rows = [
        {"image_id": place, "test": text, "refs": list(texts)}
        for place, (text, texts) in enumerate(zip(hypotheses, references, strict=True))
    ]
    scored = _run(rows)
    scores = {row["image_id"]: row["scores"]["All"]["f"] for row in scored}
    if sorted(scores) != list(range(len(rows))) or None in scores.values():
        raise RuntimeError(f"SPICE scored {len(scores)} of {len(rows)} sentences")
    return np.array([scores[place] for place in range(len(rows))], np.float64)


def _run(rows: list[dict]) -> list[dict]:
    """What the SPICE program answers to `rows`."""
    jars = [package_directory() / "spice" / "spice-1.0.jar"]  # It names its other jars itself.
    jars += [jar_directory() / name for name in JARS]
    with tempfile.TemporaryDirectory() as folder:
        asked, answered = Path(folder) / "asked.json", Path(folder) / "answered.json"
        asked.write_text(json.dumps(rows))
        command = [
            "java",
            "-Xmx8G",
            "-Dfile.encoding=UTF-8",
            "-cp",
            os.pathsep.join(map(str, jars)),
        ]
        if java_version() > LAST_JAVA_WITH_JAVASCRIPT:
            bridge = Path(folder) / "Bridge.java"
            bridge.write_text(_BRIDGE)
            command += [str(bridge), str(asked), str(answered)]
        else:
            command += ["edu.anu.spice.SpiceScorer", str(asked), "-out", str(answered), "-silent"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0 or not answered.is_file():
            raise RuntimeError(f"SPICE fails (exit {done.returncode}): {_telling(done.stderr)}")
        return json.loads(answered.read_text())


def _telling(errors: str) -> str:
    """The line of what Java printed that names the error; the last one when none does."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    named = [line for line in lines if "Error" in line or "Exception" in line]
    return (named or lines[-1:] or ["it printed nothing"])[0][:300]


def _has_compiler() -> bool:
    done = subprocess.run(["java", "--list-modules"], capture_output=True, text=True)
    return "jdk.compiler@" in done.stdout


def _download(name: str, jar: Path) -> None:
    """Fetch one jar, and compare it with the SHA-1 that is published beside it."""
    url = f"{CORENLP}/{name}"
    try:
        with urllib.request.urlopen(f"{url}.sha1", timeout=60) as answer:
            published = answer.read().decode().split()[0]
        with urllib.request.urlopen(url, timeout=60) as answer, jar.open("wb") as file:
            shutil.copyfileobj(answer, file, 1 << 20)
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise ConnectionError(
            f"cannot download {url} ({error}); fetch {' and '.join(JARS)} elsewhere (they are also "
            "in stanford-corenlp-full-2015-12-09.zip of nlp.stanford.edu/software) and run "
            "`adiff metrics install --from FOLDER`"
        ) from error
    if _digest(jar, "sha1") != published:
        raise ValueError(f"{url}: the download does not have the published SHA-1 {published}")


def _check_archive(jar: Path, entries: Sequence[str]) -> None:
    try:
        with zipfile.ZipFile(jar) as archive:
            broken, held = archive.testzip(), set(archive.namelist())
    except zipfile.BadZipFile as error:
        raise ValueError(f"{jar.name} is not a jar archive ({error})") from error
    if broken is not None:
        raise ValueError(f"{jar.name} is damaged: its entry {broken} fails its checksum")
    for entry in entries:
        if entry not in held:
            raise ValueError(f"{jar.name} holds no {entry}: it is not the one of CoreNLP 3.6.0")


def _digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()
