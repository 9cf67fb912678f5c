"""Writes the texts of this example: short stories made of a small grammar, whose endings are happy or sad.

    python stories.py FOLDER

`stories.txt` is to pretrain on, `sft.jsonl` holds prompts with stories, half of which end happily, `preferences.jsonl`
two endings of one story, the happy one chosen, `prompts.jsonl` and `held_out.jsonl` prompts that no other file has.
Everything follows from the seed.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

NAMES = ("Tom", "Mia", "Ben", "Lily", "Sam", "Anna", "Max", "Ella", "Leo", "Nora", "Tim", "Rosa")
ANIMALS = ("cat", "dog", "bird", "frog", "bear", "fox", "duck", "mouse", "rabbit", "horse")
LOOKS = ("small", "big", "young", "old", "shy", "brave", "funny", "quiet")
THINGS = ("ball", "kite", "drum", "book", "hat", "cake", "boat", "lamp", "flower", "key", "shell", "coat")
COLOURS = ("red", "blue", "green", "yellow", "white", "golden")
PLACES = ("in the park", "by the river", "near the hill", "in the garden", "at the beach", "in the forest")
HELPERS = ("mother", "father", "sister", "brother", "friend", "neighbour")
BEGINNINGS = (
    "Once upon a time, there was a {look} {animal} called {name}, who lived {place}.",
    "There once was a {look} {animal}. Everybody called the {animal} {name}.",
    "{name} was a {look} {animal} who loved to play {place}.",
)
WISHES = (
    "One day, {name} found a {colour} {thing} {place}.",
    "One morning, {name} saw a {colour} {thing} {place} and wanted to have it.",
    "{name} had a {colour} {thing}, and took it along every day.",
)
TURNS = (
    "Then the wind came, and the {thing} was gone.",
    "But the {thing} fell into the water.",
    "But the {thing} broke when {name} played with it.",
    "Then a big crow took the {thing} and flew away.",
)
DEEDS = (
    "{name} asked the {helper} for help, and they looked everywhere.",
    "{name} sat down and thought for a long time.",
    "The {helper} came and saw what was wrong.",
)
HAPPY = (
    "At last they had the {thing} back, and {name} was happy.",
    "The {helper} gave {name} a new {thing}, and {name} smiled all day.",
    "They made the {thing} as good as new, and {name} laughed and danced.",
    "{name} hugged the {helper}, and they were glad and ate some cake.",
)
SAD = (
    "They never saw the {thing} again, and {name} was sad.",
    "Nobody could help, and {name} cried all night.",
    "{name} went home alone in the rain, tired and hungry.",
    "The {helper} was angry, and {name} had to go to bed without dinner.",
)


class Story:
    """A story whose ending is still open."""

    def __init__(self, random_: random.Random):
        choose = random_.choice
        self.words = {
            "name": choose(NAMES),
            "animal": choose(ANIMALS),
            "look": choose(LOOKS),
            "thing": choose(THINGS),
            "colour": choose(COLOURS),
            "place": choose(PLACES),
            "helper": choose(HELPERS),
        }
        parts = [choose(group).format(**self.words) for group in (BEGINNINGS, WISHES, TURNS, DEEDS)]
        self.prompt = f"A story of {self.words['name']} the {self.words['animal']} and a {self.words['thing']}:"
        self.begun = " ".join(parts)
        self.random = random_

    def ended(self, happily: bool) -> str:
        return f"{self.begun} {self.random.choice(HAPPY if happily else SAD).format(**self.words)}"


def write(folder: Path, seed: int = 0) -> None:
    """All files, into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = random.Random(seed)
    held_back = {Story(draw).prompt for _ in range(600)}

    def stories(count: int) -> list[Story]:
        found: list[Story] = []
        while len(found) < count:
            story = Story(draw)
            if story.prompt not in held_back:
                found.append(story)
        return found

    texts = [story.ended(happily=number % 2 == 0) for number, story in enumerate(stories(3000))]
    (folder / "stories.txt").write_text("\n\n".join(texts) + "\n", encoding="utf-8")
    supervised = [
        {"prompt": story.prompt, "completion": " " + story.ended(happily=number % 2 == 0)}
        for number, story in enumerate(stories(2000))
    ]
    pairs = [
        {"prompt": story.prompt, "chosen": " " + story.ended(True), "rejected": " " + story.ended(False)}
        for story in stories(1200)
    ]
    prompts = [{"prompt": prompt} for prompt in draw.sample(sorted(held_back), len(held_back))]
    files = {"sft": supervised, "preferences": pairs, "prompts": prompts[:-150], "held_out": prompts[-150:]}
    for name, rows in files.items():
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
