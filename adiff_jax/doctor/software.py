"""Installed versions against the ranges of pyproject.toml, and what is optional."""

import importlib.metadata
import importlib.util
import platform

from packaging.requirements import Requirement

from adiff_jax.doctor.finding import Finding, beware, broken, well
from adiff_jax.evaluate.java import java_missing
from adiff_jax.experiment import Experiment

_SHOWN = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")

OPTIONAL = {
    "pycocoevalcap": "metrics",
    "torch": "convert",
    "gensim": "words",
    "openai": "llm",
    "libtpu": "aot",
}
"""Modules that only some commands need, and the extra that brings each."""


def versions() -> Finding:
    """Every requirement of the package, extras that are installed too, in its range."""
    wrong, absent = [], []
    for line in importlib.metadata.requires("adiff_jax") or ():
        requirement = Requirement(line)
        optional = requirement.marker is not None and not requirement.marker.evaluate({"extra": ""})
        found = version(requirement.name)
        if found == "" and not optional:
            absent.append(requirement.name)
        elif found and not requirement.specifier.contains(found, prereleases=True):
            wrong.append(f"{requirement.name} {found} is not {requirement.specifier}")
    if wrong or absent:
        missing = [f"{name} is not installed" for name in absent]
        return broken(
            "versions",
            "; ".join(dict.fromkeys([*missing, *wrong])),
            'pip install -c constraints.txt -e ".", with the extra of your accelerator',
        )
    shown = [f"{name} {version(name)}" for name in ("adiff_jax", *_SHOWN)]
    return well("versions", ", ".join([*shown, f"Python {platform.python_version()}"]))


def version(package: str) -> str:
    """The installed version, "" where there is none."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def extras(experiment: Experiment | None) -> Finding:
    """What is optional and there; broken when the experiment needs one that is not."""
    there = {name: importlib.util.find_spec(name) is not None for name in (*OPTIONAL, "wandb")}
    if experiment is not None:
        if experiment.word_vectors is not None and not there["gensim"]:
            return broken(
                "extras",
                "word_vectors is set, but gensim is not installed",
                "pip install 'adiff_jax[words]', or leave word_vectors out",
            )
        if experiment.train.wandb_project and not there["wandb"]:
            return broken(
                "extras",
                f"train.wandb_project is {experiment.train.wandb_project!r}, but wandb is not "
                "installed",
                "pip install wandb, or leave train.wandb_project empty",
            )
    java = java_missing()
    found = [name for name, is_there in there.items() if is_there]
    text = f"found: {', '.join([*found, *([] if java else ['java'])]) or 'none'}"
    absent = [f"{name} ([{extra}])" for name, extra in OPTIONAL.items() if not there[name]]
    if absent:
        text += f"; not needed by training and not found: {', '.join(absent)}"
    if there["pycocoevalcap"] and java:
        return beware("extras", f"{text}; no METEOR and no SPICE: {java}", "install a Java (17)")
    return well("extras", text)
