"""What the bench puts beside ours: the same layers in PyTorch, where it is installed; GPT-2 is
that of transformers."""

from collections.abc import Callable
from typing import Any

from adiff_jax.models.byola import ByolA, StridedByolA
from adiff_jax.models.gpt2 import Gpt2
from adiff_jax.models.text_decoder import TextDecoder


def torch_module(threads: int) -> Any:
    """The torch module, set to compute on `threads` threads; None where it is not installed."""
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(threads)
    return torch


def torch_encoder(torch: Any, config: ByolA | StridedByolA) -> tuple[Any, Callable[[Any], Any]]:
    """The encoder's layers in PyTorch, in evaluation mode, and their use on [b 1 f m]."""
    layer, layers = torch.nn, list[Any]()
    before = 1
    match config:
        case StridedByolA(filters=filters):
            for kernel, after in zip((5, 3, 3), filters, strict=True):
                convolution = layer.Conv2d(before, after, kernel, 2, kernel // 2, bias=False)
                layers += [convolution, layer.BatchNorm2d(after), layer.ReLU()]
                before = after
        case ByolA():
            for before, after in ((1, 64), (64, 64), (64, 64)):
                convolution = layer.Conv2d(before, after, 3, 1, 1)
                layers += [
                    convolution,
                    layer.BatchNorm2d(after),
                    layer.ReLU(),
                    layer.MaxPool2d(2),
                ]
            before = 64
    width, flat = config.width, before * config.frontend.mels // config.stride
    convolutions = layer.Sequential(*layers)
    network = layer.Sequential(
        layer.Linear(flat, width),
        layer.ReLU(),
        layer.Linear(width, width),
        layer.ReLU(),
    )

    def encode(features: Any) -> Any:
        return network(convolutions(features).transpose(1, 2).flatten(2))

    return layer.Sequential(convolutions, network).eval(), encode


def torch_decoder(torch: Any, config: TextDecoder) -> Any:
    """One layer of the decoder in PyTorch. Left in training mode, without dropout: in evaluation
    torch takes another, fused path."""
    return torch.nn.TransformerDecoderLayer(
        config.width, config.heads, config.hidden, 0.0, batch_first=True
    )


def torch_gpt2(config: Gpt2) -> Any:
    """GPT-2 with its head, in evaluation mode; None without torch or transformers."""
    try:
        import transformers
    except ImportError:
        return None
    settings = transformers.GPT2Config(
        n_layer=config.layers,
        n_head=config.heads,
        n_embd=config.width,
        n_positions=config.positions,
        vocab_size=config.vocab_size,
        resid_pdrop=config.dropout,
        embd_pdrop=config.dropout,
        attn_pdrop=config.dropout,
        bos_token_id=0,
        eos_token_id=0,
    )
    return transformers.GPT2LMHeadModel(settings).eval()
