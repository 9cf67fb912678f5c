"""What each stage of the example has brought, on prompts that no stage has seen: a table.

    python table.py FOLDER sft dpo grpo ppo control

Each model writes one story to each prompt (drawn, temperature 1, the same seed for all). `ends happily` is checked by
`endings.py`; `reward` is what the reward model makes of it; `KL to sft` the mean of ln p - ln p of the sft model over
the stories written, in nats per story; `perplexity` is that of the stories which the sft stage was tested on.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from endings import happy_ending

import tunewise

TOKENS = 100


def lines(folder: Path, names: list[str]) -> list[str]:
    """The table, line by line."""
    prompts = [json.loads(line)["prompt"] for line in (folder / "held_out.jsonl").read_text().splitlines()]
    stories = [json.loads(line) for line in (folder / "sft.jsonl").read_text().splitlines()[-200:]]
    judge, start = tunewise.load(folder / "reward"), tunewise.load(folder / "sft")
    found = ["| model | ends happily | reward | KL to sft | perplexity |", "|---|---|---|---|---|"]
    for name in names:
        model = tunewise.load(folder / name)
        written = model.generate(prompts, max_new_tokens=TOKENS, temperature=1.0)
        answers = [pair for pair in zip(prompts, written, strict=True) if pair[1]]
        distance = model.log_probs(answers) - start.log_probs(answers)
        numbers = model.numbers([(row["prompt"], row["completion"]) for row in stories])
        perplexity = np.exp(numbers[:, 0].sum() / numbers[:, 1].sum())
        happy, reward = happy_ending(prompts, written), judge.scores(list(zip(prompts, written, strict=True)))
        cells = (name, interval(happy), interval(reward), interval(distance), f"{perplexity:.2f}")
        found.append(f"| {' | '.join(cells)} |")
    return found


def interval(values: list[float] | np.ndarray) -> str:
    """Mean with its 95% interval over stories, by the normal distribution."""
    values = np.asarray(values, dtype=np.float64)
    half = 1.96 * values.std(ddof=1) / np.sqrt(len(values))
    return f"{values.mean():.2f} ({values.mean() - half:.2f} to {values.mean() + half:.2f})"


if __name__ == "__main__":
    print("\n".join(lines(Path(sys.argv[1]), sys.argv[2:])))
