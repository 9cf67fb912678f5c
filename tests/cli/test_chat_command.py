"""`tunewise chat`: what is said, remembered and shown; and the other commands with a language model."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tunewise.cli.chatting import Chat
from tunewise.cli.main import app
from tunewise.conformance.language_models import make_language_folder, toy_answers
from tunewise.engine.text_model import load
from tunewise.report.card_code import loading_code
from tunewise.tracking.progress import plain_lines
from tunewise.tracking.record import read_record
from tunewise.types import Schema


class Model:
    """Says what it is told to; reads no more than `most` words."""

    def __init__(self, says, form="chat", most=100):
        self.schema, self.says, self.most = Schema("generation", ("messages",), "", (), form), list(says), most
        self.read = []

    def fits(self, prompt, max_new_tokens, system=None):
        return sum(len(message["content"].split()) for message in prompt) <= self.most

    def generate(self, prompts, *, system, seed, tell, **options):
        self.read.append((prompts[0], system, seed, options))
        for piece in self.says.pop(0):
            if piece is None:
                raise KeyboardInterrupt
            tell(piece)


def talk(model, *lines, **options):
    shown, told = [], []
    chat = Chat(model, {"max_new_tokens": 5}, shown.append, told.append, **options)
    going = [chat.turn(line) for line in lines]
    return chat, "".join(shown), told, going


def roles(messages):
    return [(message["role"], message["content"]) for message in messages]


def test_what_was_said_is_remembered_until_it_is_reset():
    model = Model([["one ", "two"], ["three"], ["four"]])
    _, shown, told, going = talk(model, "first", "second", "  ", "/reset", "third", "/exit", system="be brief", seed=4)
    assert shown == "one two\nthree\nfour\n" and told == ["forgotten"]
    assert going == [True, True, True, True, True, False]
    said = [roles(prompt) for prompt, *_ in model.read]
    assert said[0] == [("user", "first")] and said[2] == [("user", "third")]
    assert said[1] == [("user", "first"), ("assistant", "one two"), ("user", "second")]
    assert [rest for _, *rest in model.read] == [["be brief", seed, {"max_new_tokens": 5}] for seed in (4, 5, 6)]


def test_ctrl_c_stops_the_answer_and_not_the_conversation():
    model = Model([["half ", None], ["whole"]])
    chat, shown, told, going = talk(model, "a", "b")
    assert shown == "half \nwhole\n" and told == ["stopped"] and going == [True, True]
    assert roles(chat.messages)[1] == ("assistant", "half ")


def test_what_does_not_fit_any_more_is_forgotten_and_told():
    model = Model([["x y"], ["z"], ["w"]], most=5)
    _, _, told, _ = talk(model, "a b", "c d", "e f g")
    assert told == [
        "the conversation is longer than the model reads: its first 2 messages are forgotten",
        "the conversation is longer than the model reads: its first 2 messages are forgotten",
    ]
    assert roles(model.read[1][0]) == [("user", "c d")] and roles(model.read[2][0]) == [("user", "e f g")]


def test_a_model_without_conversations_reads_each_line_alone():
    model = Model([["x"], ["y"]], form="completion")
    _, _, told, _ = talk(model, "a", "/system b", "c")
    assert [prompt for prompt, *_ in model.read] == ["a", "c"] and "no system message" in told[0]


def test_commands_are_listed_and_unknown_ones_told():
    chat, _, told, _ = talk(Model([["x"]]), "/system You are kind", "/nope\x1b[31m", "a")
    assert chat.system == "You are kind" and chat.model.read[0][1] == "You are kind"
    assert told[:2] == ["set", "there is no /nope"] and sum(line.startswith("/") for line in told) == 4


def test_what_the_model_writes_cannot_steer_the_terminal():
    _, shown, _, _ = talk(Model([["a\x1b]0;title\x07b\n", "\x1b[2Jc\r\u202ed\x9b"]]), "go")
    assert shown == "ab\ncd\n" and plain_lines("a\tb\u2028c\r\nd\re") == "a\tb\nc\nde"


# ---------------------------------------------------------------- the commands, on models trained here


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """`trained(form, method, family)`: the folder of a run, and the file of its rows."""
    made = {}

    def make(form, method="full", family="llama"):
        if (form, method, family) not in made:
            folder = tmp_path_factory.mktemp(f"{family}-{form}-{method}")
            make_language_folder(family, folder / "base", 2)
            rows = [row for split in toy_answers(40, 12).splits.values() for row in split.texts]
            lines = [json.dumps(_columns(form, *row)) for row in rows]
            (folder / "rows.jsonl").write_text("\n".join(lines), encoding="utf-8")
            (folder / "recipe.yaml").write_text(
                "model: base\ndata: {train: rows.jsonl}\ncheck: {skip: [imbalance]}\n"
                f"method: {method}\ntrain: {{max_steps: 30, batch_size: 16, learning_rate: 0.01, device: cpu}}\n",
                encoding="utf-8",
            )
            done = CliRunner().invoke(app, ["train", str(folder / "recipe.yaml"), "--out", str(folder / "run")])
            assert done.exit_code == 0, done.output
            made[form, method, family] = folder
        return made[form, method, family]

    return make


def _columns(form, prompt, answer):
    if form == "chat":
        return {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]}
    return {"prompt": prompt, "completion": answer} if form == "completion" else {"text": f"{prompt} {answer}"}


def run_code(record, folder):
    """Runs the first block of the card's code as it stands."""
    block = loading_code(record).split("```python\n")[1].split("```")[0]
    exec(compile(block.replace("path/to/this/folder", str(folder)), "card", "exec"), {})


@pytest.mark.parametrize(
    ("form", "method", "family"),
    [("chat", "full", "llama"), ("completion", "lora", "llama"), ("completion", "full", "t5")],
)
def test_the_code_of_the_card_writes_what_tunewise_does(form, method, family, trained, capsys):
    run = trained(form, method, family) / "run"
    prompt = "a prompt like those in the data"
    card = (run / "model" / "README.md").read_text(encoding="utf-8")
    tag = "text2text-generation" if family == "t5" else "text-generation"
    assert f"pipeline_tag: {tag}" in card and "| **perplexity** |" in card
    written = load(run).generate([prompt], max_new_tokens=100)[0]
    capsys.readouterr()
    run_code(read_record(run).as_dict(), run / "model")
    assert capsys.readouterr().out == written + "\n"


def test_a_conversation_through_a_pipe(trained):
    run = trained("chat") / "run"
    command = ["chat", str(run), "--max-new-tokens", "6", "--system", "please"]
    done = CliRunner().invoke(app, command, input="money refund\n/reset\nmoney refund\n/exit\nnever\n")
    (wanted,) = load(run).generate(["money refund"], system="please", max_new_tokens=6)
    assert done.stdout == f"{wanted}\n{wanted}\n" and done.stderr.strip() == "(forgotten)"


def test_predict_writes_and_evaluate_measures(trained, tmp_path):
    folder = trained("completion", "lora")
    run, runner = str(folder / "run"), CliRunner()
    model, rows = load(run), [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    texts = model.generate([row["prompt"] for row in rows], max_new_tokens=4)

    said = runner.invoke(app, ["predict", run, "--text", rows[0]["prompt"], "--max-new-tokens", "4"])
    assert said.output == texts[0] + "\n"
    for name in ("out.jsonl", "out.csv"):
        out = tmp_path / name
        command = ["predict", run, "--data", str(folder / "rows.jsonl"), "--out", str(out), "--max-new-tokens", "4"]
        assert runner.invoke(app, command).exit_code == 0
        lines = out.read_text(encoding="utf-8").splitlines()
        if name == "out.jsonl":
            assert [json.loads(line)["written"] for line in lines] == texts
        else:
            assert lines[0] == "prompt,written" and len(lines) == len(rows) + 1

    done = runner.invoke(app, ["evaluate", run, "--data", str(folder / "rows.jsonl"), "--json"])
    nll, tokens, _ = model.numbers([(row["prompt"], row["completion"]) for row in rows]).sum(axis=0, dtype=np.float64)
    assert json.loads(done.stdout)["scores"]["perplexity"]["value"] == pytest.approx(math.exp(nll / tokens), rel=1e-6)


def test_options_of_writing_are_refused_where_nothing_is_written(trained, tmp_path):
    runner = CliRunner()
    done = runner.invoke(app, ["chat", str(tmp_path)])
    assert done.exit_code != 0 and "no trained model" in done.output
    done = runner.invoke(app, ["chat", str(trained("completion", "lora") / "run"), "--system", "x"])
    assert done.exit_code != 0 and "knows no system message" in done.output
    done = runner.invoke(app, ["predict", str(trained("chat") / "run"), "--text", "a", "--top-k", "5"])
    assert done.exit_code != 0 and "temperature" in done.output


# ---------------------------------------------------------------- stages


def test_a_run_is_the_model_of_the_next(trained):
    folder = trained("completion", "lora")
    runner, before = CliRunner(), load(folder / "run")
    first = ["train", str(folder / "recipe.yaml"), "--set", "model=run", "--set", "train.max_steps=1"]
    done = runner.invoke(app, [*first, "--set", "train.learning_rate=1e-9", "--out", str(folder / "second")])
    assert done.exit_code == 0, done.output
    rows = [("money the refund", "a charged"), ("late box", "the late")]
    np.testing.assert_allclose(load(folder / "second").log_probs(rows), before.log_probs(rows), rtol=1e-4)
    merged = folder / "run" / "merged"
    stamp = (merged / "manifest.json").stat().st_mtime_ns
    done = runner.invoke(app, [*first, "--set", "model=second", "--out", str(folder / "third")])
    assert done.exit_code == 0, done.output
    assert (merged / "manifest.json").stat().st_mtime_ns == stamp  # once is enough
    assert runner.invoke(app, ["runs", "verify", str(folder / "run")]).exit_code == 0


def test_layers_that_are_no_part_of_the_weights_are_refused_as_a_base(trained):
    folder = trained("completion", "prompt_tuning")
    command = ["train", str(folder / "recipe.yaml"), "--set", "model=run", "--out", str(folder / "second")]
    done = CliRunner().invoke(app, command)
    assert done.exit_code != 0 and "cannot become one with its base" in done.output
    assert not Path(folder / "run" / "merged").exists()
