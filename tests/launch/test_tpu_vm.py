"""TPU VM slices, with a stand-in for gcloud: asked for, installed, run, restarted, given back."""

import signal
import subprocess
import time

import pytest

from tests.launch.scripts import StandIns, environment, launch, start, words

SLICE = ("slice", "--type", "v5litepod-16", "--runtime", "v2-alpha-tpuv5-lite")
RUN = ("run", *SLICE, "--pause", "0", "--")

GCLOUD = """
case "$*" in
  *describe*)
    state=$(head -n 1 "$0.states")
    (($(wc -l < "$0.states") == 1)) || sed -i 1d "$0.states"
    [[ -n $state ]] || exit 1
    echo "$state" ;;
  *systemd-run*)
    status=$(head -n 1 "$0.ends"); sed -i 1d "$0.ends"; exit "${status:-0}" ;;
esac
"""


def cloud(programs: StandIns, states: list[str], ends: list[int]) -> None:
    """A gcloud that says one state after the other, the last one again and again ("" for a slice
    that is not there), and in which the job ends with one exit status after the other, then 0."""
    programs.add("gcloud", GCLOUD)
    programs.add("sleep")
    (programs.folder / "gcloud.states").write_text("".join(f"{state}\n" for state in states))
    (programs.folder / "gcloud.ends").write_text("".join(f"{status}\n" for status in ends))


def done(programs: StandIns) -> list[str]:
    """What gcloud was asked to do, in words, without the questions for the state."""
    words = {
        "'create'": "create",
        "'delete'": "delete",
        "'scp'": "copy",
        "uv venv": "install",
        "systemd-run": "run",
        "systemctl stop": "stop",  # which begins the two above as well
    }
    calls = [line for line in programs.calls("gcloud") if "'describe'" not in line]
    return [next(word for sign, word in words.items() if sign in line) for line in calls]


def test_a_dry_run_prints_the_commands_of_one_attempt(programs: StandIns) -> None:
    cloud(programs, ["ACTIVE"], [])
    options = (*SLICE, "--spot", "--dry-run", "--")
    shown = launch("tpu_vm.sh", "run", *options, "adiff", "train", programs=programs.folder)
    assert shown.returncode == 0
    assert not programs.calls()
    create, archive, copy, install, job = map(words, shown.stdout.splitlines())
    assert create == [
        *("gcloud", "compute", "tpus", "queued-resources", "create", "slice", "--node-id=slice"),
        *("--accelerator-type=v5litepod-16", "--runtime-version=v2-alpha-tpuv5-lite", "--spot"),
    ]
    assert archive[0] == "git" and archive[-1] == "HEAD"
    assert copy[:5] == ["gcloud", "compute", "tpus", "tpu-vm", "scp"]
    assert copy[-2:] == ["slice:adiff_jax.tar.gz", "--worker=all"]
    ssh = ["gcloud", "compute", "tpus", "tpu-vm", "ssh", "slice", "--worker=all"]
    assert install[:7] == job[:7] == ssh


def test_workers_run_the_command_as_it_was_given(programs: StandIns) -> None:
    command = ["adiff", "train", "a b", "it's", "$HOME", "--model.sdd.weight", "2"]
    shown = launch("tpu_vm.sh", "run", *SLICE, "--dry-run", "--", *command)
    job = words(shown.stdout.splitlines()[-1])[-1].removeprefix("--command=")
    home = programs.folder / "home"
    (home / "adiff_jax").mkdir(parents=True)
    programs.add("sudo")
    login = environment(programs.folder, HOME=str(home), USER="me")
    subprocess.run(["bash", "-c", job], cwd=home, env=login, check=True)
    stopped, started = programs.calls("sudo")
    assert stopped == "sudo 'systemctl' 'stop' 'adiff'"
    said = words(started)
    assert said[1:3] == ["systemd-run", "--unit=adiff"]
    assert said[said.index("env") + 1 :] == command
    assert "--uid=me" in said
    assert f"--working-directory={home}/adiff_jax" in said
    assert "--setenv=ADIFF_PROCESSES=auto" in said
    assert any(word.startswith(f"--setenv=PATH={home}/adiff_jax/.venv/bin:") for word in said)


def test_a_slice_is_asked_for_awaited_and_used(programs: StandIns) -> None:
    cloud(programs, ["", "WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE"], [])
    ended = launch("tpu_vm.sh", *RUN, "adiff", "train", programs=programs.folder)
    assert ended.returncode == 0, ended.stderr
    assert done(programs) == ["create", "copy", "install", "run"]
    assert "slice is WAITING_FOR_RESOURCES" in ended.stderr
    assert len(programs.calls("sleep '30'")) == 2


def test_a_crash_runs_the_command_again_on_the_same_slice(programs: StandIns) -> None:
    cloud(programs, ["ACTIVE"], [134, 255])
    ended = launch("tpu_vm.sh", *RUN, "adiff", "train", programs=programs.folder)
    assert ended.returncode == 0, ended.stderr
    assert done(programs) == ["copy", "install", "run"] * 3


def test_a_slice_that_was_taken_away_is_asked_for_anew(programs: StandIns) -> None:
    # Seen: before the job, after it was lost, before and after the slice was asked for anew.
    cloud(programs, ["ACTIVE", "SUSPENDED", "SUSPENDED", "ACTIVE"], [255])
    ended = launch("tpu_vm.sh", *RUN, "adiff", "train", programs=programs.folder)
    assert ended.returncode == 0, ended.stderr
    again = ["delete", "create", "copy", "install", "run"]
    assert done(programs) == ["copy", "install", "run", *again]


def test_a_job_that_saved_without_being_asked_from_here_goes_on(programs: StandIns) -> None:
    cloud(programs, ["ACTIVE"], [143])
    ended = launch("tpu_vm.sh", *RUN, "adiff", "train", programs=programs.folder)
    assert ended.returncode == 0, ended.stderr
    assert done(programs).count("run") == 2


def test_an_error_of_use_is_not_restarted(programs: StandIns) -> None:
    cloud(programs, ["ACTIVE"], [2])
    ended = launch("tpu_vm.sh", *RUN, "adiff", "train", programs=programs.folder)
    assert ended.returncode == 2
    assert done(programs) == ["copy", "install", "run"]


def test_restarts_are_bounded(programs: StandIns) -> None:
    cloud(programs, ["ACTIVE"], [1, 1, 1])
    options = ("run", *SLICE, "--pause", 0, "--restarts", 1, "--")
    ended = launch("tpu_vm.sh", *options, "adiff", "train", programs=programs.folder)
    assert ended.returncode == 1
    assert done(programs).count("run") == 2


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_has_the_workers_save_and_leave(programs: StandIns, sent: signal.Signals) -> None:
    cloud(programs, ["ACTIVE"], [])
    running, stopped = programs.folder / "running", programs.folder / "stopped"
    programs.add(
        "gcloud",
        f"""
case "$*" in
  *describe*) echo ACTIVE ;;
  *"uv venv"*) ;;
  *systemd-run*)
    touch {running}; until [[ -e {stopped} ]]; do /bin/sleep 0.05; done; exit 143 ;;
  *"systemctl stop"*) touch {stopped} ;;
esac""",
    )
    loop = start("tpu_vm.sh", *RUN, "adiff", "train", programs=str(programs.folder))
    deadline = time.monotonic() + 20
    while not running.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    loop.send_signal(sent)
    assert loop.wait(20) == 143
    assert done(programs) == ["copy", "install", "run", "stop"]


def test_down_gives_the_slice_back(programs: StandIns) -> None:
    cloud(programs, ["ACTIVE"], [])
    assert launch("tpu_vm.sh", "down", "slice", programs=programs.folder).returncode == 0
    assert programs.calls("gcloud") == [
        "gcloud 'compute' 'tpus' 'queued-resources' 'delete' 'slice' '--force' '--quiet'"
    ]


@pytest.mark.parametrize(
    "arguments", [("up", "slice"), ("run", "slice", "--", "adiff"), ("run", *SLICE), ("down",)]
)
def test_what_is_missing_is_said(arguments: tuple[str, ...]) -> None:
    refused = launch("tpu_vm.sh", *arguments)
    assert refused.returncode == 2
    assert len(refused.stderr.splitlines()) == 1
