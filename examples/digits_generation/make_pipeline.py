"""Makes a small diffusion model with random weights for grey images of 8 x 8 pixels of eight classes.

python make_pipeline.py FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

CLASSES = 8


def make(folder: Path) -> None:
    """A pipeline of diffusers with a network of 700,000 parameters, in `folder`."""
    import torch
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

    torch.manual_seed(0)
    network = UNet2DModel(
        sample_size=8,
        in_channels=1,
        out_channels=1,
        layers_per_block=1,
        block_out_channels=(32, 64),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=16,
        norm_num_groups=8,
        num_class_embeds=CLASSES,
    )
    DDPMPipeline(network, DDPMScheduler(beta_schedule="squaredcos_cap_v2")).save_pretrained(folder)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
