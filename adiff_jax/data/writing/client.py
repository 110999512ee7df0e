"""Explanations asked of a text model, over any endpoint that speaks OpenAI's chat protocol.

The `openai` package does the talking; what to do about a server that is slow, busy, broken or
unwilling is decided here, so that every wait counts for all threads and every failure has a name.
The key is read from the environment, and taken out of whatever a server sends back.
"""

import json
import os
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from adiff_jax.data.writing.answers import Answer, Failed, Refused, Unanswered, WritingError
from adiff_jax.data.writing.pace import Pace
from adiff_jax.data.writing.pairs import Pair
from adiff_jax.data.writing.prompts import Prompts

if TYPE_CHECKING:
    import openai

KEY_VARIABLE = "OPENAI_API_KEY"
_RESERVED = {"messages", "model", "n", "stream"}
_LATER = (408, 409, 425, 429)  # and all of 500 and above: the same request may succeed later
_HOPELESS = (401, 403, 404, 405)  # what one request meets, all will meet
_SPENT = "insufficient_quota"  # sent as 429, but no waiting helps
_LONGEST_BACKOFF = 60.0
_LONGEST_HOLD = 900.0
_SHOWN = 300


@dataclass(frozen=True)
class Chat:
    """Which model is asked, where and how. `body` is added to every request, such as
    {"temperature": 0.7}; `timeout` in seconds; `tries` of a request that fails, the first wait
    being `backoff` seconds and each further one twice as long; `key_variable` names the environment
    variable that holds the key."""

    endpoint: str
    model: str
    body: Mapping[str, Any] = field(default_factory=dict)
    key_variable: str = KEY_VARIABLE
    timeout: float = 120.0
    tries: int = 6
    backoff: float = 1.0
    requests_per_minute: float | None = None

    def __post_init__(self) -> None:
        parts = urlsplit(self.endpoint)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ValueError(
                f"endpoint {self.endpoint!r} is no address: write it as https://HOST/v1, without "
                "/chat/completions"
            )
        if "@" in parts.netloc or parts.query:
            raise ValueError(
                "the endpoint holds a user name or parameters, and is written down with the "
                f"answers: leave them out, and put the key into {self.key_variable}"
            )
        if parts.path.rstrip("/").endswith("/chat/completions"):
            raise ValueError(f"endpoint {self.endpoint}: leave out /chat/completions at its end")
        if reserved := sorted(_RESERVED & set(self.body)):
            raise ValueError(f"the body sets {', '.join(reserved)}, which is set elsewhere")
        if not self.timeout > 0:
            raise ValueError(f"timeout is {self.timeout}: say seconds above 0")


class ChatWriter:
    """A `Writer` that asks a text model.

    Raises ImportError without the `openai` package, ValueError when another variable than the usual
    one was named for the key and is not set. Without a key, requests are sent with a placeholder,
    which servers of one's own accept.
    """

    def __init__(self, chat: Chat, prompts: Prompts) -> None:
        try:
            import openai
        except ImportError as error:
            raise ImportError(
                'asking a text model needs the openai package: pip install "adiff_jax[llm]", or '
                "use --template"
            ) from error
        self._openai = openai
        self._chat = chat
        self._prompts = prompts
        self._pace = Pace(chat.requests_per_minute)
        self._key = os.environ.get(chat.key_variable, "").strip()
        if not self._key and chat.key_variable != KEY_VARIABLE:
            raise ValueError(f"the environment has no {chat.key_variable}: put the key there")
        self._client = openai.OpenAI(
            api_key=self._key or "none",
            base_url=chat.endpoint,
            timeout=chat.timeout,
            max_retries=0,  # tries are counted, and paced, here
        )

    def write(self, pair: Pair, tier: int, failed: Failed | None) -> Answer:
        """An explanation; after a failed one, the model is shown it and told what was wrong.

        Raises Refused and WritingError as `Writer` says.
        """
        messages = [
            {"role": "system", "content": self._prompts.system},
            {"role": "user", "content": self._prompts.ask(tier, pair.captions)},
        ]
        if failed:
            correction = self._prompts.correct(failed.reason)
            # Some servers refuse an empty turn, and half a surrogate pair cannot be sent.
            said = failed.text.encode("utf-8", "replace").decode().strip()
            messages.append({"role": "assistant", "content": said or "(nothing)"})
            messages.append({"role": "user", "content": correction})
        return self._answer(messages, self._request(messages))

    def stop(self) -> None:
        """Wait for nothing more."""
        self._pace.stop()

    def _request(self, messages: list[dict[str, str]]) -> dict[str, Any]:
        """The completion that the server sends, after as many tries as are allowed."""
        reason = ""
        for attempt in range(self._chat.tries):
            if attempt:
                wait = min(self._chat.backoff * 2 ** (attempt - 1), _LONGEST_BACKOFF)
                self._pace.sleep(wait * random.uniform(0.5, 1.0))  # threads spread out
            self._pace.wait()
            try:
                return self._without_key(_completion(self._send(messages)))
            except self._openai.APITimeoutError:
                reason = f"was not answered within {self._chat.timeout:g} s"
            except self._openai.APIConnectionError as error:
                reason = f"could not be sent: {self._clean(str(error.__cause__ or error))}"
            except self._openai.APIStatusError as error:
                reason = self._judged(error)
            except _Malformed as error:
                reason = f"was answered with {self._clean(str(error))}"
        raise Unanswered(f"{reason} ({self._chat.tries} tries)")

    def _send(self, messages: list[dict[str, str]]) -> str:
        """The body of the response, read by us: a broken one then is a fault with a name."""
        response = self._client.chat.completions.with_raw_response.create(
            model=self._chat.model,
            messages=messages,  # type: ignore[arg-type]
            extra_body=dict(self._chat.body),
        )
        return response.content.decode("utf-8", "replace")

    def _judged(self, error: "openai.APIStatusError") -> str:
        """The reason, for a status after which to try again; raises for all others."""
        status, said = error.status_code, self._clean(str(error))
        if status in _HOPELESS:
            hint = {
                401: f"; put its key into {self._chat.key_variable}",
                404: f"; is there a model {self._chat.model} at {self._chat.endpoint}?",
            }.get(status, "")
            raise WritingError(f"the server refuses all requests: {said}{hint}") from error
        if error.code == _SPENT:
            raise WritingError(f"the quota is used up: {said}") from error
        if status not in _LATER and status < 500:
            raise Refused(f"was refused: {said}") from error
        seconds = _retry_after(error.response.headers.get("retry-after"))
        if seconds > _LONGEST_HOLD:
            raise WritingError(
                f"the server wants to be left alone for {seconds:.0f} s: run the same command "
                f"again then ({said})"
            ) from error
        self._pace.hold(seconds)
        return f"failed: {said}"

    def _answer(self, messages: list[dict[str, str]], completion: dict[str, Any]) -> Answer:
        choice = completion["choices"][0]
        message = choice["message"]
        finish = choice.get("finish_reason")
        finish = finish if isinstance(finish, str) else ""
        fault = {
            "length": "was cut off, being too long for the server",
            "content_filter": "was withheld by the server's filter",
        }.get(finish, "")
        if message.get("refusal"):
            fault = f"was refused by the model: {str(message['refusal'])[:_SHOWN]}"
        usage = completion.get("usage")
        return Answer(
            text=message.get("content") or "",
            messages=messages,
            usage=usage if isinstance(usage, dict) else {},
            record={
                "endpoint": self._chat.endpoint,
                "model": self._chat.model,
                "answered_by": str(completion.get("model", "")),
                "finish": finish,
            },
            fault=fault,
        )

    def _clean(self, said: str) -> str:
        """What a server says about a fault: one line, not a page, without the key."""
        return " ".join(self._without_key(said).split())[:_SHOWN]

    def _without_key(self, value: Any) -> Any:
        """A JSON value without the key, which a server may echo; not all do it by accident."""
        if not self._key:
            return value
        return json.loads(json.dumps(value).replace(json.dumps(self._key)[1:-1], "[key]"))


class _Malformed(ValueError):
    """A response of status 200 that is no completion."""


def _completion(body: str) -> dict[str, Any]:
    """The completion in a response; its first choice has a message with text, or with none."""
    try:
        completion = json.loads(body)
    except (json.JSONDecodeError, RecursionError) as error:
        raise _Malformed(f"what is not JSON: {body[:60]!r}") from error
    try:
        content = completion["choices"][0]["message"].get("content")
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise _Malformed(f"JSON that is no completion: {body[:60]!r}") from error
    if not isinstance(content, str | None):
        raise _Malformed(f"a text that is none: {body[:60]!r}")
    return completion


def _retry_after(header: str | None) -> float:
    """Seconds to wait, from a header that gives them or a date; 0 for anything else."""
    try:
        return max(0.0, float(header or 0))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(str(header)).timestamp() - time.time())
    except ValueError:
        return 0.0
