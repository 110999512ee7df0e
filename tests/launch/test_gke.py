"""XPK's command line, with a stand-in for XPK."""

import subprocess

from tests.launch.scripts import StandIns, launch, words

WHERE = ("--cluster", "pods", "--image", "registry/adiff:tpu", "--type", "v5litepod-16")


def test_xpk_is_asked_for_a_workload(programs: StandIns) -> None:
    programs.add("xpk", "exit 3")
    options = ("run-1", *WHERE, "--slices", 2, "--restarts", 7, "--")
    ended = launch("gke.sh", *options, "adiff", "train", programs=programs.folder)
    assert ended.returncode == 3
    (call,) = programs.calls("xpk")
    assert words(call) == [
        *("xpk", "workload", "create", "--workload=run-1", "--cluster=pods"),
        *("--docker-image=registry/adiff:tpu", "--tpu-type=v5litepod-16", "--num-slices=2"),
        *("--max-restarts=7", "--restart-on-exit-codes=1,3-125"),
        *("--termination-grace-period-seconds=300", "--command=exec adiff train"),
    ]


def test_pods_run_the_command_as_it_was_given(programs: StandIns) -> None:
    given = ["a b", "it's", "$HOME", "--model.sdd.weight", "2"]
    shown = launch("gke.sh", "run-1", *WHERE, "--dry-run", "--", "printf", "%s\\n", *given)
    assert not programs.calls()
    command = words(shown.stdout)[-1].removeprefix("--command=")
    # XPK puts it between brackets, in a bash of its own.
    said = subprocess.run(
        ["bash", "-c", f"({command}) & wait $!"], capture_output=True, text=True, check=True
    )
    assert said.stdout.splitlines() == given


def test_what_is_missing_is_said() -> None:
    for arguments in (["run-1", "--", "adiff"], ["run-1", *WHERE], [*WHERE, "--", "adiff"]):
        refused = launch("gke.sh", *arguments)
        assert refused.returncode == 2
        assert len(refused.stderr.splitlines()) == 1
