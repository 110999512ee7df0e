"""`adiff parity`: the example of docs/porting.md run for real, and mistakes that it must find."""

import re
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from adiff_jax import cli

REPOSITORY = Path(__file__).parents[2]

ORIGINAL = dedent('''
    """A transformer as a reader may bring it: pre-norm, ReLU, keys and values in one matrix."""

    import torch
    from torch import nn


    class Attention(nn.Module):
        def __init__(self, dim, heads):
            super().__init__()
            self.heads = heads
            self.to_queries = nn.Linear(dim, dim, bias=False)
            self.to_keys_values = nn.Linear(dim, 2 * dim, bias=False)
            self.project = nn.Linear(dim, dim)

        def forward(self, x, mask):
            rows, length, dim = x.shape
            shape = (rows, length, self.heads, dim // self.heads)
            queries = self.to_queries(x).reshape(shape).transpose(1, 2)
            keys, values = (
                half.reshape(shape).transpose(1, 2) for half in self.to_keys_values(x).chunk(2, -1)
            )
            scores = queries @ keys.transpose(2, 3) * shape[-1] ** -0.5
            scores = scores.masked_fill(~mask[:, None, None], float("-inf"))
            return self.project((scores.softmax(-1) @ values).transpose(1, 2).reshape(x.shape))


    class Mlp(nn.Module):
        def __init__(self, dim):
            super().__init__()
            self.fc1, self.fc2 = nn.Linear(dim, 2 * dim), nn.Linear(2 * dim, dim)

        def forward(self, x):
            return self.fc2(torch.relu(self.fc1(x)))


    class Layer(nn.Module):
        def __init__(self, dim, heads):
            super().__init__()
            self.norm1, self.attn = nn.LayerNorm(dim), Attention(dim, heads)
            self.norm2, self.mlp = nn.LayerNorm(dim), Mlp(dim)

        def forward(self, x, mask):
            x = x + self.attn(self.norm1(x), mask)
            return x + self.mlp(self.norm2(x))


    class TransformerMapper(nn.Module):
        def __init__(self, dim, heads, layers):
            super().__init__()
            self.layers = nn.ModuleList(Layer(dim, heads) for _ in range(layers))

        def forward(self, x, mask):
            for layer in self.layers:
                x = layer(x, mask)
            return x
''')

TWO_LAYERS = dedent("""
    import numpy as np
    import torch
    from adiff_jax.convert.parity import Parity
    from adiff_jax.convert.table import Matrix, Rule, linear
    from flax import linen


    class Ours(linen.Module):
        @linen.compact
        def __call__(self, x):
            x = linen.Dense(6, name="first")(x)
            return linen.Dense(6, name="second")(linen.gelu(x, approximate=False))


    class Theirs(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = torch.nn.Linear(6, 6), torch.nn.Linear(6, 6)

        def forward(self, x):
            return self.second(torch.nn.functional.gelu(self.first(x)))


    def get_parity():
        return Parity(
            torch=Theirs,
            module=Ours(),
            inputs=(np.random.default_rng(0).standard_normal((3, 6)),),
            rules=(*linear("first", "first"), *linear("second", "second")),
        )
""")


def run(path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit code and all that was said."""
    with pytest.raises(SystemExit) as caught:
        cli.main(["parity", str(path)])
    said = capsys.readouterr()
    return int(caught.value.code or 0), said.out + said.err


def documented() -> str:
    """The file that docs/porting.md shows."""
    text = (REPOSITORY / "docs" / "porting.md").read_text()
    _, rules, check, _ = re.findall(r"```python\n(.*?)```", f"```python\n```{text}", re.DOTALL)
    return check.replace("RULES = ...  # of section 2\n", rules)


def test_the_documented_example_agrees_as_often_as_the_document_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "mapper.py").write_text(ORIGINAL)
    (tmp_path / "parity_cross.py").write_text(documented())
    code, said = run(tmp_path / "parity_cross.py", capsys)
    verdict = said.splitlines()[-1]
    assert code == 0, said
    assert verdict in (REPOSITORY / "docs" / "porting.md").read_text()
    lines = said.splitlines()
    assert any("output 0 (2, 9, 32)" in line for line in lines)
    assert any("gradient of input 0 (2, 9, 32)" in line for line in lines)
    assert any("gradient of layers.1.attn.to_keys_values.weight (64, 32)" in line for line in lines)


MISTAKES = {
    "the other GELU": ("approximate=False", "approximate=True", "output 0"),
    "a transposed square matrix": (
        'linear("first", "first")',
        'linear("first", "first")[1:], '
        'Rule("first.weight", "params/first/kernel", Matrix(transposed=False))',
        "gradient of first.weight",
    ),
    "a stopped gradient": (
        "(linen.gelu(x, approximate=False))",
        "(linen.gelu(__import__('jax').lax.stop_gradient(x), approximate=False))",
        "gradient of first.weight",
    ),
    "no number": (
        "x = linen.Dense(6",
        "x = (x + 1e38) * 1e38\n        x = linen.Dense(6",
        "output",
    ),
}


def test_twins_agree(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Inputs in double precision are compared in single."""
    (tmp_path / "twins.py").write_text(TWO_LAYERS)
    code, said = run(tmp_path / "twins.py", capsys)
    assert code == 0
    assert said.splitlines()[-1] == "all 6 agree within 0.0001"


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_found_and_exits_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
):
    right, wrong, where = MISTAKES[name]
    assert right in TWO_LAYERS
    (tmp_path / "twins.py").write_text(TWO_LAYERS.replace(right, wrong))
    code, said = run(tmp_path / "twins.py", capsys)
    assert code == 1
    failed = [line for line in said.splitlines() if line.startswith("FAIL")]
    assert any(where in line for line in failed), said
    assert f"{len(failed)} of 6 differ by more than 0.0001" in said


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        (
            'name="second")(linen.gelu(x, approximate=False))',
            'name="second")(linen.gelu(x, approximate=False)).sum(axis=0)',
            "PyTorch returns arrays of [(3, 6)], the twin [(6,)]",
        ),
        (
            '*linear("second", "second")',
            "",
            "the rules do not pair every parameter of Theirs with one of its twin",
        ),
        ("return Parity(", "return dict(", "get_parity() of {path} returned dict"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], right: str, wrong: str, message: str
):
    assert right in TWO_LAYERS
    path = tmp_path / "twins.py"
    path.write_text(TWO_LAYERS.replace(right, wrong))
    code, said = run(path, capsys)
    assert code == 2
    assert message.format(path=path) in said
    if "rules" in message:
        assert "'second.weight'" in said and "params/second/kernel" in said


def test_an_input_without_a_part_in_the_output_has_a_gradient_of_zero(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    text = TWO_LAYERS.replace("__call__(self, x):", "__call__(self, x, unused):")
    text = text.replace("forward(self, x):", "forward(self, x, unused):")
    text = text.replace("((3, 6)),)", "((3, 6)), np.ones(2, np.float32))")
    (tmp_path / "twins.py").write_text(text)
    code, said = run(tmp_path / "twins.py", capsys)
    assert code == 0
    assert "gradient of input 1 (2,)" in said


def test_without_torch_a_sentence_says_where_to_get_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "twins.py").write_text(TWO_LAYERS)
    monkeypatch.setitem(sys.modules, "torch", None)
    code, said = run(tmp_path / "twins.py", capsys)
    assert code == 2
    assert said.strip() == (
        "adiff parity: a PyTorch module is compared by running it: pip install 'adiff_jax[convert]'"
    )
