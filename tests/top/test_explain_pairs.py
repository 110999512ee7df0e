"""`adiff data explain-pairs` as it is typed: what is written, printed, refused, gone on with."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from adiff_jax import cli
from tests.data.writing.chat_server import ChatServer, Reply, good

KEY = "sk-very-secret-0123456789"
CAPTIONS = "file,caption\na.wav,A dog barks\nb.wav,Rain falls\nc.wav,A man speaks\n"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def captions(tmp_path: Path) -> Path:
    path = tmp_path / "clips.csv"
    path.write_text(CAPTIONS)
    return path


def exits(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        cli.main(["data", "explain-pairs", *map(str, arguments)])
    assert isinstance(caught.value.code, int)
    return caught.value.code


def chat(server: ChatServer, *more: object) -> list[object]:
    pytest.importorskip("openai", reason='no openai package: pip install "adiff_jax[llm]"')
    return ["--endpoint", server.endpoint, "--model", "toy", *more]


def test_the_template_writes_offline(
    captions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "out"
    assert exits(captions, out, "--template", "--folder", "sounds", "--name", "mine") == 0
    said = capsys.readouterr()
    assert "3 of 3 pairs with all three tiers" in said.out
    assert "9/9" in said.err
    rows = (out / "mine_adiff_fewwords_answer.csv").read_text().splitlines()
    assert rows[0] == "taskname,filepath1,filepath2,caption1,caption2,input,answer"
    assert rows[1].startswith("mine,sounds/a.wav,sounds/")
    assert len(rows) == 4


def test_a_model_is_asked_for_every_tier_and_the_key_is_written_nowhere(
    captions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "out"
    echo = Reply(f"My key is {KEY}.", headers={"x-key": KEY})
    with ChatServer(lambda n, request: good(n, request) if n else echo) as server:
        body = '{"temperature": 0.5}'
        assert exits(captions, out, *chat(server, "--body", body, "--parallel", 3)) == 0
    assert len(server.requests) == 10
    assert {request["temperature"] for request in server.requests} == {0.5}
    assert set(server.keys) == {f"Bearer {KEY}"}
    said = capsys.readouterr()
    assert "3 of 3 pairs" in said.out
    files = list(out.iterdir())
    assert len(files) == 5
    for text in [said.out, said.err, *(path.read_text() for path in files)]:
        assert KEY not in text
    assert json.loads((out / "about.json").read_text())["model"] == "toy"


def test_missing_pairs_are_said_and_exit_with_1(
    captions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "out"

    def about_dogs(number: int, request: dict) -> str:
        dogs = "Audio 1: A dog barks" in request["messages"][1]["content"]
        return "No." if dogs else good(number, request)

    with ChatServer(about_dogs) as server:
        asked = chat(server, "--attempts", 2)
        assert exits(captions, out, *asked) == 1
        said = capsys.readouterr().out
        assert "2 of 3 pairs with all three tiers" in said
        assert "1 pairs are missing from the tables: 3 texts were refused" in said
        assert len((out / "refused.jsonl").read_text().splitlines()) == 3
        server.requests.clear()
        assert exits(captions, out, *asked) == 1
        assert len(server.requests) == 6  # only what is missing, twice each


def test_a_limit_is_for_trying_out(captions: Path, tmp_path: Path):
    with ChatServer() as server:
        asked = chat(server)
        assert exits(captions, tmp_path / "out", *asked, "--limit", 1) == 0
        assert len(server.requests) == 3
        assert exits(captions, tmp_path / "out", *asked) == 0
        assert len(server.requests) == 9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "say who writes: --endpoint URL and --model NAME, or --template"),
        (["--endpoint", "http://x/v1"], "say who writes"),
        (["--template", "--model", "x", "--api-key-env", "K"], "leave out --model, --api-key-env"),
        (["--template", "--limit", "0"], "--limit is 0"),
        (["--template", "--parallel", "2", "--timeout", "5"], "leave out --parallel, --timeout"),
        (["--template", "--name", "../x"], "--name is '../x': it is a part of file names, no path"),
        (["--template", "--seed", "-1"], "--seed is -1"),
        (["--template", "--prompts", "absent.toml"], "leave out --prompts"),
        (["--endpoint", "http://x/v1", "--model", "m", "--prompts", "absent.toml"], "absent.toml"),
        (["--endpoint", "http://x/v1", "--model", "m", "--api-key-env", "NO_KEY"], "no NO_KEY"),
    ],
)
def test_a_mistake_is_one_sentence(
    captions: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
):
    if "NO_KEY" in arguments:
        pytest.importorskip("openai", reason='no openai package: pip install "adiff_jax[llm]"')
    assert exits(captions, tmp_path / "out", *arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("adiff data: ")
    assert message in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "change", [["--seed", "1"], ["--model", "other"], ["--body", '{"top_p": 1}'], "prompts"]
)
def test_other_settings_are_refused_in_the_same_folder(
    captions: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: list[str] | str,
):
    from adiff_jax.data.writing.prompts import SHIPPED

    if isinstance(change, str):
        mine = tmp_path / "mine.toml"
        mine.write_text(SHIPPED.read_text().replace("plain English", "plain words"))
        change = ["--prompts", str(mine)]
    with ChatServer() as server:
        assert exits(captions, tmp_path / "out", *chat(server)) == 0
        assert exits(captions, tmp_path / "out", *chat(server, *change)) == 2
    assert "was begun with other" in capsys.readouterr().err
    assert len(server.requests) == 9


def test_without_the_package_the_way_out_is_named(
    captions: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setitem(sys.modules, "openai", None)
    assert exits(captions, tmp_path / "out", "--endpoint", "http://x/v1", "--model", "m") == 2
    assert 'pip install "adiff_jax[llm]", or use --template' in capsys.readouterr().err


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_killed_goes_on_with_what_is_missing(
    captions: Path, tmp_path: Path, how: signal.Signals
):
    """Killed while the fifth answer is on its way; an interrupt waits for it, and keeps it."""
    fifth, go_on = threading.Event(), threading.Event()

    def behave(number: int, request: dict) -> str:
        if number == 4:
            fifth.set()
            go_on.wait(30)
        return good(number, request)

    with ChatServer(behave) as server:
        asked = [str(word) for word in chat(server, "--parallel", 1)]
        command = ["data", "explain-pairs", str(captions), str(tmp_path / "out"), *asked]
        process = subprocess.Popen(
            [sys.executable, "-c", "from adiff_jax.cli import main; main()", *command],
            env={**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[1])},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # a shell that runs the tests in the background has its children ignore interrupts
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        assert fifth.wait(60)
        process.send_signal(how)
        if how == signal.SIGKILL:
            process.wait(30)
        go_on.set()
        assert process.wait(30) == (-9 if how == signal.SIGKILL else 130)
        assert not list((tmp_path / "out").glob("*.csv"))
        kept = len((tmp_path / "out" / "answers.jsonl").read_text().splitlines())
        assert kept == (4 if how == signal.SIGKILL else 5)
        before = len(server.requests)
        assert exits(*command[2:]) == 0
        assert len(server.requests) - before == 9 - kept
