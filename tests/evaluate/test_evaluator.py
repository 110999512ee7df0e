"""Exact evaluation: every example once, the same bytes on any number of processes."""

import threading

import numpy as np
import pytest

from adiff_jax.data.schema import Edit, Truth
from adiff_jax.data.synth.captions import read_edits
from adiff_jax.data.synth.tier_reader import named_sounds, read_explanation
from adiff_jax.evaluate.captions import CaptionConfig
from adiff_jax.evaluate.evaluator import Generated, check_ids, evaluate
from adiff_jax.evaluate.explanations import Readers
from adiff_jax.evaluate.predictions import Prediction, write_predictions
from adiff_jax.evaluate.scoring import ScoreConfig, score, write_metrics

GLOBAL_BATCH = 8
CONFIG = ScoreConfig(
    CaptionConfig(metrics=("bleu", "rouge_l", "cider_d"), tokenization="plain"), resamples=100
)
READERS = Readers(read_edits, read_explanation, named_sounds)
SENTENCES = ("add a dog bark", "remove the dog bark", "nothing was changed")


def data_set(size):
    return [
        Truth(
            # Ids whose order differs from the order of the data set.
            id=f"pair-{(7 * example) % 101:03d}",
            references=(SENTENCES[example % 2], "put in a dog bark"),
            edits=(Edit("add", "dog_bark"),) if example % 3 else (Edit("none"),),
            recordings=(f"r{example % 5}", f"q{example % 3}"),
            prompt="what changed?",
            tier=example % 3,
        )
        for example in range(size)
    ]


def batches(size, process, processes):
    """This process's rows of each global batch: a contiguous block, the tail padded."""
    rows = GLOBAL_BATCH // processes
    for start in range(0, size, GLOBAL_BATCH):
        example = start + process * rows + np.arange(rows)
        valid = example < size
        # Padding repeats an example that is also decoded for itself.
        yield {"valid": valid, "example_id": np.where(valid, example, 0).astype(np.int32)}


def decode(batch):
    return [
        Generated((int(i), 2), SENTENCES[int(i) % 3], -float(i) / 3) for i in batch["example_id"]
    ]


def run(size, processes, own_batches=batches):
    """What every process returns; the processes are threads that meet in `gather`."""
    meeting = threading.Barrier(processes, timeout=30)
    sent, results = [None] * processes, [None] * processes

    def work(process):
        def gather(rows):
            sent[process] = rows
            meeting.wait()
            return [row for rows in sent for row in rows]

        try:
            results[process] = evaluate(
                decode,
                own_batches(size, process, processes),
                data_set(size),
                process=process,
                processes=processes,
                gather=gather,
            )
        except ValueError as error:
            results[process] = error

    threads = [threading.Thread(target=work, args=(process,)) for process in range(processes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def written(predictions, truths, folder):
    write_predictions(folder / "predictions.jsonl", predictions)
    write_metrics(folder / "metrics.json", score(predictions, truths, CONFIG, readers=READERS))
    return [(folder / name).read_bytes() for name in ("predictions.jsonl", "metrics.json")]


@pytest.mark.parametrize("size", [1, 7, 8, 9, 33])
def test_one_two_and_four_processes_write_the_same_bytes(tmp_path, size):
    truths = data_set(size)
    expected = written(evaluate(decode, batches(size, 0, 1), truths), truths, tmp_path / "alone")
    assert expected[0].count(b"\n") == size
    for processes in (2, 4):
        for process, predictions in enumerate(run(size, processes)):
            assert written(predictions, truths, tmp_path / f"{processes}-{process}") == expected


def test_every_prediction_carries_its_own_example():
    predictions = {row.id: row for row in evaluate(decode, batches(33, 0, 1), data_set(33))}
    for example, truth in enumerate(data_set(33)):
        row = predictions[truth.id]
        assert row.tokens == (example, 2) and row.text == SENTENCES[example % 3]
        assert (row.references, row.prompt, row.tier) == (
            truth.references,
            truth.prompt,
            truth.tier,
        )


def test_an_example_that_no_process_decodes_is_named():
    def without_the_last(size, process, processes):
        return batches(size - 1, process, processes)

    for error in run(9, 2, without_the_last):
        assert isinstance(error, ValueError)
        assert f"missing: {data_set(9)[8].id}" in str(error)


def test_an_example_that_two_processes_decode_is_named():
    def everything(size, process, processes):
        return batches(size, 0, 1)

    for error in run(1, 2, everything):
        assert isinstance(error, ValueError)
        assert f"more than once: {data_set(1)[0].id}" in str(error)


def test_padding_that_claims_to_be_valid_is_found():
    def unmasked(batch):
        return {**batch, "valid": np.ones_like(batch["valid"])}

    with pytest.raises(ValueError, match="more than once: pair-000"):
        evaluate(decode, map(unmasked, batches(7, 0, 1)), data_set(7))


def test_an_example_outside_the_data_set_is_refused():
    batch = {"valid": np.array([True]), "example_id": np.array([3], np.int32)}
    with pytest.raises(ValueError, match="example_id 3"):
        evaluate(decode, [batch], data_set(3))


def test_decoding_must_answer_every_row():
    with pytest.raises(ValueError, match="7 rows for a batch of 8"):
        evaluate(lambda batch: decode(batch)[1:], batches(8, 0, 1), data_set(8))


def test_ids_from_elsewhere_and_repeated_truths_are_named():
    truths = data_set(3)
    rows = [Prediction(truth.id, "x") for truth in truths]
    check_ids(rows, truths)
    with pytest.raises(ValueError, match="not in the data set: other"):
        check_ids([*rows, Prediction("other", "x")], truths)
    with pytest.raises(ValueError, match="the data set holds pair-000 more than once"):
        check_ids(rows, [*truths, truths[0]])
