"""Files of a model, an adapter or a run that say anything at all: a typed error, and no path out of their folder."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tunewise.commit import sealed
from tunewise.commit.folder import MANIFEST, read_manifest, verify
from tunewise.engine import model_meta
from tunewise.engine.peft_folder import check_adapter
from tunewise.errors import ModelError, StoreError, TunewiseError
from tunewise.models.locate import check_folder
from tunewise.models.tokenizer_files import check_tokenizer
from tunewise.models.weights_files import check_weights, read_header

quietly = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
ANY = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner), max_leaves=8
)
PATHS = st.sampled_from(
    [
        "..",
        "../x",
        "/etc/passwd",
        "a/../../b",
        "sub/../..",
        ".",
        "",
        "\0",
        "a\\..\\b",
        "C:\\x",
        "~/x",
        "model.safetensors",
    ]
) | st.text(max_size=12)


@pytest.fixture
def model(tiny_model: Callable[..., Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model("bert", 2), tmp_path / "model"))


def json_of(value: Any) -> str:
    return json.dumps(value)


def changed(whole: dict[str, Any], key: str, value: Any) -> str:
    return json_of({**whole, key: value})


@quietly
@given(data=st.data())
def test_a_config_of_any_content(data: st.DataObject, model: Path) -> None:
    file = model / "config.json"
    whole = json.loads((model / "config.json.whole").read_text()) if (model / "config.json.whole").exists() else None
    if whole is None:
        shutil.copy(file, model / "config.json.whole")
        whole = json.loads(file.read_text())
    key = data.draw(st.sampled_from([*sorted(whole), "auto_map", "quantization_config", "tokenizer_class"]))
    file.write_text(changed(whole, key, data.draw(ANY)))
    _only_typed(lambda: check_folder("model", model))


@quietly
@given(data=st.data())
def test_a_tokeniser_of_any_content(data: st.DataObject, model: Path) -> None:
    name = data.draw(st.sampled_from(["tokenizer.json", "tokenizer_config.json"]))
    keys = ["model", "added_tokens", "chat_template", "tokenizer_class", "vocab_file", "auto_map", "x_file"]
    (model / name).write_text(json_of(data.draw(st.dictionaries(st.sampled_from(keys), ANY | PATHS) | ANY)))
    _only_typed(lambda: check_tokenizer(model, {"vocab_size": 200}))


@quietly
@given(names=st.dictionaries(st.text(max_size=4), PATHS, max_size=3))
def test_an_index_of_any_names(names: dict[str, str], model: Path) -> None:
    if (model / "model.safetensors").exists():
        (model / "model.safetensors").rename(model / "model-1.safetensors")
    (model / "model.safetensors.index.json").write_text(json_of({"weight_map": names}))
    found = _only_typed(lambda: check_weights(model)) or {}
    assert all((model / name).resolve().is_relative_to(model.resolve()) for name in found)


@quietly
@given(
    header=ANY
    | st.dictionaries(
        st.text(max_size=3),
        st.fixed_dictionaries(
            {
                "dtype": st.sampled_from(["F32", "X"]),
                "shape": ANY | st.lists(st.integers(-3, 5)),
                "data_offsets": ANY | st.lists(st.integers(-9, 40), max_size=3),
            }
        ),
    ),
    tail=st.binary(max_size=40),
)
def test_a_header_of_any_content(header: Any, tail: bytes, tmp_path: Path) -> None:
    raw = json_of(header).encode()
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(raw)) + raw + tail)
    found = _only_typed(lambda: read_header(tmp_path / "x.safetensors"))
    if found:  # what passes, the library itself can read
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(tmp_path / "x.safetensors", "np") as opened:
                assert set(opened.keys()) == set(found)
        except SafetensorError as problem:
            assert "X" in raw.decode() or "shape" in str(problem) or "verflow" in str(problem), problem


@quietly
@given(raw=st.binary(max_size=80))
def test_weights_of_any_bytes(raw: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(raw)
    _only_typed(lambda: read_header(tmp_path / "x.safetensors"))


@quietly
@given(body=ANY, names=st.lists(PATHS, max_size=3), bare=st.booleans())
def test_a_manifest_of_any_content(body: Any, names: list[str], bare: bool, tmp_path: Path) -> None:
    files = {name: {"sha256": "0" * 64, "size": 1} for name in names}
    plain = body if bare and isinstance(body, dict) else {"format": 1, "about": {}, "files": files}
    try:
        (tmp_path / MANIFEST).write_text(sealed(plain))
    except ValueError:  # NaN is not written
        (tmp_path / MANIFEST).write_text(json_of(plain))
    found = _only_typed(lambda: read_manifest(tmp_path), StoreError)
    for name in (found or {"files": ()})["files"]:
        assert "\0" in name or (tmp_path / name).resolve().is_relative_to(tmp_path.resolve())
    _only_typed(lambda: verify(tmp_path), StoreError)


META = {
    "format": 1,
    "kind": "peft",
    "schema": {"task": "classification", "text": ["t"], "label": "l", "labels": ["a", "b"]},
    "max_length": 64,
    "kept": "both",
    "base": {"name": "m", "path": "m", "fingerprint": "f"},
    "plan": {
        "rules": [],
        "learning_rate": 0.1,
        "inserts": [],
        "solver": {"name": "gradient"},
        "reset": [],
        "until": None,
    },
    "threshold": None,
    "positive": None,
}


@settings(quietly, max_examples=150)
@given(
    key=st.sampled_from(sorted(META)),
    inner=st.sampled_from(["", "task", "text", "labels", "name", "rules", "inserts", "masks"]),
    value=ANY,
)
def test_a_description_of_any_content(
    key: str, inner: str, value: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_meta, "verify", lambda folder, editable: None)
    part = META[key]
    new = {**part, inner: value} if isinstance(part, dict) and inner else value
    (tmp_path / "tunewise.json").write_text(changed(META, key, new))
    found = _only_typed(lambda: model_meta.read_meta(tmp_path), StoreError)
    if found:
        model_meta.schema_from(found["schema"])
        model_meta.plan_of(found)


def test_a_sound_description_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_meta, "verify", lambda folder, editable: None)
    (tmp_path / "tunewise.json").write_text(json_of(META))
    assert model_meta.read_meta(tmp_path)["max_length"] == 64


@quietly
@given(
    options=st.dictionaries(
        st.sampled_from(
            [
                "peft_type",
                "r",
                "target_modules",
                "modules_to_save",
                "base_model_name_or_path",
                "megatron_core",
                "init_lora_weights",
                "x",
            ]
        ),
        ANY | st.sampled_from(["LORA", "XLORA", "m"]),
    )
    | ANY
)
def test_an_adapters_configuration_of_any_content(options: Any, sound_run: Path, tmp_path: Path) -> None:
    shutil.copy(sound_run / "model" / "adapter_model.safetensors", tmp_path)
    (tmp_path / "adapter_config.json").write_text(json_of(options))
    _only_typed(lambda: check_adapter(tmp_path, "m"), ModelError)


def _only_typed(act: Callable[[], Any], kind: type[TunewiseError] = TunewiseError) -> Any:
    """What the call gives, or None where it raises an error of ours; any other error is a failure of the test."""
    try:
        return act()
    except kind as problem:
        assert problem.what
        return None
