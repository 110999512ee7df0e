"""Stage 3 of ADIFF with GPT-2 XL, for a slice of 16 TPUs or more: what is learned, and every
parameter, is split over eight devices.

    adiff convert gpt2 path/of/gpt2-xl runs/gpt2_xl
    adiff train configs/adiff_stage2.py --workdir runs/adiff_xl_stage2 --model.lm.layers 48 \\
        --model.lm.heads 25 --model.lm.width 1600 --model.stack.scan True \\
        --model.stack.remat True --mesh.fsdp 8 --init runs/adiff_stage1 --init runs/gpt2_xl
    adiff train configs/adiff_xl.py --init runs/adiff_xl_stage2
    adiff compile configs/adiff_xl.py --topology v5e:4x4

The layers of every transformer are compiled once and computed twice (`Stack`): kept as they are,
activations alone would not fit (`docs/tpu.md`). Never trained by us: cost and score are unknown.
"""

from dataclasses import replace

from adiff_jax.experiment import Experiment
from adiff_jax.models.gpt2 import GPT2_XL
from adiff_jax.nn.stack import Stack
from adiff_jax.parallel.mesh import MeshConfig

from .adiff_stage3 import get_config as fine_tuning


def get_config() -> Experiment:
    """Stage 3 with the largest of the paper's language models."""
    base = fine_tuning()
    return replace(
        base,
        name="adiff_xl",
        model=replace(base.model, lm=GPT2_XL, stack=Stack(scan=True, remat=True)),
        mesh=MeshConfig(fsdp=8),
    )
