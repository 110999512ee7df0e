"""Asking a server that misbehaves: what passes is waited out, what does not is named, the key stays
where it is."""

import json
import threading
import time
from email.utils import formatdate
from itertools import pairwise

import pytest

pytest.importorskip("openai", reason='the openai package is absent: pip install "adiff_jax[llm]"')

from adiff_jax.data.writing.answers import Answer, Failed, Refused, Unanswered, WritingError  # noqa: E402
from adiff_jax.data.writing.client import Chat, ChatWriter  # noqa: E402
from adiff_jax.data.writing.pace import Pace  # noqa: E402
from adiff_jax.data.writing.pairs import Pair  # noqa: E402
from adiff_jax.data.writing.prompts import read_prompts  # noqa: E402
from tests.data.writing.chat_server import GOOD, ChatServer, Reply, good  # noqa: E402

PAIR = Pair("000000", ("a.wav", "b.wav"), ("A dog barks", "Rain falls"))
KEY = "sk-very-secret-0123456789"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def writer(server: ChatServer, **settings) -> ChatWriter:
    settings = {"timeout": 5.0, "tries": 3, "backoff": 0.01} | settings
    return ChatWriter(Chat(server.endpoint, "toy", **settings), read_prompts())


def ask(server: ChatServer, **settings) -> Answer:
    return writer(server, **settings).write(PAIR, 1, None)


def first(*replies: Reply):
    """These replies, one after the other, then good ones."""
    return lambda n, request: replies[n] if n < len(replies) else good(n, request)


def status(code: int, said: str = "no", **more) -> Reply:
    body = json.dumps({"error": {"message": said, **more.pop("error", {})}})
    return Reply(status=code, body=body, **more)


def test_an_answer_comes_with_what_was_asked_of_whom_and_what_it_cost():
    with ChatServer() as server:
        answer = ask(server, body={"temperature": 0.25, "top_k": 3})
    (request,) = server.requests
    assert answer.text == GOOD[1]
    assert answer.messages == request["messages"]
    assert "A dog barks" in request["messages"][1]["content"]
    assert request["path"] == "/v1/chat/completions"
    assert (request["model"], request["temperature"], request["top_k"]) == ("toy", 0.25, 3)
    assert answer.usage == {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
    assert answer.record["model"] == "toy"
    assert answer.record["answered_by"] == "toy-2"
    assert server.keys == [f"Bearer {KEY}"]


def test_an_answer_of_wrong_form_is_shown_to_the_model_with_the_reason():
    with ChatServer() as server:
        writer(server).write(PAIR, 2, Failed("Sure!", "has 1 words"))
    roles = [message["role"] for message in server.requests[0]["messages"]]
    assert roles == ["system", "user", "assistant", "user"]
    assert server.requests[0]["messages"][2]["content"] == "Sure!"
    assert "it has 1 words" in server.requests[0]["messages"][3]["content"]


@pytest.mark.parametrize(
    "fault",
    [
        status(429),
        status(500),
        status(503, headers={"retry-after": "soon"}),
        status(408),
        Reply(drop=True),
        Reply(body="{broken"),
        Reply(body="<html>busy</html>", headers={"content-type": "text/html"}),
        Reply(body="[]"),
        Reply(body="null"),
        Reply(body='{"choices": []}'),
        Reply(body='{"choices": [{"message": null}]}'),
        Reply(body='{"choices": [{"message": {"content": 5}}]}'),
        Reply(body='{"error": "overloaded"}'),
        Reply(body="[" * 100_000),
    ],
    ids=lambda reply: f"{reply.status}-{str(reply.body)[:60]}",
)
def test_a_passing_fault_is_tried_again(fault: Reply):
    with ChatServer(first(fault, fault)) as server:
        assert ask(server).text == GOOD[1]
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (status(500, "on fire"), "failed: .*500.*on fire.*3 tries"),
        (status(429, "slow down"), "failed: .*429.*slow down.*3 tries"),
        (Reply(body="{broken"), "not JSON: '{broken'.*3 tries"),
        (Reply(drop=True), "could not be sent: .*3 tries"),
        (Reply("late", delay=0.4), "not answered within 0.1 s.*3 tries"),
    ],
)
def test_a_fault_that_stays_is_given_up_with_its_reason(fault: Reply, reason: str):
    with (
        ChatServer(lambda n, request: fault) as server,
        pytest.raises(Unanswered, match=reason),
    ):
        ask(server, timeout=0.1 if fault.delay else 5.0)
    assert len(server.requests) == 3


def test_each_wait_is_longer_than_the_one_before():
    fault = status(500)
    with ChatServer(first(fault, fault, fault)) as server:
        ask(server, tries=4, backoff=0.1)
    waits = [later - sooner for sooner, later in pairwise(server.times)]
    assert [wait >= least for wait, least in zip(waits, (0.05, 0.1, 0.2), strict=True)] == [
        True
    ] * 3


def test_a_request_that_is_too_slow_is_sent_again():
    with ChatServer(first(Reply("late", delay=0.6))) as server:
        assert ask(server, timeout=0.2).text == GOOD[1]


def test_nobody_listening_is_said():
    with ChatServer() as server:
        pass
    with pytest.raises(Unanswered, match="could not be sent: .*(refused|attempts failed).*3 tries"):
        ask(server)


@pytest.mark.parametrize("header", ["0.3", "date"])
def test_everybody_waits_as_long_as_the_server_asks(header: str):
    def behave(number: int, request: dict) -> Reply | str:
        if number:
            return good(number, request)
        after = formatdate(time.time() + 2, usegmt=True) if header == "date" else header
        return status(429, headers={"retry-after": after})

    with ChatServer(behave) as server:
        asking = writer(server)
        asking.write(PAIR, 1, None)
        begun = time.monotonic()
        asking.write(PAIR, 2, None)
        assert time.monotonic() - begun < 0.3
    waited = server.times[1] - server.times[0]
    assert 0.3 <= waited < 2.5  # a date has whole seconds
    assert waited >= 0.9 or header != "date"


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (status(401, "wrong key"), "refuses all requests: .*wrong key.*OPENAI_API_KEY"),
        (status(403, "not you"), "refuses all requests: .*not you"),
        (status(404, "no such model"), "refuses all requests: .*is there a model toy at http"),
        (status(429, error={"code": "insufficient_quota"}), "quota is used up"),
        (status(429, headers={"retry-after": "7200"}), "left alone for 7200 s"),
    ],
)
def test_what_no_waiting_mends_ends_the_work_at_once(fault: Reply, reason: str):
    with (
        ChatServer(lambda n, request: fault) as server,
        pytest.raises(WritingError, match=reason),
    ):
        ask(server)
    assert len(server.requests) == 1


def test_a_request_that_the_server_refuses_does_not_end_the_others():
    with ChatServer(first(status(400, "content policy"))) as server:
        asking = writer(server)
        with pytest.raises(Refused, match="was refused: .*content policy") as caught:
            asking.write(PAIR, 1, None)
        assert not isinstance(caught.value, Unanswered)
        assert asking.write(PAIR, 1, None).text == GOOD[1]


@pytest.mark.parametrize(
    ("reply", "fault"),
    [
        (Reply("Audio 1 has", finish="length"), "was cut off"),
        (Reply("", finish="content_filter"), "was withheld"),
        (
            Reply(body='{"choices": [{"message": {"content": null, "refusal": "I will not"}}]}'),
            "was refused by the model: I will not",
        ),
    ],
)
def test_what_the_server_says_about_an_answer_is_a_fault(reply: Reply, fault: str):
    with ChatServer(lambda n, request: reply) as server:
        assert fault in ask(server).fault


def test_what_cannot_be_sent_back_is_shown_as_far_as_it_can():
    with ChatServer() as server:
        writer(server).write(PAIR, 2, Failed("a dog \ud83d barks", "is no text"))
    assert server.requests[0]["messages"][2]["content"] == "a dog ? barks"


def test_a_reason_to_finish_that_is_no_text_is_none():
    said = '{"choices": [{"message": {"content": "x"}, "finish_reason": {"why": "not"}}]}'
    with ChatServer(lambda n, request: Reply(body=said)) as server:
        answer = ask(server)
    assert (answer.text, answer.fault, answer.record["finish"]) == ("x", "", "")


def test_an_empty_answer_is_an_answer_to_be_checked():
    with ChatServer(lambda n, request: Reply(None)) as server:
        assert ask(server).text == ""


@pytest.mark.parametrize(
    "reply",
    [
        Reply(f"Audio 1 says {KEY}."),
        Reply(body=json.dumps({"choices": [{"message": {"content": "x"}}], "usage": {KEY: KEY}})),
        Reply(body='{"choices": [{"message": {"content": "\\u0073k' + KEY[2:] + '"}}]}'),
    ],
)
def test_a_key_that_the_server_echoes_is_taken_out(reply: Reply):
    with ChatServer(lambda n, request: reply) as server:
        answer = ask(server)
    assert KEY not in repr(answer)


def test_a_key_in_an_error_is_taken_out():
    with ChatServer(lambda n, request: status(401, f"{KEY} is wrong")) as server:
        with pytest.raises(WritingError, match=r"\[key\] is wrong") as caught:
            ask(server)
    assert KEY not in str(caught.value)


def test_a_named_variable_must_hold_the_key(monkeypatch: pytest.MonkeyPatch):
    with ChatServer() as server:
        with pytest.raises(ValueError, match="the environment has no MY_KEY"):
            ask(server, key_variable="MY_KEY")
        monkeypatch.setenv("MY_KEY", "other")
        ask(server, key_variable="MY_KEY")
        monkeypatch.delenv("OPENAI_API_KEY")
        ask(server)  # a server of one's own may want none
    assert server.keys == ["Bearer other", "Bearer none"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"endpoint": "localhost:8000"}, "is no address"),
        ({"endpoint": "https://me:secret@host/v1"}, "leave them out, and put the key into"),
        ({"endpoint": "https://host/v1?key=1"}, "leave them out"),
        ({"endpoint": "https://host/v1/chat/completions"}, "leave out /chat/completions"),
        ({"body": {"model": "x", "n": 2}}, "the body sets model, n"),
        ({"timeout": 0.0}, "timeout is 0.0"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict, message: str):
    with pytest.raises(ValueError, match=message) as caught:
        Chat(**({"endpoint": "https://host/v1", "model": "toy"} | settings))
    assert "secret" not in str(caught.value)


def test_requests_are_spaced_whoever_sends_them():
    with ChatServer() as server:
        asking = writer(server, requests_per_minute=600.0)
        threads = [
            threading.Thread(target=asking.write, args=(PAIR, 1, None), daemon=True)
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(server.times) == 4
    assert max(server.times) - min(server.times) >= 0.25  # three gaps of 0.1 s, some of it travel


def test_a_pace_needs_requests():
    with pytest.raises(ValueError, match="requests per minute is 0.0"):
        Pace(0.0)


def test_who_waits_is_woken_by_the_end_of_the_work():
    pace = Pace()
    pace.hold(60.0)
    threading.Timer(0.05, pace.stop).start()
    begun = time.monotonic()
    with pytest.raises(WritingError, match="stopped"):
        pace.wait()
    assert time.monotonic() - begun < 5
