from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModel, AutoTokenizer, ByT5Tokenizer

from tunewise.data.tokenise import tokenise
from tunewise.errors import ModelError
from tunewise.models.load import fresh_model, load_net
from tunewise.models.locate import locate
from tunewise.types import Schema

SCHEMA = Schema("classification", ("message",), "label", ("low", "mid", "high"))
FAMILIES = [
    "bert",
    "roberta",
    "distilbert",
    "gpt2",
    "llama",
    "modernbert",
    "deberta-v2",
    "electra",
    "albert",
    "mpnet",
    "t5",
]


@pytest.fixture
def model(tiny_bert: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bert, tmp_path / "model"))


def load(folder: Path, **options):
    return load_net(locate(str(folder), folder.parent), options.pop("schema", SCHEMA), **options)


def change(folder: Path, file: str, **changes: object) -> None:
    content = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps({**content, **changes}))


def refused(folder: Path, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        load(folder)
    assert caught.value.where and caught.value.fix


def test_pretrained_weights_are_those_of_the_file_and_the_seed_decides_the_new_ones(tiny_bert):
    stored = load_file(tiny_bert / "model.safetensors")
    first, again, other = (dict(load(tiny_bert, seed=seed).model.named_parameters()) for seed in (1, 1, 2))
    assert len(stored) == len(first) - 2
    assert all(torch.equal(tensor, first[f"bert.{name}"]) for name, tensor in stored.items())
    assert torch.equal(first["classifier.weight"], again["classifier.weight"])
    assert not torch.equal(first["classifier.weight"], other["classifier.weight"])
    assert first["classifier.weight"].shape == (3, 32)
    assert {parameter.dtype for parameter in first.values()} == {torch.float32}


def test_what_came_before_does_not_change_the_new_head(tiny_bert):
    torch.manual_seed(99)
    torch.rand(7)
    weight = load(tiny_bert, seed=1).model.classifier.weight
    assert torch.equal(weight, load(tiny_bert, seed=1).model.classifier.weight)


@pytest.mark.parametrize(
    ("task", "labels", "problem", "outputs"),
    [
        ("classification", ("x", "y"), "single_label_classification", 2),
        ("multilabel", ("x", "y", "z"), "multi_label_classification", 3),
        ("regression", (), "regression", 1),
    ],
)
def test_the_configuration_says_task_and_labels(tiny_bert, task, labels, problem, outputs):
    config = load(tiny_bert, schema=Schema(task, ("t",), "l", labels)).model.config
    names = labels or ("score",)
    assert (config.problem_type, config.num_labels) == (problem, outputs)
    assert config.id2label == dict(enumerate(names))
    assert config.label2id == {name: number for number, name in enumerate(names)}


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_those_of_transformers_own_model(family, tiny_model):
    from transformers import AutoModelForSequenceClassification

    net = load(tiny_model(family), seed=3)
    torch.manual_seed(3)
    own = AutoModelForSequenceClassification.from_pretrained(
        tiny_model(family), num_labels=3, pad_token_id=net.tokenizer.pad_token_id
    )
    batch = tokenise([("thanks for the parcel",), ("my refund is late today",)], net.tokenizer, 64).batch([0, 1])
    assert torch.equal(net.model.eval()(**batch).logits, own.eval()(**batch).logits)


@pytest.mark.parametrize("family", FAMILIES)
def test_dropout_reaches_every_dropout_of_the_model(family, tiny_model):
    net = load(tiny_model(family), dropout=0.37)
    rates = {
        f"{path}.{key}": value
        for path, module in net.model.named_modules()
        for key, value in vars(module).items()
        if key in ("p", "dropout", "drop_prob", "attention_dropout", "dropout_prob", "hidden_dropout")
        and isinstance(value, (int, float))
    }
    assert rates and set(rates.values()) == {0.37}, rates


def test_dropout_is_left_as_it_is_where_not_given_and_layerdrop_is_no_dropout(tiny_bert, model):
    assert {m.p for m in load(tiny_bert).model.modules() if isinstance(m, nn.Dropout)} == {0.1}
    change(model, "config.json", layerdrop=0.2, hidden_dropout_prob=0.25)
    config = load(model, dropout=0.0).model.config
    assert (config.layerdrop, config.hidden_dropout_prob, config.classifier_dropout) == (0.2, 0.0, 0.0)


def test_max_length_is_the_smallest_of_the_limits(tiny_model, tiny_bert, tmp_path):
    assert load(tiny_bert).max_length == 64
    assert load(tiny_bert, max_length=10).max_length == 10
    for family in ("roberta", "mpnet"):  # a table of 66 positions, of which the first two are never read
        folder = Path(shutil.copytree(tiny_model(family), tmp_path / family))
        change(folder, "tokenizer_config.json", model_max_length=int(1e30))
        net = load(folder)
        assert net.max_length == 64
        row = {"input_ids": torch.full((1, 64), 7), "attention_mask": torch.ones(1, 64, dtype=torch.long)}
        assert torch.isfinite(net.model.eval()(**row).logits).all()
        with pytest.raises((IndexError, RuntimeError)):
            net.model(input_ids=torch.full((1, 65), 7))


def test_a_tokeniser_without_a_limit_leaves_the_models_or_a_finite_one(tiny_model, tmp_path):
    for family, limit in (("bert", 64), ("t5", 1_000_000)):
        folder = Path(shutil.copytree(tiny_model(family), tmp_path / family))
        change(folder, "tokenizer_config.json", model_max_length=int(1e30))
        assert load(folder).max_length == limit


@pytest.mark.parametrize(
    ("own", "wanted", "kept", "side", "noted"),
    [
        ("right", None, "head", "right", False),
        ("left", None, "tail", "left", False),
        ("left", "head", "head", "right", True),
        ("left", "both", "both", "right", True),
        ("left", "tail", "tail", "left", False),
        ("right", "tail", "tail", "left", False),
        ("right", "both", "both", "right", False),
    ],
)
def test_which_end_of_long_texts_is_kept(own, wanted, kept, side, noted, model, tmp_path):
    change(model, "tokenizer_config.json", truncation_side=own)
    net = load(model, kept=wanted)
    told = f"the tokeniser keeps the end of long texts; train.cut is {wanted}, and goes before it"
    assert (net.kept, net.notes) == (kept, (told,) if noted else ())
    net.tokenizer.save_pretrained(tmp_path / "saved")
    assert AutoTokenizer.from_pretrained(tmp_path / "saved").truncation_side == side


def test_both_ends_of_pairs_need_a_tokeniser_that_tells_them_apart(model, monkeypatch):
    monkeypatch.setattr("tunewise.models.load.load_tokenizer", lambda located: ByT5Tokenizer(model_max_length=64))
    monkeypatch.setattr("tunewise.models.load.check_vocabulary", lambda *whatever: None)
    pairs = Schema("classification", ("first", "second"), "label", ("a", "b"))
    with pytest.raises(ModelError, match="does not tell which of two texts a token is of") as caught:
        load(model, schema=pairs, kept="both")
    assert "train.cut" in caught.value.fix and caught.value.where == str(model)
    assert load(model, schema=pairs, kept="tail").kept == "tail"
    assert load(model, kept="both").kept == "both"


@pytest.mark.parametrize("family", FAMILIES)
def test_padding_does_not_change_logits(family, tiny_model):
    net = load(tiny_model(family))
    net.model.eval()
    texts = [("thanks",), ("my parcel is late and the courier was with it",), ("refund please unheardof",)]
    tokens = tokenise(texts, net.tokenizer, net.max_length)
    together = net.model(**tokens.batch([0, 1, 2])).logits
    alone = torch.cat([net.model(**tokens.batch([row])).logits for row in range(3)])
    assert torch.allclose(together, alone, atol=1e-6)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_missing_padding_token_is_the_end_of_text_and_said(family, tiny_model):
    net = load(tiny_model(family))
    assert net.tokenizer.pad_token == "</s>" and net.model.config.pad_token_id == net.tokenizer.eos_token_id
    assert net.notes == ("the tokeniser has no padding token; '</s>' pads, with the attention mask set",)
    # An unknown word at the end is not taken for padding: the last word counts.
    unknown, none = (tokenise([(text,)], net.tokenizer, 64).batch([0]) for text in ("thanks unheardof", "thanks"))
    net.model.eval()
    assert not torch.allclose(net.model(**unknown).logits, net.model(**none).logits)


def test_no_token_to_pad_with_at_all(model):
    content = json.loads((model / "tokenizer_config.json").read_text())
    plain = {key: value for key, value in content.items() if not key.endswith("_token")}
    (model / "tokenizer_config.json").write_text(json.dumps(plain))
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    (model / "tokenizer.json").write_text(json.dumps({**tokenizer, "added_tokens": []}))
    refused(model, "no token to pad with")


@pytest.mark.parametrize("family", FAMILIES)
def test_token_types_are_made_only_for_models_that_read_them(family, tiny_model):
    net = load(tiny_model(family), schema=Schema("classification", ("a", "b"), "l", ("x", "y")))
    batch = tokenise([("thanks", "my parcel")], net.tokenizer, 64).batch([0])
    assert ("token_type_ids" in batch) == (family in ("bert", "electra", "albert"))
    assert torch.isfinite(net.model(**batch).logits).all()


# ---------------------------------------------------------------- what cannot be used


def test_unknown_model_type_and_no_text_model(model):
    change(model, "config.json", model_type="nonsuch")
    refused(model, "transformers does not know this model")
    change(model, "config.json", model_type="vit")
    refused(model, "cannot make a text classifier|does not know")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers(model, value):
    weights = load_file(model / "model.safetensors")
    weights["encoder.layer.2.output.dense.weight"][3, 5] = value
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    refused(model, r"NaN or infinity in bert\.encoder\.layer\.2\.output\.dense\.weight")


def test_weights_of_other_shapes_or_missing(model):
    weights = load_file(model / "model.safetensors")
    name = "encoder.layer.1.output.dense.weight"
    save_file({**weights, name: torch.zeros(32, 65)}, model / "model.safetensors", metadata={"format": "pt"})
    refused(model, rf"the weights of 1 tensors are missing or have other shapes: bert\.{name}")
    save_file({key: weights[key] for key in weights if key != name}, model / "model.safetensors", {"format": "pt"})
    refused(model, rf"are missing or have other shapes: bert\.{name}")


def test_a_missing_pooler_is_made_anew_and_a_missing_last_norm_is_an_error(model, tiny_model, tmp_path):
    weights = load_file(model / "model.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if not name.startswith("pooler")}
    save_file(kept, model / "model.safetensors", metadata={"format": "pt"})
    new = [tensor.name for tensor in load(model).map.tensors if not tensor.pretrained]
    assert new == ["bert.pooler.dense.weight", "bert.pooler.dense.bias", "classifier.weight", "classifier.bias"]

    llama = Path(shutil.copytree(tiny_model("llama"), tmp_path / "llama"))
    weights = load_file(llama / "model.safetensors")
    del weights["norm.weight"]
    save_file(weights, llama / "model.safetensors", metadata={"format": "pt"})
    refused(llama, r"missing or have other shapes: model\.norm\.weight")


def test_an_output_layer_for_other_labels_is_made_anew(tiny_bert, tmp_path):
    load(tiny_bert).model.save_pretrained(tmp_path / "three")
    shutil.copy(tiny_bert / "tokenizer.json", tmp_path / "three")
    shutil.copy(tiny_bert / "tokenizer_config.json", tmp_path / "three")
    net = load(tmp_path / "three", schema=Schema("classification", ("m",), "l", ("a", "b", "c", "d")))
    assert [t.name for t in net.map.tensors if not t.pretrained] == ["classifier.weight", "classifier.bias"]
    assert net.model.classifier.weight.shape == (4, 32)


def test_a_vocabulary_in_files_that_are_not_read_before(model):
    """A slow tokeniser's vocab.txt is checked once the tokeniser is loaded."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{number}" for number in range(300))]
    (model / "vocab.txt").write_text("\n".join(words))
    (model / "tokenizer.json").unlink()
    (model / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    refused(model, "ids up to 304, but the model embeds 200 tokens")


def test_what_a_config_says_of_attention_kernels_and_tuples_is_ignored(model):
    change(
        model,
        "config.json",
        attn_implementation="someone/kernels",
        _attn_implementation_internal="someone/other",
        experts_implementation="someone/experts",
        return_dict=False,
    )
    net = load(model)
    assert net.model.config._attn_implementation in ("sdpa", "eager")
    assert net.model(input_ids=torch.tensor([[5, 6]])).logits.shape == (1, 3)
    assert load(model, attention="eager").model.config._attn_implementation == "eager"


def test_fresh_weights_differ_everywhere_but_in_norms_and_biases_and_follow_the_seed(tiny_bert):
    net = load(tiny_bert)
    fresh, again = (dict(fresh_model(net, seed=5).named_parameters()) for _ in range(2))
    for name, parameter in net.model.named_parameters():
        assert torch.equal(fresh[name], again[name])
        if parameter.ndim > 1:
            assert not torch.equal(fresh[name], parameter), name
    assert np.isclose(float(fresh["bert.encoder.layer.0.output.dense.weight"].detach().std()), 0.2, rtol=0.1)


# ---------------------------------------------------------------- images

IMAGES = Schema("classification", (), "label", ("low", "mid", "high"))


@pytest.mark.parametrize("family", ["vit", "resnet"])
def test_without_text_columns_a_model_for_images_is_loaded(family, tiny_model):
    folder = tiny_model(family)
    with pytest.raises(ModelError, match="no tokeniser"):
        locate(str(folder), folder)
    net = load_net(locate(str(folder), folder, reads_text=False), IMAGES)
    assert net.tokenizer is None and net.map.modality == "image" and net.map.width == 32
    stored, held = AutoModel.from_pretrained(folder).state_dict(), net.model.base_model.state_dict()
    assert len(held) > 20 and all(torch.equal(stored[name], value) for name, value in held.items())
    assert [tensor.name for tensor in net.map.tensors if not tensor.pretrained] == [
        tensor.name for tensor in net.map.head if tensor.name.startswith("classifier")
    ]
    assert net.model(pixel_values=torch.rand(2, 3, 16, 16)).logits.shape == (2, 3)
    assert {name for name, _ in fresh_model(net, 1).named_parameters()} == {
        name for name, _ in net.model.named_parameters()
    }


def test_texts_and_images_do_not_take_the_models_of_each_other(tiny_model, tiny_bert, tmp_path):
    vit = Path(shutil.copytree(tiny_model("vit"), tmp_path / "vit"))
    for file in tiny_bert.glob("tokenizer*.json"):
        shutil.copy(file, vit)
    with pytest.raises(ModelError, match="cannot make a text classifier") as caught:
        load(vit)
    assert caught.value.fix == "take an encoder or decoder for text"
    with pytest.raises(ModelError, match="cannot make an image classifier") as caught:
        load_net(locate(str(tiny_bert), tiny_bert), IMAGES)
    assert caught.value.fix == "take a model for images"


def test_a_model_that_looks_for_the_end_of_text_does_not_pad_with_it(tiny_model, tmp_path):
    """T5 classifies at the end of text, and would take each row for as many texts as it has padding."""
    for number, pad in enumerate((None, "</s>")):
        folder = Path(shutil.copytree(tiny_model("t5"), tmp_path / str(number)))
        content = json.loads((folder / "tokenizer_config.json").read_text())
        kept = {key: value for key, value in content.items() if key != "pad_token"}
        (folder / "tokenizer_config.json").write_text(json.dumps({**kept, "pad_token": pad} if pad else kept))
        net = load(folder)
        assert net.tokenizer.pad_token == "<unk>" and len(net.notes) == 1 and "'<unk>' pads" in net.notes[0]
        tokens = tokenise([("thanks",), ("my parcel is late",)], net.tokenizer, 64)
        net.model.eval()
        together, alone = net.model(**tokens.batch([0, 1])).logits[0], net.model(**tokens.batch([0])).logits[0]
        assert torch.allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {"num_attention_heads": 0},
        {"hidden_act": "no-such"},
        {"hidden_size": "wide"},
        {"num_attention_heads": 7},
        {"max_position_embeddings": -1},
        {"type_vocab_size": [1]},
    ],
)
def test_a_config_that_no_model_can_be_made_of(model, changes):
    change(model, "config.json", **changes)
    refused(model, "transformers|missing or have other shapes")


@pytest.mark.parametrize("limit", [float("nan"), float("inf"), -5, 0, "long", None, 1e30])
def test_a_limit_of_the_tokeniser_that_is_none_leaves_the_models(model, limit):
    change(model, "tokenizer_config.json", model_max_length=limit)
    assert load(model).max_length == 64


@pytest.mark.parametrize("name", ["AutoTokenizer", "BertModel", "x.Y", "Trainer", 3])
def test_a_tokeniser_class_that_is_none(model, name):
    change(model, "tokenizer_config.json", tokenizer_class=name)
    refused(model, "which is no tokeniser")
