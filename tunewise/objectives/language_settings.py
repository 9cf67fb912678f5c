"""The options of the objectives of language models, each chosen by its name: `objective: sft`, `objective: {dpo: {beta:
0.2}}`."""

from __future__ import annotations

from typing import Literal

from tunewise.config.base import Config


class SftConfig(Config):
    """Supervised fine-tuning: cross-entropy of the tokens to learn."""

    loss_on: Literal["responses", "all"] = "responses"
    """Which tokens are to be learnt: those of answers (of every turn of the assistant), or of prompts too. Plain text
    is learnt whole."""
