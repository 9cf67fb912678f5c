"""Makes a small vision transformer with random weights for images of 8 x 8 pixels: something to pretrain.

python make_vision_model.py FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

SIDE = 8
PATCH = 2


def make(folder: Path) -> None:
    """A model of 140,000 parameters with its image processor, in `folder`."""
    import torch
    from transformers import ViTConfig, ViTForImageClassification
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    config = ViTConfig(
        image_size=SIDE,
        patch_size=PATCH,
        hidden_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=128,
    )
    torch.manual_seed(0)
    ViTForImageClassification(config).save_pretrained(folder)
    ViTImageProcessorPil(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
