"""One line for all processes: the worst counts, and who came to it is named."""

import pytest

from adiff_jax.doctor.finding import Finding, Verdict, beware, broken, merged, well


def test_a_line_says_how_bad_it_is_and_the_way_out_stands_below() -> None:
    assert str(well("port", "answers")) == "ok    port           answers"
    first, second = str(broken("port", "no answer", "open it")).splitlines()
    assert first.startswith("fail  port ") and second.strip() == "-> open it"


def test_only_what_is_not_well_has_a_way_out() -> None:
    for verdict, way_out in ((Verdict.OK, "none needed"), (Verdict.FAIL, "")):
        with pytest.raises(ValueError, match="way out"):
            Finding("port", verdict, "text", way_out)


def test_process_0_speaks_where_all_is_well() -> None:
    assert merged([well("disk", "9 GiB"), well("disk", "8 GiB")]) == well("disk", "9 GiB")


def test_the_worst_counts_and_names_its_processes() -> None:
    found = merged(
        [
            well("disk", "fine"),
            broken("disk", "full", "make room"),
            beware("disk", "slow", "wait"),
            broken("disk", "full", "make room"),
            broken("disk", "gone", "mount it"),
        ]
    )
    text = "processes 1, 3: full; process 4: gone"
    assert found == broken("disk", text, "make room; mount it")


def test_what_all_say_is_said_once() -> None:
    full = broken("disk", "full", "make room")
    assert merged([full, full]) == full


def test_of_many_processes_the_first_are_named() -> None:
    found = merged([well("disk", "fine"), *[broken("disk", "full", "make room")] * 99])
    assert found.text == "processes 1, 2, 3, 4, 5, 6, 7, 8, ...: full"
