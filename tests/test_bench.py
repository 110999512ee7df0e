"""The bench: what is timed beside torch has torch's size; unknown subjects are named."""

import jax
import jax.numpy as jnp
import pytest

from adiff_jax import bench
from adiff_jax.models.build import build_encoder
from adiff_jax.models.byola import ByolA, StridedByolA


def parameters(module, *given):
    shapes = jax.eval_shape(module.init, jax.random.key(0), *given)["params"]
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


@pytest.mark.parametrize("config", [ByolA(width=512), StridedByolA()])
def test_the_torch_encoder_has_the_parameters_and_output_shape_of_ours(config):
    torch = pytest.importorskip("torch")
    features, lengths = jnp.zeros((2, 48, 64, 1)), jnp.full((2,), 48)
    module = build_encoder(config, jnp.dtype("float32"))
    layers, encode = bench._torch_encoder(torch, config)
    ours = parameters(module, features, lengths)
    assert sum(p.numel() for p in layers.parameters()) == ours
    shapes = jax.eval_shape(module.init, jax.random.key(0), features, lengths)
    frames, _ = jax.eval_shape(module.apply, shapes, features, lengths)
    assert tuple(encode(torch.zeros(2, 1, 48, 64)).shape) == frames.shape


def test_a_subject_that_does_not_exist_is_refused_with_the_choices():
    with pytest.raises(ValueError, match="no subject 'encodr' to time; there are log-mel, encoder"):
        bench.run(("encodr",))


def test_the_report_is_written_where_asked(tmp_path, monkeypatch):
    monkeypatch.setitem(bench.SUBJECTS, "nothing", lambda: iter(()))
    monkeypatch.setattr(bench, "_torch", lambda: None)
    report = bench.run(("nothing",), tmp_path / "new" / "performance.md")
    assert report.machine.endswith("torch not installed")
    assert (tmp_path / "new" / "performance.md").read_text() == f"{report}\n"
