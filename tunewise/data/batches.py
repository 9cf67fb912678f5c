"""Which rows make which batch: decided by seed and epoch alone, so that a resumed run sees the same.

`lengths` are those of all rows, in tokens; a batch takes its number of rows times its longest: padded tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tunewise.data.inputs import Inputs, sizes_of

POOL_ROWS = 2000
POOL_STEPS = 64

# For passes without gradients. MiniLM on one core is as fast with 512 to 4,096 tokens a batch, whatever the length of
# its rows, and slower beyond (fp32, 128 a row, thousand tokens a second: 1.7 with 4,096, 1.4 with 8,192, 1.0 with
# 16,384). 4,096 are the usual 32 rows of 128. Texts on a CPU are read in smaller batches, which take less memory: 1,000
# rows of banking77 in 2.06 s with 1,024 tokens, 2.13 s with 512, and a run of LoRA, of which that is the most, takes 30
# MB less; with 2,268 it was 50 MB more than with 1,024, in the same time. Features of 10,000 rows take 7.5 s and 270 MB
# with 1,024, 7.4 s and 450 MB with 2,048.
# A batch of 512 tokens or more ends where rows are a tenth shorter than its first: 22 batches and 4.8% padding
# for the 3,080 test rows of banking77; batches of 32 rows were 97 and 3.7%.
TOKENS_PER_ROW, TOKENS_PER_ROW_ON_A_CPU = 128, 16
ENOUGH_TOKENS = 512
SIMILAR = 0.9

# For writing, where each new token reads all weights for a batch as for a row, and keeps two vectors a layer. A Llama
# of 20M with 32,000 tokens, on one core, ms a token: 3.3 in batches of 8 rows, 1.8 of 16, 1.1 of 32, 0.8 of 64.
TIMES_AS_MANY = 2
SIMILAR_PROMPTS = 0.5


@dataclass(frozen=True)
class BatchSize:
    """How large a batch is: so many rows, or, where `tokens` is given, as many as fit so many padded tokens (at least
    one). `accumulate` batches make a step."""

    rows: int
    tokens: int | None = None
    accumulate: int = 1

    def batches(self, rows: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
        """Rows in batches, in their order; by tokens, they must come from long to short."""
        return self._cut(rows, lengths, 1)

    def steps(self, rows: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
        """The rows of each step, likewise: at most `accumulate` batches."""
        return self._cut(rows, lengths, self.accumulate)

    def by_length(self, rows: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Rows as `batches` takes them, with similar lengths beside each other; those of one length in their order."""
        return rows[np.argsort(lengths[rows] if self.tokens is None else -lengths[rows], kind="stable")]

    def most_padded(self, rows: np.ndarray, lengths: np.ndarray) -> int:
        """The padded tokens of the largest batch of a step."""
        return max(padded_tokens(batch, lengths) for batch in self.batches(rows, lengths))

    def rows_per_step(self, lengths: np.ndarray) -> int:
        """Rows of a step; by tokens, of one with rows of mean length."""
        rows = self.rows if self.tokens is None else max(1, int(self.tokens / lengths.mean()))
        return rows * self.accumulate

    def _cut(self, rows: np.ndarray, lengths: np.ndarray, times: int) -> list[np.ndarray]:
        if self.tokens is not None:
            return _by_tokens(rows, lengths, self.tokens, times)
        size = self.rows * times
        return [rows[start : start + size] for start in range(0, len(rows), size)]


def epoch_steps(
    lengths: np.ndarray, size: BatchSize, *, seed: int, epoch: int, group_by_length: bool
) -> list[np.ndarray]:
    """The rows of each optimiser step: all rows in random order, cut up; the last cut may be smaller, none is dropped.

    With `group_by_length`, rows are sorted by length within random pools of at least 2,000 rows and 64 steps, and the
    steps are shuffled: little padding, yet other neighbours in every epoch, since rows of one length are in random
    order. Share of padding in batches of 8, 16, 32 rows: banking77 (10,003 rows) 0.9%, 2.1%, 3.7%, where pools of 50
    batches had 4.1%, 5.0%, 5.8%, and random order 50%, 60%, 66%; the example data (1,152 rows) 0.9%, 2.0%, 4.1%, where
    they had 2.7%, 4.1%, 4.1%. In batches of 512, 1,024, 4,096 tokens: banking77 1.8%, 1.5%, 3.2%.

    In epoch 0 the step with the batch of most padded tokens comes first, so that what does not fit in memory fails at
    once.
    """
    generator = np.random.default_rng([seed, epoch])
    order = generator.permutation(len(lengths))
    if group_by_length:
        pools = _pools(order, size.rows_per_step(lengths))
        steps = [step for pool in pools for step in size.steps(size.by_length(pool, lengths), lengths)]
        steps = [steps[place] for place in generator.permutation(len(steps))]
    else:
        steps = size.steps(order, lengths)
    return largest_first(steps, size, lengths) if epoch == 0 else steps


def largest_first(steps: list[np.ndarray], size: BatchSize, lengths: np.ndarray) -> list[np.ndarray]:
    """The step with the batch of most padded tokens changes places with the first."""
    if steps:
        largest = int(np.argmax([size.most_padded(step, lengths) for step in steps]))
        steps[0], steps[largest] = steps[largest], steps[0]
    return steps


def written_batches(lengths: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """All rows in batches to be continued with kept keys and values, longest first: twice the tokens of
    `sorted_batches`, at most twice `batch_size` rows, and rows beside others of half their length.

    Args:
        lengths: of the rows when they have been written.
    """
    most = TIMES_AS_MANY * batch_size
    batches = sorted_batches(lengths, most, SIMILAR_PROMPTS)
    return [part for batch in batches for part in np.array_split(batch, -(-len(batch) // most))]


def pass_batches(inputs: Inputs, batch_size: int, device: str, rows: np.ndarray | None = None) -> list[np.ndarray]:
    """`sorted_batches` of what a model reads on a device of this type: of texts on a CPU, smaller ones.

    Args:
        rows: which of them, int64; None for all.
    """
    small = device == "cpu" and not hasattr(inputs, "sizes")  # an image takes what hundreds of tokens take
    per_row, sizes = TOKENS_PER_ROW_ON_A_CPU if small else TOKENS_PER_ROW, sizes_of(inputs)
    batches = sorted_batches(sizes if rows is None else sizes[rows], batch_size, tokens_per_row=per_row)
    return batches if rows is None else [rows[batch] for batch in batches]


def sorted_batches(
    lengths: np.ndarray, batch_size: int, similar: float = SIMILAR, tokens_per_row: int = TOKENS_PER_ROW
) -> list[np.ndarray]:
    """All rows in batches of similar length for a pass without gradients, longest first, so that what does not fit
    fails at once.

    A batch holds at most as many padded tokens as `batch_size` rows of `tokens_per_row`, and never more than
    `batch_size` of the longest rows. One that has enough ends where rows are shorter than `similar` times its first.
    """
    order = np.argsort(-lengths, kind="stable")
    budget = batch_size * min(tokens_per_row, int(lengths.max(initial=1)))
    shortness = -lengths[order]  # ascending, as searchsorted needs it
    batches, start = [], 0
    while start < len(order):
        width = -int(shortness[start])
        most, enough = max(1, budget // width), max(1, ENOUGH_TOKENS // width)
        alike = int(np.searchsorted(shortness, -similar * width, side="right")) - start
        end = start + min(most, max(enough, alike))
        batches.append(order[start:end])
        start = end
    return batches


def rows_at_once(length: int, batch_size: int) -> int:
    """How many rows of this length are a batch of `sorted_batches`."""
    return max(1, batch_size * min(TOKENS_PER_ROW, length) // length)


def padded_tokens(rows: np.ndarray, lengths: np.ndarray) -> int:
    """What a batch of these rows takes."""
    return len(rows) * int(lengths[rows].max())


def _pools(order: np.ndarray, rows_per_step: int) -> list[np.ndarray]:
    """Parts of nearly equal size, of whole steps but for the last."""
    count = max(1, len(order) // max(POOL_ROWS, POOL_STEPS * rows_per_step))
    size = -(-len(order) // (count * rows_per_step)) * rows_per_step
    return [order[start : start + size] for start in range(0, len(order), size)]


def _by_tokens(rows: np.ndarray, lengths: np.ndarray, budget: int, times: int = 1) -> list[np.ndarray]:
    """Rows that come from long to short, so many times as many as fit the budget with the first."""
    parts, start = [], 0
    while start < len(rows):
        end = start + times * max(1, budget // int(lengths[rows[start]]))
        parts.append(rows[start:end])
        start = end
    return parts
