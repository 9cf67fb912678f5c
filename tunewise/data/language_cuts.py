"""What was cut of the rows of a language task, in words, whatever an objective makes of them."""

from __future__ import annotations

from tunewise.data.inputs import Inputs
from tunewise.data.labelled import LabelledTokens
from tunewise.data.pairs import PairTokens
from tunewise.data.rollout_tokens import PromptTokens


def told_cuts(read: Inputs, name: str, max_length: int) -> list[str]:
    """Lines for the log on a split; none where all is whole. Of pairs, sequences are counted: two for each row."""
    if isinstance(read, PromptTokens):
        left = "too long for what the model reads beside an answer: their beginnings were cut"
        told = f"{read.cut:,} of {len(read):,} prompts of {name} are {left}, {read.lost:,} tokens lost"
        return [told] if read.cut else []
    tokens = read.both if isinstance(read, PairTokens) else read
    if isinstance(tokens, LabelledTokens):
        return tokens.told(f"{name} (two for each row)" if tokens is not read else name, max_length)
    return []
