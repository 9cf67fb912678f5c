"""Language models that were handed over: what they write and say is what the trained ones did, by tunewise and by the
libraries that the folders are made for."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from tunewise.conformance.bench import Watch
from tunewise.conformance.language_bench import LanguageBench
from tunewise.conformance.language_models import make_language_folder
from tunewise.engine.generation import generate, text_of
from tunewise.engine.handover import handover_kind, save_model
from tunewise.engine.language_model import LanguageModel, _Pieces
from tunewise.engine.text_model import load
from tunewise.engine.writing import settle_writing
from tunewise.errors import DataError, ModelError, TunewiseWarning
from tunewise.evaluate.generation_settings import GenerationConfig
from tunewise.methods import METHODS
from tunewise.models.load import load_net
from tunewise.models.locate import locate
from tunewise.objectives import ObjectiveConfig
from tunewise.objectives.sft import SupervisedFineTuning

NOTHING = {"threshold": None, "positive": None}
PROMPTS = ["money the refund", "late box a", "a thanks is great"]


class Taught(LanguageBench):
    """Learns its few rows by heart."""

    @property
    def config(self):
        return super().config.model_copy(update={"max_steps": 240, "evaluate_every": 240, "learning_rate": 5e-3})


@pytest.fixture(scope="module")
def handed_over(tmp_path_factory):
    """`handed_over(family, method, merge)`: bench, what was trained, and the model folder."""
    made = {}

    def make(family, method="full", merge=False, kind=LanguageBench):
        key = family, method, merge, kind
        if key not in made:
            folder = tmp_path_factory.mktemp(f"{family}-{method}")
            bench = kind.make(f"{family}-lm", folder / "base")
            chosen = METHODS[method](METHODS[method].Config(**({"merge": True} if merge else {})))
            trained = bench.train(chosen, folder, Watch())
            before = written_by(trained.net, bench)
            numbers = bench.logits(trained.net)
            save_model(
                trained,
                handover_kind(chosen.handover, merge),
                folder / "model",
                bench.data.schema,
                NOTHING,
                lambda size: "card",
                language=True,
            )
            made[key] = bench, before, numbers, folder / "model"
        return made[key]

    return make


def written_by(net, bench):
    """Greedy answers of a net to the test rows."""
    from tunewise.data.conversations import encode_prompts

    config = GenerationConfig(max_new_tokens=8)
    both = net.model.config.is_encoder_decoder
    read = encode_prompts(bench.data.splits["test"], bench.data.schema, net.tokenizer, 40, both)
    ids = generate(net.model, net.tokenizer, [row.tolist() for row in read.ids], config, virtual=net.prompt)
    return [text_of(net.tokenizer, row, config) for row in ids]


@pytest.mark.parametrize(
    ("family", "method", "merge"),
    [
        ("llama", "full", False),
        ("gpt2", "lora", False),
        ("t5", "lora", True),
        ("llama", "prompt_tuning", False),
        ("t5", "prompt_tuning", False),
        ("gemma", "adapter", False),
        ("bart", "prefix_tuning", False),
    ],
)
def test_loaded_writes_and_scores_as_the_trained_one(family, method, merge, handed_over):
    bench, before, numbers, folder = handed_over(family, method, merge)
    model = load(folder)
    assert isinstance(model, LanguageModel)
    assert model.answers(bench.data.splits["test"], max_new_tokens=8) == before
    found = model.numbers(bench.data.splits["train"].texts)
    np.testing.assert_allclose(found[:, :2], numbers, rtol=1e-4 if merge else 1e-5)
    assert np.array_equal(model.log_probs(bench.data.splits["train"].texts), -found[:, 0])


@pytest.mark.parametrize(("family", "method"), [("llama", "full"), ("gpt2", "lora"), ("bart", "full")])
def test_the_libraries_load_the_folder_and_write_the_same(family, method, handed_over):
    bench, _, _, folder = handed_over(family, method)
    kind = AutoModelForSeq2SeqLM if family == "bart" else AutoModelForCausalLM
    if method == "lora":
        from peft import PeftModel

        theirs = PeftModel.from_pretrained(kind.from_pretrained(bench.located.path, dtype=torch.float32), folder)
    else:
        theirs = kind.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ours = load(folder).generate(PROMPTS, max_new_tokens=8)
    between = "" if family == "bart" else bench.data.schema.between
    for prompt, text in zip(PROMPTS, ours, strict=True):
        batch = tokenizer(prompt + between, return_tensors="pt")
        ids = theirs.eval().generate(**batch, max_new_tokens=8, do_sample=False)[0]
        new = ids if family == "bart" else ids[batch["input_ids"].shape[1] :]
        assert tokenizer.decode(new, skip_special_tokens=True) == text


def test_log_probs_are_those_of_transformers(handed_over):
    bench, _, _, folder = handed_over("llama")
    tokenizer, theirs = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder).eval()
    prompt, answer = bench.data.splits["test"].texts[0]
    given = tokenizer(prompt + bench.data.schema.between)["input_ids"]
    ids = torch.tensor([[*given, *tokenizer(answer)["input_ids"], tokenizer.eos_token_id]])
    with torch.no_grad():
        log_probs = theirs(ids).logits[0, :-1].log_softmax(-1)
    wanted = log_probs[torch.arange(len(ids[0]) - 1), ids[0, 1:]][len(given) - 1 :].sum()
    assert load(folder).log_probs([(prompt, answer)])[0] == pytest.approx(float(wanted), rel=1e-5)


def test_a_tuned_model_writes_what_it_was_taught_and_stops(handed_over):
    bench, _, _, folder = handed_over("llama", "full", kind=Taught)
    rows = bench.data.splits["train"].texts
    written = load(folder).generate([row[0] for row in rows], max_new_tokens=30)
    assert sum(text == row[1] for text, row in zip(written, rows, strict=True)) >= 18  # of 24
    assert sum(len(text.split()) <= 4 for text in written) >= 22


def test_tied_weights_stay_tied_and_generation_settings_are_kept(tmp_path, handed_over):
    folder = handed_over("bart", "full")[3]
    with safe_open(folder / "model.safetensors", "pt") as held:
        assert not [name for name in held.keys() if "lm_head" in name]  # noqa: SIM118 - not a dict
    model = AutoModelForSeq2SeqLM.from_pretrained(folder)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert model.config.tie_word_embeddings and model.generation_config.eos_token_id == 2
    assert model.generation_config.decoder_start_token_id == 2


def test_settings_that_transformers_would_not_save_are_settled(tmp_path):
    folder = make_language_folder("llama", tmp_path / "m", 2)
    file = folder / "generation_config.json"
    settings = {**json.loads(file.read_text()), "temperature": 0.6, "do_sample": False, "eos_token_id": [5]}
    file.write_text(json.dumps(settings))
    net = load_net(locate(str(folder), tmp_path), _schema("completion"), language=True)
    notes = settle_writing(net)
    assert net.model.generation_config.eos_token_id == [5, 1]
    assert any("stops at '</s>' too" in note for note in notes)
    assert settle_writing(net) == []
    net.model.save_pretrained(tmp_path / "saved")  # raises, were the settings as they stood
    assert json.loads((tmp_path / "saved/generation_config.json").read_text())["temperature"] == 0.6


def _schema(form):
    from tunewise.types import Schema

    return Schema("generation", ("prompt", "answer"), "", (), form)


def test_encoders_and_models_without_output_layer_are_refused(tiny_model, tmp_path):
    with pytest.raises(ModelError, match="from both sides"):
        load_net(locate(str(tiny_model("bert")), tmp_path), _schema("completion"), language=True)
    with pytest.raises(ModelError, match="no output layer over the vocabulary"):
        load_net(locate(str(tiny_model("llama")), tmp_path), _schema("completion"), language=True)


def test_conversations(tmp_path, handed_over):
    """The model of another form, told that it is of conversations: the template and its end become part of it."""
    folder = make_language_folder("llama", tmp_path / "m", 2)
    net = load_net(locate(str(folder), tmp_path), _schema("chat"), language=True)
    assert any("no chat template" in note for note in net.notes)
    net.tokenizer.save_pretrained(tmp_path / "t")
    again = AutoTokenizer.from_pretrained(tmp_path / "t")
    said = [{"role": "user", "content": "refund"}]
    assert again.apply_chat_template(said, tokenize=False) == net.tokenizer.apply_chat_template(said, tokenize=False)


def test_prompts_of_the_wrong_kind(handed_over):
    model = load(handed_over("llama")[3])
    for prompts, options, told in (
        ("one", {}, "a list of prompts"),
        ([[{"role": "user", "content": "a"}]], {}, "continues strings"),
        (["a"], {"system": "b"}, "no system message"),
        (["a", "b"], {"tell": print}, "several prompts"),
    ):
        with pytest.raises(DataError, match=told):
            model.generate(prompts, **options)
    assert model.generate([]) == []


def test_a_prompt_that_is_too_long_loses_its_beginning_and_that_is_told(handed_over):
    model = load(handed_over("llama")[3])
    with pytest.warns(TunewiseWarning, match="1 of 1 prompts are longer than the model reads: they lost 46 tokens"):
        model.generate([" ".join(["money"] * 100)], max_new_tokens=10)
    assert not model.fits(" ".join(["money"] * 100), 10) and model.fits("money", 10)


def test_sampling_follows_the_seed(handed_over):
    model = load(handed_over("llama")[3])
    drawn = [model.generate(PROMPTS, temperature=3.0, seed=seed, max_new_tokens=8) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_what_is_told_while_writing_is_the_text(handed_over):
    bench, _, _, folder = handed_over("llama", "full", kind=Taught)
    pieces = []
    (text,) = load(folder).generate([bench.data.splits["train"].texts[0][0]], tell=pieces.append)
    assert "".join(pieces) == text and len(pieces) == len(text.split()) > 2


def bytes_tokenizer():
    """One token per byte."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: number for number, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


@pytest.mark.parametrize(
    ("text", "stop", "shown"),
    [
        ("Grüße, 世界 🙂!", [], "Grüße, 世界 🙂!"),
        ("one two END three", ["END"], "one two "),
        ("an EN d", ["END"], "an EN d"),
    ],
)
def test_letters_of_several_tokens_are_told_whole_and_stop_strings_never(text, stop, shown):
    tokenizer, told = bytes_tokenizer(), []
    config = GenerationConfig(stop=stop)
    pieces, ids = _Pieces(tokenizer, config, told.append), tokenizer(text)["input_ids"]
    for token in ids:
        pieces.add(token)
    pieces.end(text_of(tokenizer, ids, config))
    assert "".join(told) == shown and not any("\ufffd" in piece for piece in told)


def test_evaluation_measures_from_the_untrained_model_where_the_objective_does(handed_over):
    bench, _, _, folder = handed_over("gpt2", "lora")

    class FromStart(SupervisedFineTuning):
        def prepare(self, inputs, outputs_of):
            self.start = {name: outputs_of(read, self.outputs) for name, read in inputs.items()}
            return inputs

    objective = FromStart(ObjectiveConfig(), bench.data)
    load(folder).outputs(bench.data.splits["train"], objective)
    np.testing.assert_allclose(objective.start["train"][:, :2], bench.logits(bench.net()), rtol=1e-6)
