"""The model card: its front matter, its scores, and code that really loads the model."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import comparison_samples as samples
import pytest
import yaml

from tunewise.report.card import model_card, text
from tunewise.report.card_code import loading_code


def record(kind: str, task: str = "classification", **changes: Any) -> dict[str, Any]:
    """What `RunRecord.as_dict` gives, as far as the card reads it."""
    metric = "r2" if task == "regression" else "f1_macro"
    labels = () if task == "regression" else ("refund", 'say "hi"')
    whole = samples.comparison(task, methods=("lora",), baselines=(), seeds=1, labels=labels, rows=40, metric=metric)
    return {
        **whole["runs"][0],
        **{key: whole[key] for key in ("recipe", "data", "environment")},
        "model": {"name": "owner/base-model", "path": "somewhere", "fingerprint": "ab"},
        "handover": {"kind": kind, "paths": {}},
        **changes,
    }


def front_matter(card: str) -> dict[str, Any]:
    return yaml.safe_load(card.split("---\n")[1])


def test_the_front_matter_is_what_the_hub_reads() -> None:
    own = record("peft")
    matter = front_matter(model_card(own))
    assert matter["base_model"] == "owner/base-model" and matter["library_name"] == "peft"
    assert matter["pipeline_tag"] == "text-classification"
    (result,) = matter["model-index"][0]["results"]
    values = {metric["type"]: metric["value"] for metric in result["metrics"]}
    assert values["f1_macro"] == pytest.approx(own["scores"]["test"]["f1_macro"]["value"], abs=1e-6)


def test_the_front_matter_passes_the_hubs_own_reader() -> None:
    from huggingface_hub import ModelCard

    card = ModelCard(model_card(record("transformers")))
    assert card.data.model_name == "base-model-lora"
    assert {result.metric_type for result in card.data.eval_results} >= {"accuracy", "f1_macro"}


def test_a_folder_as_base_model_is_no_hub_id() -> None:
    assert "base_model" not in front_matter(model_card(record("peft", model={"name": "/data/models/base"})))


def test_scores_costs_labels_and_data_are_told() -> None:
    own = record("transformers", warnings=["over-fitting from epoch 2"])
    card = model_card(own)
    first = re.search(r"\| \*\*macro F1\*\* \| (\S+) \((\S+) to (\S+)\) \|", card)
    assert [float(part) for part in first.groups()] == pytest.approx(
        [own["scores"]["test"]["f1_macro"][key] for key in ("value", "low", "high")], abs=6e-4
    )
    assert 'The 2 labels, in the order of the outputs: refund, say "hi".' in card
    assert own["data"]["fingerprint"] in card and "over-fitting from epoch 2" in card
    assert "1.3\u202fM of 22.7\u202fM (5.9% of all)" in card and "## Limits" in card
    assert yaml.safe_load(re.search(r"```yaml\n(.*?)```", card, re.S).group(1)) == own["recipe"]


@pytest.mark.parametrize("task", ["classification", "multilabel", "regression"])
def test_the_code_is_python_for_every_task_and_kind(task: str) -> None:
    for kind in ("transformers", "peft", "tunewise"):
        blocks = re.findall(r"```python\n(.*?)```", model_card(record(kind, task)), re.S)
        assert len(blocks) == (1 if kind == "tunewise" else 2)
        for block in blocks:
            compile(block, "card", "exec")
        assert "from tunewise import load" in blocks[-1]


def test_pairs_of_sentences_are_given_as_two_texts() -> None:
    own = record("transformers")
    own["data"]["schema"]["text"] = ["first", "second"]
    card = model_card(own)
    assert 'tokenizer("a text like those in the data", "its second text", truncation' in card
    assert 'model.predict([("a text like those in the data", "its second text")])' in card


def run_code(card: str, folder: Path) -> dict[str, Any]:
    block = re.search(r"```python\n(.*?)```", card, re.S).group(1)
    names: dict[str, Any] = {}
    exec(compile(block.replace("path/to/this/folder", str(folder)), "card", "exec"), names)
    return names


@pytest.mark.parametrize("kind", ["transformers", "peft"])
def test_the_code_gives_the_logits_of_the_saved_model(
    kind: str, tiny_model: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    base = tiny_model("bert")
    torch.manual_seed(3)
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=2, dtype=torch.float32)
    if kind == "peft":
        model = get_peft_model(
            model, LoraConfig(task_type="SEQ_CLS", target_modules=["query"], init_lora_weights=False)
        )
    model.eval().save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.save_pretrained(tmp_path)
    names = run_code(model_card(record(kind, model={"name": str(base)})), tmp_path)
    with torch.no_grad():
        expected = model(**tokenizer("a text like those in the data", return_tensors="pt")).logits[0]
    assert torch.equal(names["logits"], expected)
    assert capsys.readouterr().out.split()[0] in ("refund", "say")


def test_hostile_text_cannot_leave_its_place() -> None:
    evil = samples.HOSTILE + '```\n---\n"""\nimport os # [a](javascript:x) | b'
    own = record("peft", method=evil, warnings=[evil], model={"name": evil})
    own["data"]["schema"]["labels"] = [evil, "b"]
    own["data"]["steps"][0]["reason"] = evil
    own["recipe"]["data"]["train"] = evil
    card = model_card(own)
    assert front_matter(card)["library_name"] == "peft"
    assert "\x1b" not in card and "\u202e" not in card
    blocks = re.findall(r"^```python\n(.*?)^```$", card, re.S | re.M)
    names = compile(blocks[0], "card", "exec").co_names
    assert "os" not in names and "from_pretrained" in names
    prose = re.sub(r"^(`{3,})\w*\n.*?^\1$", "", card.split("---\n", 2)[2], flags=re.S | re.M)
    assert not re.search(r"(?<!\\)[<\[]", prose)


def test_markdown_is_escaped() -> None:
    assert text("a_b*c <i> [x](y) | `z`") == r"a\_b\*c \<i\> \[x\](y) \| \`z\`"


def test_no_folder_of_this_machine_is_published(tmp_path: Path) -> None:
    made = record("peft")
    made["recipe"]["data"] = {"train": str(tmp_path / "secret-folder" / "tickets.csv"), "label": "intent"}
    card = model_card(made)
    assert "tickets.csv" in card and "secret-folder" not in card


def test_an_adapter_beside_changed_layers_is_loaded_by_tunewise() -> None:
    made = record("peft")
    made["plans"] = [{"inserts": [{"config": "LoraConfig", "options": {}}]}]
    assert "from peft import PeftModel" in model_card(made)
    made["plans"][0]["inserts"].insert(0, {"build": "tunewise.methods.qlora:in_four_bits", "where": []})
    card = model_card(made)
    assert "PeftModel" not in card and "from tunewise import load" in card and "4 bits" in card


@pytest.mark.parametrize(
    ("cut", "told"),
    [
        (None, None),
        ("tail", "trained on the end; the tokeniser keeps that by itself."),
        ("both", "the code above keeps the beginning, `tunewise.load` below cuts as in training."),
        ("chunks", "the model was trained on windows over all of it, whose outputs become one, as in the code above."),
    ],
)
@pytest.mark.parametrize("kind", ["transformers", "peft"])
def test_what_is_kept_of_long_texts_is_told(kind: str, cut: str | None, told: str | None) -> None:
    made = record(kind)
    made["recipe"]["train"] = {"cut": cut} if cut else {}
    code = loading_code(made)
    assert ("Of a text that is too long" in code) == bool(told) and (told or "") in code
    assert code.index("tunewise import load") > code.find("tunewise.load` below")


@pytest.mark.parametrize("family", ["bert", "gpt2", "t5"])
@pytest.mark.parametrize(
    "how", [{}, {"chunk_stride": 2, "chunk_pooling": "max"}, {"max_chunks": 2}, {"max_length": 40}], ids=str
)
def test_the_code_reads_windows_as_tunewise_does(
    how: dict[str, Any], family: str, tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from tunewise.data.tokenise import tokenise
    from tunewise.engine.settings import TrainConfig
    from tunewise.models.windows import pooled

    base = tiny_model(family)
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.unk_token
    torch.manual_seed(3)
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=2, pad_token_id=tokenizer.pad_token_id)
    model.eval().save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    made = record("transformers", model={"name": str(base)})
    made["recipe"]["train"] = train = {"cut": "chunks", "max_length": 5, **how}
    names = run_code(model_card(made), tmp_path)
    config = TrainConfig(**train)
    tokens = tokenise([("a text like those in the data",)], tokenizer, config.max_length, kept=config.kept)
    assert names["batch"]["input_ids"].tolist() == [row.tolist() for row in tokens.ids]
    batch = tokens.batch([0])
    places = batch.pop("window_places", torch.tensor([[0]]))
    with torch.no_grad():
        wanted = pooled(model(**batch).logits, places, config.chunk_pooling)[0]
    torch.testing.assert_close(names["logits"], wanted, rtol=1e-5, atol=1e-6)
    assert (len(tokens.ids) == 1) == (config.max_length == 40)


def test_the_code_for_pairs_in_windows_says_what_it_does_not() -> None:
    made = record("transformers")
    made["data"]["schema"]["text"], made["recipe"]["train"] = ["first", "second"], {"cut": "chunks"}
    code = loading_code(made)
    assert "windows over all of the longer text" in code and "truncation=True" in code and "starts = " not in code


def test_the_code_reads_no_more_of_a_text_than_the_training_did(
    tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    base = tiny_model("bert")
    AutoModelForSequenceClassification.from_pretrained(base, num_labels=2).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(base, truncation_side="left").save_pretrained(tmp_path)
    made = record("transformers", model={"name": str(base)})
    for limit, tokens in ((5, 5), (500, 9), (None, 9)):  # the text has seven words
        made["recipe"]["train"] = {"cut": "tail", "max_length": limit} if limit else {"cut": "tail"}
        names = run_code(model_card(made), tmp_path)
        whole = names["tokenizer"]("a text like those in the data").input_ids
        assert names["batch"]["input_ids"].tolist() == [[whole[0], *whole[len(whole) - tokens + 1 :]]]
