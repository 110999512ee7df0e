"""What needs Java: where it is, what it lacks, and METEOR.

Nothing here is imported or started unless a metric asks for it.
"""

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any


@cache
def java_missing() -> str | None:
    """Why metrics written in Java cannot run here; None when they can."""
    if importlib.util.find_spec("pycocoevalcap") is None:
        return "pycocoevalcap is not installed (pip install 'adiff_jax[metrics]')"
    if shutil.which("java") is None:
        return "no `java` on the PATH (for example: apt install default-jre-headless)"
    try:
        java_version()
    except RuntimeError as error:
        return str(error)
    return None


@cache
def java_version() -> int:
    """Major version of the `java` on the PATH. Raises RuntimeError when it does not say."""
    done = subprocess.run(["java", "-version"], capture_output=True, text=True)
    found = re.search(r'version "(?:1\.)?(\d+)', done.stderr)
    if done.returncode != 0 or found is None:
        raise RuntimeError(f"`java -version` fails: {done.stderr.strip()[-200:]}")
    return int(found[1])


def package_directory() -> Path:
    """Where pycocoevalcap keeps its jars."""
    spec = importlib.util.find_spec("pycocoevalcap")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("pycocoevalcap is not installed (pip install 'adiff_jax[metrics]')")
    return Path(next(iter(spec.submodule_search_locations)))


def meteor(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """METEOR 1.5 of the corpus on tokenised sentences, through pycocoevalcap.

    The corpus score is computed from summed statistics; it is not the mean of sentence scores.
    Raises RuntimeError when the Java process ends early.
    """
    results = {place: [text] for place, text in enumerate(hypotheses)}
    truths = {place: list(texts) for place, texts in enumerate(references)}
    try:
        score, _ = _meteor_process().compute_score(truths, results)
    except (BrokenPipeError, ValueError) as error:
        _meteor_process.cache_clear()
        raise RuntimeError(f"METEOR's Java process ended early ({error})") from error
    return float(score)


@cache
def _meteor_process() -> Any:
    """One process for all systems that are scored: loading its paraphrases takes seconds."""
    from pycocoevalcap.meteor.meteor import Meteor

    return Meteor()
