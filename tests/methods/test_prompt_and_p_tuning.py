"""Virtual tokens: against peft, against embeddings put together by hand, and wherever their number counts."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from tunewise.data.tokenise import tokenise, with_prompt
from tunewise.engine.apply import choose_trained, insert
from tunewise.errors import MethodError
from tunewise.methods import METHODS
from tunewise.methods.p_tuning import with_prompt_encoder
from tunewise.methods.prompt_tuning import with_prompt_table
from tunewise.models.blocks import named_tensors
from tunewise.models.cost import watch_flops
from tunewise.models.load import Net, load_net
from tunewise.models.locate import locate
from tunewise.types import Schema, Signals

SCHEMA = Schema("classification", ("message",), "label", ("a", "b", "c"))
PAIR = Schema("classification", ("first", "second"), "label", ("a", "b", "c"))
FAMILIES = ["bert", "roberta", "distilbert", "gpt2", "llama", "modernbert", "deberta-v2", "electra", "albert", "t5"]
TEXTS = [("thanks for the parcel",), ("late",), ("my refund is with the courier today and it was late",)]
TOKENS = 5


def net_of(folder, schema: Schema = SCHEMA, **options) -> Net:
    return load_net(locate(str(folder), folder), schema, **options)


def with_method(folder, name: str, **options) -> tuple[Net, set[str]]:
    """A net with the method applied, and the names of what trains."""
    net = net_of(folder)
    method = METHODS[name](METHODS[name].Config(**{"tokens": TOKENS, **options}))
    net.make_room(method.positions)
    plan = method.plan(net.map, Signals())
    insert(plan, net, seed=0)
    trained = choose_trained(plan, net)
    net.model.eval()
    return net, {tensor.name for tensor in trained}


def batch_of(net: Net, texts=TEXTS, rows=None) -> dict[str, torch.Tensor]:
    tokens = with_prompt(tokenise(texts, net.tokenizer, net.max_length), net.prompt)
    return tokens.batch(range(len(texts)) if rows is None else rows)


def table_of(net: Net) -> torch.Tensor:
    return next(value for name, value in named_tensors(net.model).items() if name.endswith(".prompt.table"))


# ---------------------------------------------------------------- both


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_peft_gives_the_same_logits_for_one_text(family, tiny_model):
    """Of one row without padding: in a batch peft's classifier cannot find the last token, since it sees no ids."""
    from peft import PromptTuningConfig, get_peft_model

    net, _ = with_method(tiny_model(family), "prompt_tuning")
    base = net_of(tiny_model(family))
    theirs = get_peft_model(base.model, PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=TOKENS)).eval()
    with torch.no_grad():
        theirs.prompt_encoder["default"].embedding.weight.copy_(table_of(net))
        expected = theirs(**tokenise(TEXTS[:1], base.tokenizer, 64).batch([0])).logits
        assert torch.allclose(net.model(**batch_of(net, TEXTS[:1])).logits, expected, atol=1e-5)


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "modernbert"])
def test_an_encoder_reads_its_opening_token_the_prompt_the_text(family, tiny_model):
    net, _ = with_method(tiny_model(family), "prompt_tuning")
    base = net_of(tiny_model(family))
    plain = tokenise(TEXTS, base.tokenizer, 64).batch([2])
    words = base.model.get_input_embeddings()(plain["input_ids"])
    joined = torch.cat([words[:, :1], table_of(net)[None], words[:, 1:]], dim=1)
    mask = torch.ones(joined.shape[:2], dtype=torch.int64)
    with torch.no_grad():
        expected = base.model.eval()(inputs_embeds=joined, attention_mask=mask).logits
        logits = net.model(**batch_of(net, rows=[2])).logits
    assert torch.allclose(logits, expected, atol=1e-5)
    assert not torch.allclose(logits, base.model(**plain).logits, atol=1e-2)


@pytest.mark.parametrize("name", ["prompt_tuning", "p_tuning"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_text_gives_the_same_alone_and_in_a_padded_batch(family, name, tiny_model):
    net, _ = with_method(tiny_model(family), name)
    with torch.no_grad():
        together = net.model(**batch_of(net)).logits
        for row in range(len(TEXTS)):
            assert torch.allclose(together[row], net.model(**batch_of(net, rows=[row])).logits[0], atol=1e-5)


@pytest.mark.parametrize(
    ("name", "options"), [("prompt_tuning", {}), ("p_tuning", {}), ("p_tuning", {"encoder": "lstm"})]
)
@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_reach_the_prompt_and_the_head_and_nothing_else(family, name, options, tiny_model):
    net, trained = with_method(tiny_model(family, 2), name, **options)
    net.model(**batch_of(net)).logits.square().sum().backward()
    reached = {key for key, value in named_tensors(net.model).items() if value.grad is not None and value.grad.any()}
    assert reached == trained
    assert {tensor.name for tensor in net.map.head} < trained
    assert {key for key in trained if ".prompt." in key} == trained - {tensor.name for tensor in net.map.head}


@pytest.mark.parametrize("name", ["prompt_tuning", "p_tuning"])
@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2", "llama"])
def test_a_text_as_long_as_the_position_table_is_cut_by_what_the_prompt_takes(family, name, tiny_model):
    net, _ = with_method(tiny_model(family), name, tokens=20)
    long = [(" ".join(["parcel"] * 100),)]
    batch = batch_of(net, long)
    assert batch["input_ids"].shape == (1, 64) and net.max_length == 44
    assert net.model(**batch).logits.isfinite().all()


def test_a_shorter_limit_of_the_recipe_is_left_alone_where_both_have_room(tiny_bert):
    net = net_of(tiny_bert, max_length=16)
    net.make_room(20)
    assert net.max_length == 16
    net.make_room(60)
    assert net.max_length == 4


def test_a_prompt_that_leaves_no_room_is_refused(tiny_bert):
    with pytest.raises(MethodError, match="61 virtual tokens leave no room for a text: the model has 64") as caught:
        net_of(tiny_bert).make_room(61)
    assert caught.value.fix == "take at most 60"


@pytest.mark.parametrize(("family", "opens"), [("bert", 1), ("roberta", 1), ("gpt2", 0), ("llama", 0), ("t5", 0)])
def test_virtual_ids_stand_behind_the_token_that_opens_a_text(family, opens, tiny_model):
    net, _ = with_method(tiny_model(family), "prompt_tuning")
    plain = tokenise(TEXTS, net.tokenizer, net.max_length)
    ids = with_prompt(plain, net.prompt).ids[2].tolist()
    before = plain.ids[2].tolist()
    assert net.prompt == (200, 201, 202, 203, 204)
    assert ids == before[:opens] + list(net.prompt) + before[opens:]


def test_virtual_tokens_belong_to_the_first_text_of_a_pair(tiny_bert):
    net = net_of(tiny_bert, PAIR)
    plain = tokenise([("late", "great box")], net.tokenizer, 64)
    row = with_prompt(plain, (200, 201))
    assert plain.kinds[0].tolist() == [0, 0, 0, 1, 1, 1] and row.kinds[0].tolist() == [0, 0, 0, 0, 0, 1, 1, 1]
    assert row.lengths.tolist() == [8] and with_prompt(plain, ()) is plain


def test_an_encoder_decoder_reads_the_same_table_on_both_sides(tiny_model):
    """T5 holds its embedding three times, and makes the decoder's input of the encoder's."""
    net, _ = with_method(tiny_model("t5"), "prompt_tuning")
    whole = net.model.transformer
    assert whole.shared is whole.encoder.embed_tokens is whole.decoder.embed_tokens
    assert [name for name in named_tensors(net.model) if "prompt" in name] == ["transformer.shared.prompt.table"]


def test_flops_count_the_virtual_tokens(tiny_bert):
    net, _ = with_method(tiny_bert, "prompt_tuning")
    with watch_flops(net.model, net.map) as flops:
        net.model(**batch_of(net))
    lengths = with_prompt(tokenise(TEXTS, net.tokenizer, 64), net.prompt).lengths
    assert flops.forward(1, int(lengths[0])) > flops.forward(1, int(lengths[0]) - TOKENS) * 1.5


def test_models_for_images_are_refused(tiny_bert):
    model = net_of(tiny_bert).map
    for blocks, instead in ((True, "visual_prompt"), (False, "bitfit")):
        image = SimpleNamespace(modality="image", blocks=model.blocks if blocks else ())
        for name in ("prompt_tuning", "p_tuning", "prefix_tuning"):
            with pytest.raises(MethodError, match="stands before words, and this model reads images") as caught:
                METHODS[name](METHODS[name].Config()).plan(image, Signals())
            assert caught.value.instead == instead


# ---------------------------------------------------------------- the table


def test_it_starts_as_embeddings_of_words_drawn_by_the_seed(tiny_bert):
    net, _ = with_method(tiny_bert, "prompt_tuning", tokens=60)
    words = net.model.get_input_embeddings().weight
    rows, ids = (table_of(net)[:, None] == words).all(dim=-1).nonzero(as_tuple=True)
    assert rows.tolist() == list(range(60))
    vocabulary = net.tokenizer.convert_ids_to_tokens(ids.tolist())
    assert all(word.isalpha() for word in vocabulary) and len(set(vocabulary)) > 20  # no [CLS], no unused row
    torch.manual_seed(1)
    other = with_prompt_table(net_of(tiny_bert).model.get_input_embeddings(), net.tokenizer, 60, "vocabulary", None)
    assert not torch.equal(other.prompt.table, table_of(net))


@pytest.mark.parametrize(
    ("tokens", "words"), [(2, ["late", "parcel"]), (5, ["late", "parcel", "late", "parcel", "late"])]
)
def test_a_text_to_start_from_is_cut_or_repeated(tokens, words, tiny_bert):
    net, _ = with_method(tiny_bert, "prompt_tuning", tokens=tokens, init="text", text="late parcel")
    ids = net.tokenizer.convert_tokens_to_ids(words)
    assert torch.equal(table_of(net), net.model.get_input_embeddings().weight[ids])


def test_a_text_without_a_token_is_refused(tiny_bert):
    with pytest.raises(MethodError, match="the text ' ' has no token"):
        with_method(tiny_bert, "prompt_tuning", init="text", text=" ")


def test_random_values_are_as_large_as_those_of_words(tiny_bert):
    net, _ = with_method(tiny_bert, "prompt_tuning", tokens=60, init="random")
    table, words = table_of(net).detach(), net.model.get_input_embeddings().weight
    assert torch.cdist(table, words).min() > 0.1
    assert float(table.std()) == pytest.approx(float(words[5:32].std()), rel=0.1)


# ---------------------------------------------------------------- the network


@pytest.mark.parametrize(("encoder", "layers"), [("mlp", 2), ("lstm", 2)])
def test_the_network_is_that_of_peft(encoder, layers):
    from peft import PromptEncoder, PromptEncoderConfig

    config = PromptEncoderConfig(
        num_virtual_tokens=TOKENS,
        token_dim=32,
        num_transformer_submodules=1,
        encoder_hidden_size=24,
        encoder_reparameterization_type=encoder.upper(),
        encoder_num_layers=layers,
        encoder_dropout=0.0,
    )
    theirs = PromptEncoder(config)
    ours = with_prompt_encoder(torch.nn.Embedding(10, 32), TOKENS, encoder, 24).prompt
    names = {"embedding.weight": "table"}
    state = {
        names.get(name, name.replace("mlp_head", "mlp").replace("lstm_head", "lstm")): value
        for name, value in theirs.state_dict().items()
    }
    ours.load_state_dict(state)
    assert torch.allclose(ours(), theirs(torch.arange(TOKENS)), atol=1e-6)


def test_the_width_of_the_network(tiny_bert):
    _, default = with_method(tiny_bert, "p_tuning")
    net, _ = with_method(tiny_bert, "p_tuning", hidden=7)
    shapes = {name.rsplit(".prompt.", 1)[-1]: tuple(value.shape) for name, value in named_tensors(net.model).items()}
    assert shapes["mlp.0.weight"] == (7, 32) and shapes["mlp.4.weight"] == (32, 7) and shapes["table"] == (TOKENS, 32)
    assert any(name.endswith(".prompt.mlp.4.bias") for name in default)
