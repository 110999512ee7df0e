"""The way out of a barrier, in one process; tests/jobs/test_buckets.py has several."""

import threading
from collections.abc import Callable

import pytest

from adiff_jax.checkpoint import together
from adiff_jax.checkpoint.together import Gate, first_word


def in_background(function: Callable[[], object]) -> list[BaseException]:
    """What a thread of its own raises."""
    found: list[BaseException] = []

    def run() -> None:
        try:
            function()
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found


@pytest.fixture
def met(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Keys of the barriers that this process came to; nobody waits there."""
    keys: list[str] = []
    monkeypatch.setattr(together, "_meet", lambda key, timeout_ms: keys.append(key))
    return keys


def test_a_barrier_that_all_came_to_only_to_end_commits_nothing(
    monkeypatch: pytest.MonkeyPatch, met: list[str]
) -> None:
    gate = Gate()

    def wakes_late(futures: tuple[object, ...], return_when: str) -> None:
        gate._give_up()

    monkeypatch.setattr(together, "wait", wakes_late)
    (error,) = in_background(lambda: gate(key="0_async_write_complete.8", timeout_ms=1))
    assert "given up" in str(error)
    assert not gate.failed


def test_a_process_that_skipped_the_commit_has_failed_and_keeps_its_own_reason(
    met: list[str],
) -> None:
    gate = Gate()
    for key in ("0_async_write_complete.4", "0_async_commit_complete.4", "0_value_start"):
        assert in_background(lambda key=key: gate(key=key, timeout_ms=1)) == []
    assert not gate.failed
    gate._committed = False  # the next save
    assert in_background(lambda: gate(key="0_value_start", timeout_ms=1)) == []
    assert gate.failed


def test_only_barriers_that_this_process_has_not_begun_are_met(
    monkeypatch: pytest.MonkeyPatch, met: list[str]
) -> None:
    gate = Gate()
    for _ in range(2):
        gate(key="a", timeout_ms=1)
    met.clear()
    monkeypatch.setattr(together, "_texts", lambda mine: ["a#2 b#1", "", "a#3"])
    gate._give_up()
    assert met == ["a", "b"]
    with pytest.raises(RuntimeError, match="given up"):
        gate(key="c", timeout_ms=1)
    assert met == ["a", "b"]


def test_alone_the_word_is_ones_own() -> None:
    assert first_word("disk full") == "disk full"
    assert first_word("") == ""
