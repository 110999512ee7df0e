"""What the bench puts beside ours: the same layers in PyTorch, where it is installed; GPT-2 is
that of transformers."""

from collections.abc import Callable
from typing import Any

from adiff_jax.models.byola import ByolA, StridedByolA
from adiff_jax.models.cl4ac import Cl4ac
from adiff_jax.models.cnn10 import Cnn10
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


def torch_cl4ac(torch: Any, config: Cl4ac) -> Any:
    """CL4AC from log-mel [b 1 f m], over Cnn10: `remember` gives the decoder's memory, `read` the
    states of a sentence [b t], `say` so many words, one after the other without a cache.

    Raises TypeError for another encoder.
    """
    if not isinstance(config.encoder, Cnn10):
        raise TypeError(f"the bench has no {type(config.encoder).__name__} in torch")
    layer: Any = torch.nn
    decoder, filters = config.decoder, config.encoder.filters
    mels = config.encoder.frontend.mels

    def block(before: int, after: int) -> list[Any]:
        layers = []
        for size in (before, after):
            convolution = layer.Conv2d(size, after, 3, padding=1, bias=False)
            layers += [convolution, layer.BatchNorm2d(after), layer.ReLU()]
        return [*layers, layer.AvgPool2d(2), layer.Dropout(config.encoder.dropout)]

    class Twin(layer.Module):
        def __init__(self) -> None:
            super().__init__()
            sizes = zip((1, *filters[:-1]), filters, strict=True)
            self.norm = layer.BatchNorm2d(mels)
            self.blocks = layer.Sequential(*(part for pair in sizes for part in block(*pair)))
            self.bridge = layer.Sequential(
                layer.Linear(filters[-1], config.bridge),
                layer.ReLU(),
                layer.Dropout(config.bridge_dropout),
                layer.Linear(config.bridge, decoder.width),
                layer.ReLU(),
            )
            self.words = layer.Embedding(config.vocab_size, decoder.width)
            each = layer.TransformerDecoderLayer(
                decoder.width, decoder.heads, decoder.hidden, decoder.dropout, batch_first=True
            )
            self.decoder = layer.TransformerDecoder(each, decoder.layers)
            self.output = layer.Linear(decoder.width, config.vocab_size)
            self.matching = layer.Linear(decoder.width, 2)

        def remember(self, mels: Any) -> Any:
            normal = self.norm(mels.transpose(1, 3)).transpose(1, 3)
            return self.bridge(self.blocks(normal).mean(dim=3).transpose(1, 2))

        def read(self, memory: Any, tokens: Any) -> Any:
            causal = layer.Transformer.generate_square_subsequent_mask(tokens.shape[1])
            return self.decoder(self.words(tokens), memory, causal)

        def say(self, mels: Any, count: int) -> Any:
            memory = self.remember(mels)
            tokens = torch.full((len(mels), 1), decoder.start_id)
            for _ in range(count):
                chosen = self.output(self.read(memory, tokens)[:, -1:]).argmax(dim=2)
                tokens = torch.cat([tokens, chosen], dim=1)
            return tokens[:, 1:]

    return Twin()
