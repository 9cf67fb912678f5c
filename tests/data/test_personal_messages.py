"""Personal data in conversations: replaced inside what is said, with the rows sound as before."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunewise.chat.messages import from_text
from tunewise.data.message_texts import with_texts
from tunewise.data.prepare import load_split, prepare
from tunewise.data.settings import DataConfig

COUNT = 40


def written(folder: Path, row_of: Callable[[int], dict[str, Any]], name: str = "a.jsonl") -> str:
    (folder / name).write_text("\n".join(json.dumps(row_of(number)) for number in range(COUNT)))
    return name


def turns(question: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def config(train: str, do: str = "replace") -> DataConfig:
    return DataConfig(train=train, clean={"personal_data": {"do": do, "kinds": ["EMAIL_ADDRESS"]}})


def all_texts(data) -> list[str]:
    return [text for split in data.splits.values() for row in split.texts for text in row]


def test_texts_inside_messages_change_and_nothing_else():
    row = json.dumps(
        {
            "messages": [
                {"role": "user", "content": 'say "a"\nA'},
                {
                    "role": "assistant",
                    "content": "",
                    "tool_calls": [
                        {"type": "function", "function": {"name": "a", "arguments": '{"a": "a b", "n": 1}'}},
                        {"type": "function", "function": {"name": "a", "arguments": {"a": ["a", {"a": "x"}]}}},
                    ],
                },
            ],
            "tools": [{"type": "function", "function": {"name": "a", "description": "a"}}],
        }
    )
    changed = json.loads(with_texts(row, lambda text: text.replace("a", '"')))
    assert changed["messages"][0] == {"role": "user", "content": 's"y """\nA'}
    first, second = (call["function"] for call in changed["messages"][1]["tool_calls"])
    assert first["name"] == "a" and json.loads(first["arguments"]) == {"a": '" b', "n": 1}
    assert second["arguments"] == {"a": ['"', {"a": "x"}]}
    assert changed["tools"] == json.loads(row)["tools"]
    assert json.loads(with_texts(row, lambda text: text)) == json.loads(row)


def test_mail_addresses_are_replaced_in_what_is_said(tmp_path: Path) -> None:
    """Beside quotes and line breaks, which JSON writes as two characters: the address must not take a part of one."""

    def row_of(number: int) -> dict[str, Any]:
        return {"messages": turns(f'ask {number}\nann{number}@example.org\n"x"', f'write to "bob{number}@example.org"')}

    data = prepare(config(written(tmp_path, row_of)), tmp_path)
    texts = all_texts(data)
    assert len(texts) == COUNT and not any("@" in text for text in texts)
    for text in texts:
        asked, answered = from_text(text).messages
        assert asked["content"].endswith('\n<EMAIL_ADDRESS>\n"x"') and asked["role"] == "user"
        assert answered["content"] == 'write to "<EMAIL_ADDRESS>"'
    told = [step.reason for step in data.steps if step.name == "personal data"]
    assert len(told) == 1 and f"{2 * COUNT} EMAIL_ADDRESS in rows 1, 2, " in told[0] and told[0].endswith("replaced")


def test_pairs_and_new_files_too(tmp_path: Path) -> None:
    def row_of(number: int) -> dict[str, Any]:
        return {
            "prompt": [{"role": "user", "content": f"ask {number}"}],
            "chosen": [{"role": "assistant", "content": f"ann{number}@example.org"}],
            "rejected": [{"role": "assistant", "content": "no"}],
        }

    chosen = config(written(tmp_path, row_of))
    data = prepare(chosen, tmp_path)
    assert not any("@" in text for text in all_texts(data)) and data.schema.task == "preference"
    new = load_split(chosen, "a.jsonl", tmp_path, data.schema, "new", with_targets=True)
    assert len(new) == COUNT and not any("@" in text for row in new.texts for text in row)
    assert json.loads(new.texts[0][1])[-1]["content"] == "<EMAIL_ADDRESS>"


@pytest.mark.parametrize("chat", [True, False])
def test_rows_are_dropped_from_train(tmp_path: Path, chat: bool) -> None:
    def row_of(number: int) -> dict[str, Any]:
        answer = "ann@example.org" if number % 4 == 0 else f"yes {number}"
        return {"messages": turns(f"ask {number}", answer)} if chat else {"prompt": f"ask {number}", "answer": answer}

    data = prepare(config(written(tmp_path, row_of), do="drop"), tmp_path)
    assert sum(map(len, data.splits.values())) == COUNT - COUNT // 4
