"""What surrounds the package agrees with itself: metadata, pins, make targets, README, CI."""

import ast
import os
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import adiff_jax

REPOSITORY = Path(__file__).parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
REQUIREMENTS = [*PROJECT["dependencies"], *(r for extra in EXTRAS.values() for r in extra)]


def canonical(requirement: str) -> str:
    """ "tensorboardx" of "tensorboardX>=2.6,<3"; names differ in case, dot and underscore only."""
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert name, requirement
    return re.sub(r"[-_.]+", "-", name[0]).lower()


def pins() -> dict[str, str]:
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    pinned = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonical(name): version for name, version in pinned}


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))


def test_every_dependency_is_pinned() -> None:
    for requirement in REQUIREMENTS:
        name = canonical(requirement)
        assert name in pins() or name == "adiff-jax" or "==" in requirement, requirement


def test_constraints_hold_versions_and_nothing_of_a_machine() -> None:
    for line in (REPOSITORY / "constraints.txt").read_text().splitlines():
        assert line.startswith("#") or re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9a-z.]*", line), line


def test_every_dependency_is_bounded_from_both_sides() -> None:
    for requirement in REQUIREMENTS:
        bounded = "==" in requirement or (">=" in requirement and "<" in requirement)
        refers = canonical(requirement) in {"adiff-jax", "jax"} and "[" in requirement
        assert bounded or refers, requirement


def test_torch_has_one_version_everywhere() -> None:
    named = {requirement for requirement in REQUIREMENTS if canonical(requirement) == "torch"}
    assert named == {f"torch=={pins()['torch']}"}


def test_the_extras_are_those_that_the_documents_promise() -> None:
    users = {"tpu", "cuda", "aot", "convert", "gcs", "llm", "metrics", "words"}
    assert set(EXTRAS) == users | {"test", "dev"}


def imported_packages(folder: str) -> set[str]:
    """Top-level third-party packages imported anywhere in the files of a folder."""
    found = set()
    for path in (REPOSITORY / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(), str(path))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.split(".")[0])
    return found - sys.stdlib_module_names - {"adiff_jax", "tests"}


OPTIONAL = {"wandb", "tensorflow", "apache_beam"}
"""Used if the user has installed them; no extra of ours brings them."""


def test_every_imported_package_is_a_declared_dependency() -> None:
    distributions = packages_distributions()
    declared = {canonical(requirement) for requirement in REQUIREMENTS}
    for package in imported_packages("adiff_jax") | imported_packages("tests"):
        names = {canonical(name) for name in distributions.get(package, [package])}
        assert package in OPTIONAL or names & declared, f"{package} is not in pyproject.toml"


def test_every_direct_dependency_is_imported_or_a_tool() -> None:
    distributions = packages_distributions()
    imported = imported_packages("adiff_jax") | imported_packages("tests")
    used = {canonical(name) for package in imported for name in distributions.get(package, [])}
    unused = {canonical(r) for r in PROJECT["dependencies"]} - used
    assert unused <= {"array-record"}, unused  # tensorflow-datasets opens it by file format


def test_every_direct_dependency_is_explained() -> None:
    text = (REPOSITORY / "docs" / "dependencies.md").read_text()
    explained = {canonical(name) for name in re.findall(r"^\| `([^`]+)`", text, re.MULTILINE)}
    assert {canonical(r) for r in REQUIREMENTS} - {"adiff-jax"} <= explained


def test_one_version() -> None:
    assert "version" in PROJECT["dynamic"]
    changelog = (REPOSITORY / "CHANGELOG.md").read_text()
    assert re.fullmatch(r"\d+\.\d+\.\d+", adiff_jax.__version__)
    released = re.findall(r"^## \[(\d+\.\d+\.\d+)\]", changelog, re.MULTILINE)
    assert "## [Unreleased]" in changelog
    assert not released or released[0] <= adiff_jax.__version__


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_the_make_commands_of_a_document_exist(document: str) -> None:
    named = set(re.findall(r"\bmake ([a-z-]+)\b", (REPOSITORY / document).read_text()))
    assert named and named <= make_targets(), named - make_targets()


def test_readme_begins_with_the_two_commands() -> None:
    commands = re.search(r"```[a-z]*\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL)
    assert commands
    lines = [line.split("#")[0].strip() for line in commands[1].splitlines()]
    assert lines[-2:] == ["make demo", "make test"]


@pytest.mark.parametrize(
    "document",
    [
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        *sorted(path.name for path in (REPOSITORY / "docs").glob("*.md")),
    ],
)
def test_links_between_documents_lead_somewhere(document: str) -> None:
    path = REPOSITORY / document
    path = path if path.exists() else REPOSITORY / "docs" / document
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text()):
        assert link.startswith("http") or (path.parent / link).exists(), f"{document}: {link}"


def test_ci_runs_the_make_target() -> None:
    path = REPOSITORY / ".ci" / "run"
    assert os.access(path, os.X_OK)
    text = path.read_text()
    assert "\nmake test\n" in text
    assert "set -euo pipefail" in text
    workflow = (REPOSITORY / ".github" / "workflows" / "test.yml").read_text()
    assert set(re.findall(r"run: make ([a-z-]+)", workflow)) <= make_targets()
    assert "run: .ci/run" in workflow
