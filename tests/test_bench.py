"""The bench: every subject runs, what is timed beside torch has torch's size, and the table comes
line by line."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adiff_jax import bench, cli
from adiff_jax.data.pipeline import LoaderConfig
from adiff_jax.decode.generate import generate
from adiff_jax.decode.sampling import Greedy
from adiff_jax.models.adc import Adc, AdcModel
from adiff_jax.models.build import build_encoder
from adiff_jax.models.byola import ByolA, StridedByolA
from adiff_jax.models.cac import DifferenceEncoder
from adiff_jax.models.text_decoder import TextDecoder
from adiff_jax.nn.transformer import DecoderLayer
from adiff_jax.timing import Timing
from adiff_jax.torch_layers import torch_decoder, torch_encoder, torch_module
from tests.top import tiny_run

TINY = Adc(
    encoder=tiny_run.ENCODER,
    comparison=DifferenceEncoder(width=16, heads=2, hidden=16),
    decoder=TextDecoder(width=16, heads=2, hidden=16),
    vocab_size=32,
)


def parameters(module, *given):
    shapes = jax.eval_shape(module.init, jax.random.key(0), *given)["params"]
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


@pytest.mark.parametrize("config", [ByolA(width=512), StridedByolA()])
def test_the_torch_encoder_has_the_parameters_and_output_shape_of_ours(config):
    torch = pytest.importorskip("torch")
    features, lengths = jnp.zeros((2, 48, 64, 1)), jnp.full((2,), 48)
    module = build_encoder(config, jnp.dtype("float32"))
    layers, encode = torch_encoder(torch, config)
    ours = parameters(module, features, lengths)
    assert sum(p.numel() for p in layers.parameters()) == ours
    shapes = jax.eval_shape(module.init, jax.random.key(0), features, lengths)
    frames, _ = jax.eval_shape(module.apply, shapes, features, lengths)
    assert tuple(encode(torch.zeros(2, 1, 48, 64)).shape) == frames.shape


def test_the_torch_decoder_layer_has_the_parameters_and_output_shape_of_ours():
    torch = pytest.importorskip("torch")
    config = TextDecoder()
    layer = bench._RememberingLayer(DecoderLayer(config.width, config.heads, config.hidden, 0.0))
    x, memory = jnp.zeros((2, 5, config.width)), jnp.zeros((2, 7, config.width))
    twin = torch_decoder(torch, config)
    ours = parameters(layer, x, memory, jnp.ones((2, 7), bool))
    assert sum(p.numel() for p in twin.parameters()) == ours
    assert tuple(twin(torch.zeros(x.shape), torch.zeros(memory.shape)).shape) == x.shape


def test_torch_computes_on_as_many_threads_as_it_is_told():
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    try:
        assert torch_module(3).get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.fixture
def tiny(monkeypatch):
    """Every subject small, each call made once, and compiled without optimising."""
    sizes = {"CLIP_SECONDS": 1, "CLIPS": 2, "PAIRS": 2, "SENTENCES": 3, "TOKENS": 4}
    models = {"MODEL": TINY, "ENCODERS": {"tiny": tiny_run.ENCODER}}
    loading = {"SOURCE": tiny_run.pairs("train", 24), "LOADERS": {"2 threads": LoaderConfig()}}
    for name, value in (sizes | models | loading).items():
        monkeypatch.setattr(bench, name, value)
    calls = []

    def once(call, warm_up=0):
        calls.append(jax.block_until_ready(call()))
        return Timing(1.0, 1.0, 1.0, 1)

    monkeypatch.setattr(bench, "measure", once)
    before = jax.config.values["jax_disable_most_optimizations"]
    jax.config.update("jax_disable_most_optimizations", True)
    yield calls
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.mark.parametrize(
    ("subject", "ours", "beside"),
    [
        ("log-mel", 3, 0),
        ("encoder", 2, 2),
        ("decoder", 2, 2),
        pytest.param("train", 1, 0, marks=pytest.mark.slow),
        ("decoding", 3, 0),
        ("loader", 1, 0),
    ],
)
def test_every_subject_runs_ours_and_torchs(tiny, monkeypatch, subject, ours, beside):
    torch = torch_module(1)
    monkeypatch.setattr(bench, "torch_module", lambda threads: torch)
    rows = list(bench.SUBJECTS[subject]())
    engines = [row.engine for row in rows]
    assert engines.count("torch") == (beside if torch else 0)
    assert len(engines) - engines.count("torch") == ours
    assert len(tiny) == len(rows)
    assert all(row.items > 0 for row in rows)


def test_a_clip_has_the_frames_that_the_encoder_gives_it(tiny):
    features = bench._encoded().features_1
    audio = bench._pairs(3, tiny_run.ENCODE)
    shapes = jax.eval_shape(AdcModel(TINY).init, jax.random.key(0), audio)
    memory = jax.eval_shape(lambda v: AdcModel(TINY).apply(v, audio, method="encode"), shapes)
    assert memory.memory.shape[1] == 2 * features.shape[1]


@pytest.mark.slow
def test_decoding_with_and_without_the_cache_gives_the_same_tokens(tiny):
    model, batch = AdcModel(TINY), bench._encoded()
    variables = model.init(jax.random.key(0), batch)
    cached = generate(model, variables, batch, Greedy(), max_tokens=bench.TOKENS, stop_ids=())
    plain = jax.jit(lambda v, b: bench._without_cache(model, v, b))(variables, batch)
    np.testing.assert_array_equal(cached.tokens[:, 0], plain)
    assert len(np.unique(plain)) > 1


def test_a_subject_that_does_not_exist_is_refused_with_the_choices():
    with pytest.raises(ValueError, match="no subject 'encodr' to time; there are log-mel, encoder"):
        bench.run(("encodr",))


def test_help_names_the_subjects():
    assert ", ".join(bench.SUBJECTS) == cli.SUBJECTS


def test_the_table_is_said_line_by_line_and_written_where_asked(tmp_path, monkeypatch):
    said, row = [], bench.Row("a", "b", "jax", Timing(1.0, 1.0, 1.0, 1), 1, "clips")

    def rows():
        yield row
        assert said[-1] == str(row)
        yield replace(row, what="c")

    monkeypatch.setitem(bench.SUBJECTS, "something", rows)
    monkeypatch.setattr(bench, "torch_module", lambda threads: None)
    bench.run(("something",), tmp_path / "new" / "performance.md", said.append)
    assert said[0].endswith(f"torch not installed.\n\n{bench.HEAD}")
    assert said[1:] == [str(row), str(replace(row, what="c"))]
    assert (tmp_path / "new" / "performance.md").read_text() == "\n".join(said) + "\n"


def test_a_table_that_cannot_be_written_is_refused_before_anything_is_timed(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(bench, "SUBJECTS", {"never": None})
    for out in (tmp_path, tmp_path / "file" / "table.md"):
        with pytest.raises(OSError):
            bench.run(("never",), out)
