"""`generate`: sentences for a batch, by any strategy, from any captioner.

The audio is encoded once, the model's start is consumed once (`prefill`), and then every step
appends one token to an explicit cache of fixed size (`extend`) until every row has ended or
`max_tokens` is reached. Shapes are static: tokens are [b n t], t = `max_tokens`, whatever the
number of steps taken; n is 1, or `Beam.n_best`.

A step reads the whole cache, said or not. Where few sentences are long, `rooms` gives the cache
room for some tokens first, and for more once they are used up.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, cast, get_args

import jax
import jax.numpy as jnp
from flax import struct

from adiff_jax.arrays import Batch
from adiff_jax.decode.beam import Beam, Extend, Hypotheses, Stops, beam_search
from adiff_jax.decode.rooms import Rooms, in_turn
from adiff_jax.decode.sampling import Greedy, Sample, next_tokens
from adiff_jax.protocol import Captioner, Variables

Strategy = Greedy | Sample | Beam


@struct.dataclass
class Generation:
    """Sentences of every row, best first.

    `tokens` and `mask` have the form of `Batch.tokens` and `Batch.tokens_mask`: the end token is
    included, what follows it is 0 and masked. `logprob` is the sum of the model's own
    log-probabilities (temperature 1, nothing cut but silent tokens) over the masked tokens; `score`
    is what the strategy ranks by (for greedy and sampling, `logprob`). A sentence that no stop
    token ended has `finished` False. In rows that are no examples (`batch.valid` False) everything
    is masked and `logprob` is 0; hypotheses that a beam did not find are masked with `logprob`
    -inf.
    """

    tokens: Any  # [b n t] int32
    mask: Any  # [b n t] bool
    length: Any  # [b n] int32, masked tokens
    logprob: Any  # [b n] float32
    score: Any  # [b n] float32
    finished: Any  # [b n] bool
    steps: Any  # [] int32, steps taken before every row had ended


@partial(
    jax.jit,
    static_argnames=(
        "model",
        "strategy",
        "max_tokens",
        "stop_ids",
        "silent_ids",
        "rooms",
        "hear_singly",
    ),
)
def generate(
    model: Captioner,
    variables: Variables,
    batch: Batch,
    strategy: Strategy,
    *,
    max_tokens: int,
    stop_ids: tuple[int, ...],
    silent_ids: tuple[int, ...] = (),
    rooms: tuple[int, ...] = (),
    hear_singly: bool = False,
    key: jax.Array | None = None,
) -> Generation:
    """Generate at most `max_tokens` tokens for every row of `batch`.

    A token of `stop_ids` ends its sentence; with no stop ids every sentence has `max_tokens`
    tokens. Tokens of `silent_ids`, which stand for no text, are never said. `rooms`, numbers of
    tokens that the cache has room for in turn, change no sentence (those of `max_tokens` or more
    are the last one); each is compiled. `hear_singly` encodes
    the rows one after the other, for a single device whose caches are small; where the batch is
    split over devices it would gather the rows. `Sample` needs `key`; what it draws for a row
    depends on `key` and the row's `example_id` only, not on its place or company in the batch.

    Raises ValueError for `max_tokens` below 1, a stop or silent id outside the vocabulary, or
    `Sample` without a key.
    """
    if max_tokens < 1:
        raise ValueError(f"max_tokens is {max_tokens}; it must be 1 or more")
    if isinstance(strategy, Sample) and key is None:
        raise ValueError("Sample draws at random: pass key=jax.random.key(seed)")

    def encode(rows: Batch) -> Any:
        return model.apply(variables, rows, False, method="encode")

    conditioning = one_by_one(encode, batch) if hear_singly else encode(batch)
    prefill = partial(model.apply, variables, conditioning, method="prefill")
    sizes = in_turn(rooms, max_tokens)
    logits, cache = prefill(sizes[0])
    growing = Rooms(sizes, tuple(jax.eval_shape(lambda s=size: prefill(s)[1]) for size in sizes))
    for name, ids in (("stop_ids", stop_ids), ("silent_ids", silent_ids)):
        outside = [i for i in ids if not 0 <= i < logits.shape[-1]]
        if outside:
            raise ValueError(
                f"{name} holds {outside}, but the model's vocabulary has {logits.shape[-1]} "
                "tokens: is this the tokenizer the model was trained with?"
            )
    silent = jnp.zeros(logits.shape[-1], bool).at[jnp.asarray(silent_ids, jnp.int32)].set(True)
    logits = jnp.where(silent, -jnp.inf, logits)

    def extend(cache: Any, token: jax.Array) -> tuple[jax.Array, Any]:
        logits, cache = model.apply(variables, cache, token, method="extend")
        return jnp.where(silent, -jnp.inf, logits), cache

    if isinstance(strategy, Beam):
        best, finished, steps = beam_search(
            extend, logits, cache, batch.valid, strategy, growing, stop_ids
        )
    else:
        keys = None if key is None else jax.vmap(partial(jax.random.fold_in, key))(batch.example_id)
        best, finished, steps = _sample(
            extend, logits, cache, batch.valid, strategy, growing, stop_ids, keys
        )
    is_row = batch.valid[:, None]
    return Generation(
        tokens=best.tokens,
        mask=jnp.arange(max_tokens) < best.length[:, :, None],
        length=best.length,
        logprob=jnp.where(is_row, best.logprob, 0.0),
        score=jnp.where(is_row, best.score, 0.0),
        finished=finished,
        steps=steps,
    )


def one_by_one(encode: Callable[[Batch], Any], batch: Batch) -> Any:
    """`encode(batch)`, row by row."""
    rows = jax.tree.map(lambda leaf: leaf[:, None], batch)
    return jax.tree.map(lambda leaf: leaf[:, 0], jax.lax.map(encode, rows))


@struct.dataclass
class _State:
    step: Any  # [] int32
    cache: Any
    tokens: Any  # [b t] int32
    logprob: Any  # [b] float32
    ended: Any  # [b] bool
    length: Any  # [b] int32
    said: Any  # [b v] bool, or None where no penalty asks for it


def _sample(
    extend: Extend,
    logits: jax.Array,
    cache: Any,
    valid: jax.Array,
    strategy: Greedy | Sample,
    rooms: Rooms,
    stop_ids: tuple[int, ...],
    keys: jax.Array | None,
) -> tuple[Hypotheses, jax.Array, jax.Array]:
    """One token after the other in every row; the form of the result is `beam_search`'s."""
    rows, vocabulary = logits.shape
    max_tokens = rooms.sizes[-1]
    state = _State(
        step=jnp.int32(0),
        cache=cache,
        tokens=jnp.zeros((rows, max_tokens), jnp.int32),
        logprob=jnp.zeros(rows),
        ended=~valid,
        length=jnp.zeros(rows, jnp.int32),
        said=None if strategy.repetition == 1 else jnp.zeros((rows, vocabulary), bool),
    )

    def choose(state: _State, logits: jax.Array) -> _State:
        fold = jax.vmap(jax.random.fold_in, (0, None))
        drawing = None if keys is None else fold(keys, state.step)
        drawn = next_tokens(strategy, logits, drawing, state.said)
        token = jnp.where(state.ended, 0, drawn)
        logprob = jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)
        taken = jnp.take_along_axis(logprob, token[:, None], axis=-1)[:, 0]
        stops = jnp.isin(token, jnp.asarray(stop_ids, jnp.int32))
        said = state.said
        if said is not None:
            said = said | (jnp.arange(vocabulary) == drawn[:, None])
        return replace(
            state,
            step=state.step + 1,
            tokens=state.tokens.at[:, state.step].set(token),
            logprob=state.logprob + jnp.where(state.ended, 0.0, taken),
            ended=state.ended | stops,
            length=state.length + ~state.ended,
            said=said,
        )

    def going(state: _State) -> jax.Array:
        return ~state.ended.all()

    def advance(state: _State) -> _State:
        logits, cache = extend(state.cache, state.tokens[:, state.step - 1])
        return choose(replace(state, cache=cache), logits)

    state = rooms.loop(going, advance, choose(state, logits))
    one = Hypotheses(
        tokens=state.tokens[:, None],
        length=state.length[:, None],
        logprob=state.logprob[:, None],
        score=state.logprob[:, None],
    )
    return one, (state.ended & valid)[:, None], state.step


_KINDS: dict[str, Callable[..., Strategy]] = {"greedy": Greedy, "sample": Sample, "beam": Beam}
_SHORT = {"t": "temperature", "k": "top_k", "p": "top_p"}


def _stops(text: str) -> Stops:
    if text not in get_args(Stops):
        raise ValueError(text)
    return cast(Stops, text)


_FIELDS: dict[str, dict[str, Callable[[str], Any]]] = {
    "greedy": {"repetition": float},
    "sample": {"temperature": float, "top_k": int, "top_p": float, "repetition": float},
    "beam": {"size": int, "length_penalty": float, "n_best": int, "stops": _stops},
}
_WANTED = {int: "a whole number", float: "a number", _stops: " or ".join(get_args(Stops))}
_FORMS = (
    "greedy, greedy:repetition=1.2, beam:4, beam:size=4,length_penalty=0.6,n_best=3,stops=each, "
    "sample:0.8, sample:t=0.8,k=50,p=0.95,repetition=1.2"
)


def parse_strategy(text: str) -> Strategy:
    """Read a strategy from the command line.

    Forms: "greedy", "beam" or "sample" with defaults; the first field of the latter two alone
    ("beam:4", "sample:0.8"); or fields by name, separated by commas ("greedy:repetition=1.2",
    "sample:t=0.8,k=50,p=0.95", t, k and p standing for temperature, top_k and top_p).

    Raises ValueError that names the faulty part and shows the forms.
    """
    kind, _, rest = text.strip().partition(":")
    if kind not in _FIELDS:
        raise ValueError(f"decoding strategy {text!r}: {kind!r} is not known. Forms: {_FORMS}")
    fields = _FIELDS[kind]
    values: dict[str, Any] = {}
    for position, part in enumerate(filter(None, rest.split(","))):
        name, equals, value = part.partition("=")
        if not equals:
            if position or kind == "greedy":
                raise ValueError(
                    f"decoding strategy {text!r}: only the first setting of beam and sample may go "
                    f"without a name; write name={part.strip()} with one of {', '.join(fields)}"
                )
            name, value = next(iter(fields)), part
        name = _SHORT.get(name.strip(), name.strip())
        if name not in fields:
            raise ValueError(
                f"decoding strategy {text!r}: {kind} has no setting {name!r}, only "
                f"{', '.join(fields)}. Forms: {_FORMS}"
            )
        if name in values:
            raise ValueError(f"decoding strategy {text!r}: {name} is given twice")
        try:
            values[name] = fields[name](value.strip())
        except ValueError:
            raise ValueError(
                f"decoding strategy {text!r}: {name} must be {_WANTED[fields[name]]}, not "
                f"{value.strip()!r}"
            ) from None
    try:
        return _KINDS[kind](**values)
    except ValueError as error:
        raise ValueError(f"decoding strategy {text!r}: {error}") from error
