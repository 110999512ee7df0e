"""Generation over the protocol: early stop, padding rows, log-probabilities, strategies."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adiff_jax.decode.beam import Beam
from adiff_jax.decode.generate import generate, parse_strategy
from adiff_jax.decode.sampling import Greedy, Sample
from tests.decode.toys import (
    STOP,
    MarkovCaptioner,
    RecurrentCaptioner,
    batch_of,
    recurrent,
    steps_of,
)

STRATEGIES = (Greedy(), Sample(top_k=4), Beam(size=3))


def counting_tables(*lengths: int, vocabulary: int = 12) -> np.ndarray:
    """Tables under which row i says 2 3 4 … and stops as token number `lengths[i]`."""
    tables = np.zeros((len(lengths), vocabulary + 1, vocabulary), np.float32)
    for table, length in zip(tables, lengths, strict=True):
        table[-1, 2 if length > 1 else STOP] = 30.0
        for said in range(2, length):
            table[said, said + 1] = 30.0
        table[length, STOP] = 30.0
    return tables


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_decoding_ends_with_the_last_row_and_runs_no_further_step(strategy):
    calls = []
    model = MarkovCaptioner(12, on_extend=lambda: calls.append(1))
    batch = batch_of(counting_tables(3, 6, 1))
    found = generate(
        model, {}, batch, strategy, max_tokens=10, stop_ids=(STOP,), key=jax.random.key(0)
    )
    jax.effects_barrier()
    assert found.length[:, 0].tolist() == [3, 6, 1]
    assert found.tokens[1, 0].tolist() == [2, 3, 4, 5, 6, STOP, 0, 0, 0, 0]
    assert found.finished.all()
    assert found.steps == 6
    assert len(calls) == 5  # the first token comes from prefill


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_silent_tokens_are_never_said_and_take_no_probability(strategy):
    tables = np.zeros((2, 13, 12), np.float32)
    tables[:, :, [0, 7, 11]] = 9.0  # by far the likeliest
    settings = dict(max_tokens=6, stop_ids=(STOP,), key=jax.random.key(0))
    model, batch = MarkovCaptioner(12), batch_of(tables)
    found = generate(model, {}, batch, strategy, silent_ids=(0, 7, 11), **settings)
    assert not np.isin(found.tokens[found.mask], (0, 7, 11)).any()
    np.testing.assert_allclose(found.logprob, -np.log(9) * found.length, rtol=1e-5)
    loud = generate(model, {}, batch, strategy, **settings)
    assert np.isin(loud.tokens[loud.mask], (0, 7, 11)).any()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_padding_rows_are_empty_and_do_not_prolong_decoding(strategy):
    tables = counting_tables(9, 2, 9)
    tables[2] = np.nan  # what a mean over the frames of an empty clip may give
    batch = batch_of(tables, valid=[False, True, False])
    found = generate(
        MarkovCaptioner(12),
        {},
        batch,
        strategy,
        max_tokens=10,
        stop_ids=(STOP,),
        key=jax.random.key(0),
    )
    assert found.steps == 2
    assert found.tokens[1, 0, :2].tolist() == [2, STOP]
    for row in (0, 2):
        assert not found.mask[row].any()
        assert not found.tokens[row].any()
        assert found.length[row, 0] == 0
        assert found.logprob[row, 0] == found.score[row, 0] == 0
        assert not found.finished[row, 0]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_without_an_end_a_sentence_is_cut_at_max_tokens(strategy):
    tables = np.random.default_rng(0).normal(size=(2, 6, 5))
    found = generate(
        MarkovCaptioner(5),
        {},
        batch_of(tables),
        strategy,
        max_tokens=4,
        stop_ids=(),
        key=jax.random.key(0),
    )
    assert found.steps == 4
    assert found.mask.all()
    assert not found.finished.any()


@pytest.mark.parametrize("strategy", [*STRATEGIES, Sample(temperature=0.4, top_p=0.8), Greedy(1.5)])
def test_logprob_is_the_models_own_of_the_tokens_under_teacher_forcing(strategy):
    model, variables, batch, features = recurrent(vocabulary=7, rows=6, seed=1)
    found = generate(
        model, variables, batch, strategy, max_tokens=7, stop_ids=(STOP,), key=jax.random.key(3)
    )
    lengths = set(found.length[:, 0].tolist())
    assert len(lengths) > 1
    for row in range(6):
        step = steps_of(model, variables, features[row], 7)
        tokens = np.asarray(found.tokens[row, 0])[np.asarray(found.mask[row, 0])]
        expected = sum(step(tokens[:i])[token] for i, token in enumerate(tokens))
        np.testing.assert_allclose(found.logprob[row, 0], expected, rtol=1e-5)


def test_greedy_takes_the_most_likely_token_of_the_uncached_model():
    model, variables, batch, features = recurrent(vocabulary=7, rows=6, seed=4)
    found = generate(model, variables, batch, Greedy(), max_tokens=7, stop_ids=(STOP,))
    for row in range(6):
        step = steps_of(model, variables, features[row], 7)
        tokens: list[int] = []
        while len(tokens) < 7 and tokens[-1:] != [STOP]:
            tokens.append(int(step(tokens).argmax()))
        assert found.tokens[row, 0, : found.length[row, 0]].tolist() == tokens


def test_a_repetition_penalty_acts_on_what_the_row_itself_has_said():
    model, variables, batch, features = recurrent(vocabulary=9, rows=6, seed=4)
    strategy = Greedy(repetition=1.8)
    found = generate(model, variables, batch, strategy, max_tokens=7, stop_ids=(STOP,))
    plain = generate(model, variables, batch, Greedy(), max_tokens=7, stop_ids=(STOP,))
    assert (np.asarray(found.tokens) != np.asarray(plain.tokens)).any()
    for row in range(6):
        forced = model.apply(
            variables,
            jax.tree.map(lambda leaf, row=row: leaf[row : row + 1], batch).replace(
                tokens=np.asarray(found.tokens)[row : row + 1, 0]
            ),
        )
        logits = np.asarray(forced.logits[0], np.float32)
        tokens: list[int] = []
        while len(tokens) < 7 and tokens[-1:] != [STOP]:
            now = logits[len(tokens)].copy()
            for token in set(tokens):
                now[token] = now[token] / 1.8 if now[token] > 0 else now[token] * 1.8
            tokens.append(int(now.argmax()))
        assert found.tokens[row, 0, : found.length[row, 0]].tolist() == tokens


def test_what_is_drawn_for_an_example_depends_on_key_and_id_only():
    model, variables, batch, _ = recurrent(vocabulary=7, rows=6, seed=4)
    settings = {"max_tokens": 7, "stop_ids": (STOP,)}

    def draw(batch, seed):
        key = jax.random.key(seed)
        return np.asarray(generate(model, variables, batch, Sample(), key=key, **settings).tokens)

    order = np.array([4, 0, 2])
    some = jax.tree.map(lambda leaf: leaf[order], batch)
    np.testing.assert_array_equal(draw(some, 0), draw(batch, 0)[order])
    assert (draw(batch, 0) != draw(batch, 1)).any()


def test_rows_with_equal_audio_and_steps_of_a_row_draw_independently():
    vocabulary, rows, steps = 6, 400, 8
    uniform = np.zeros((rows, vocabulary + 1, vocabulary), np.float32)
    found = generate(
        MarkovCaptioner(vocabulary),
        {},
        batch_of(uniform),
        Sample(),
        max_tokens=steps,
        stop_ids=(),
        key=jax.random.key(0),
    )
    tokens = np.asarray(found.tokens[:, 0])
    share = 1 / vocabulary
    for other in (np.roll(tokens, 1, axis=0), np.roll(tokens, 1, axis=1)):
        error = 5 * np.sqrt(share * (1 - share) / tokens.size)
        assert abs((tokens == other).mean() - share) < error


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_rows_that_are_heard_singly_say_the_same(strategy):
    alone = []

    class Counting(RecurrentCaptioner):
        def encode(self, batch, train=False):
            alone.append(batch.valid.shape)
            return super().encode(batch, train)

    _, variables, batch, _ = recurrent(vocabulary=7, rows=5)
    settings = {"max_tokens": 7, "stop_ids": (STOP,), "key": jax.random.key(0)}
    model = Counting(7)
    together = generate(model, variables, batch, strategy, **settings)
    assert set(alone) == {(5,)}
    singly = generate(model, variables, batch, strategy, hear_singly=True, **settings)
    assert alone[-1] == (1,)
    np.testing.assert_array_equal(singly.tokens, together.tokens)
    np.testing.assert_allclose(singly.logprob, together.logprob, rtol=1e-5)


def test_generation_runs_inside_a_larger_jitted_program():
    model, variables, batch, _ = recurrent(vocabulary=7, rows=6)

    @jax.jit
    def lengths(variables, batch):
        return generate(model, variables, batch, Beam(), max_tokens=5, stop_ids=(STOP,)).length

    direct = generate(model, variables, batch, Beam(), max_tokens=5, stop_ids=(STOP,))
    np.testing.assert_array_equal(lengths(variables, batch), direct.length)


def test_probabilities_are_float32_whatever_the_logits():
    class Half(MarkovCaptioner):
        def encode(self, batch, train=False):
            return batch.features_1.astype(jnp.bfloat16)

    tables = np.random.default_rng(0).normal(size=(2, 8, 7)).astype(jnp.bfloat16)
    full = batch_of(np.asarray(tables, np.float32))
    for strategy in (Greedy(), Beam(size=2)):
        settings = {"max_tokens": 6, "stop_ids": (STOP,)}
        half = generate(Half(7), {}, full, strategy, **settings)
        whole = generate(MarkovCaptioner(7), {}, full, strategy, **settings)
        assert half.logprob.dtype == jnp.float32
        np.testing.assert_array_equal(half.logprob, whole.logprob)


def test_faulty_calls_say_what_to_do():
    model, batch = MarkovCaptioner(5), batch_of(np.zeros((1, 6, 5)))
    with pytest.raises(ValueError, match="pass key="):
        generate(model, {}, batch, Sample(), max_tokens=3, stop_ids=(STOP,))
    with pytest.raises(ValueError, match=r"\[5\].*vocabulary has 5"):
        generate(model, {}, batch, Greedy(), max_tokens=3, stop_ids=(STOP, 5))
    with pytest.raises(ValueError, match="max_tokens is 0"):
        generate(model, {}, batch, Greedy(), max_tokens=0, stop_ids=(STOP,))


@pytest.mark.parametrize(
    ("text", "strategy"),
    [
        ("greedy", Greedy()),
        ("greedy:repetition=1.2", Greedy(repetition=1.2)),
        ("beam", Beam()),
        ("beam:8", Beam(size=8)),
        ("beam:8,n_best=3", Beam(size=8, n_best=3)),
        ("beam:length_penalty=0.6,size=5", Beam(size=5, length_penalty=0.6)),
        ("beam:2,stops=each", Beam(size=2, stops="each")),
        ("beam:2, stops = best ", Beam(size=2)),
        ("sample", Sample()),
        ("sample:0.8", Sample(temperature=0.8)),
        ("sample:t=0.8,k=50,p=0.95", Sample(0.8, 50, 0.95)),
        ("sample:t=0.8,repetition=1.2", Sample(0.8, repetition=1.2)),
        (" sample: temperature=0.8, top_p=0.9 ", Sample(temperature=0.8, top_p=0.9)),
    ],
)
def test_strategies_are_read_from_text(text, strategy):
    assert parse_strategy(text) == strategy


@pytest.mark.parametrize(
    ("text", "lesson"),
    [
        ("", "beam:4"),
        ("beem:4", "'beem' is not known"),
        ("greedy:2", "write name=2 with one of repetition"),
        ("greedy:repetition=0", "Greedy.repetition is 0.0"),
        ("beam:repetition=1.2", "beam has no setting 'repetition'"),
        ("beam:four", "size must be a whole number, not 'four'"),
        ("beam:2.5", "size must be a whole number"),
        ("beam:0", "Beam.size is 0"),
        ("beam:2,stops=first", "stops must be best or each, not 'first'"),
        ("beam:t=0.8", "beam has no setting 'temperature', only size"),
        ("sample:0", "Greedy"),
        ("sample:k=5,0.9", "only the first setting"),
        ("sample:0.8,t=0.9", "temperature is given twice"),
    ],
)
def test_faulty_strategies_are_explained(text, lesson):
    with pytest.raises(ValueError, match="decoding strategy") as caught:
        parse_strategy(text)
    assert lesson in str(caught.value)
