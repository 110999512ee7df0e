"""Waits that are too long are named once; all others are left alone."""

import subprocess
import sys
import threading
import time

from adiff_jax.train.watchdog import EXIT_CODE, Watchdog


def test_a_wait_that_is_too_long_is_named_once() -> None:
    told: list[str] = []
    heard = threading.Event()

    def end(text: str) -> None:
        told.append(text)
        heard.set()

    with Watchdog(0.05, end) as watchdog:
        for step in range(3):
            with watchdog.watching(f"the batch of step {step}"):
                pass
        with watchdog.watching("the batch of step 3"):
            assert heard.wait(10)
            time.sleep(0.15)
    assert told == ["the batch of step 3 has not come within 0.05 s"]


def test_what_lies_between_the_waits_may_take_any_time() -> None:
    told: list[str] = []
    with Watchdog(0.05, told.append) as watchdog:
        time.sleep(0.1)
        with watchdog.watching("nothing"):
            pass
        time.sleep(0.1)
    assert told == []


def test_without_a_bound_nothing_is_watched() -> None:
    told: list[str] = []
    before = threading.active_count()
    with Watchdog(0.0, told.append) as watchdog:
        assert threading.active_count() == before
        with watchdog.watching("anything"):
            time.sleep(0.05)
    assert told == []


def test_the_process_ends_and_shows_where_its_threads_stood() -> None:
    program = (
        "import time\n"
        "from adiff_jax.train.watchdog import Watchdog\n"
        "def reading_a_dead_disk(): time.sleep(60)\n"
        "with Watchdog(0.2) as watchdog, watchdog.watching('the batch of step 7'):\n"
        "    reading_a_dead_disk()\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert found.returncode == EXIT_CODE
    assert "reading_a_dead_disk" in found.stderr
    assert "process 0 of 1 ends: the batch of step 7 has not come within 0.2 s" in found.stderr
