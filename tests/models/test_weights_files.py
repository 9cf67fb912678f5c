from __future__ import annotations

import json
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tunewise.errors import ModelError
from tunewise.models.weights_files import check_weights, read_header, sample_digest

WEIGHTS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(4, dtype=np.float16)}
INDEX = "model.safetensors.index.json"


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    save_file(WEIGHTS, tmp_path / "model.safetensors")
    return tmp_path


def refused(folder: Path, message: str) -> ModelError:
    with pytest.raises(ModelError, match=message) as caught:
        check_weights(folder)
    assert caught.value.where and str(folder) in caught.value.where and caught.value.fix
    return caught.value


def shard(folder: Path, *names: str, weight_map: dict | None = None) -> None:
    """Two shards, and an index that names these files (or is given)."""
    save_file({"a": WEIGHTS["a"]}, folder / "model-1.safetensors")
    save_file({"b": WEIGHTS["b"]}, folder / "model-2.safetensors")
    found = dict(zip("ab", names, strict=True)) if weight_map is None else weight_map
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": found}))


def raw(folder: Path, header: bytes, data: bytes = b"", length: int | None = None) -> None:
    start = struct.pack("<Q", len(header) if length is None else length)
    (folder / "model.safetensors").write_bytes(start + header + data)


def test_a_whole_file_passes_and_its_header_is_that_of_safetensors(whole):
    headers = check_weights(whole)
    assert list(headers) == ["model.safetensors"]
    loaded = load_file(whole / "model.safetensors")
    assert {name: tuple(entry["shape"]) for name, entry in headers["model.safetensors"].items()} == {
        name: array.shape for name, array in loaded.items()
    }


def test_shards_pass_where_all_are_there(tmp_path):
    shard(tmp_path, "model-1.safetensors", "model-2.safetensors")
    assert list(check_weights(tmp_path)) == ["model-1.safetensors", "model-2.safetensors"]


def test_the_file_that_transformers_reads_is_the_one_that_is_checked(whole):
    shard(whole, "model-1.safetensors", "missing.safetensors")
    assert list(check_weights(whole)) == ["model.safetensors"]


def test_missing_shard(tmp_path):
    shard(tmp_path, "model-1.safetensors", "model-3.safetensors")
    refused(tmp_path, "weight file model-3.safetensors is missing")


@pytest.mark.parametrize("name", ["../model.safetensors", "/etc/passwd", "sub/../../x.safetensors"])
def test_an_index_cannot_name_a_file_outside(tmp_path, name):
    folder = tmp_path / "model"
    folder.mkdir()
    save_file(WEIGHTS, tmp_path / "model.safetensors")
    shard(folder, "model-1.safetensors", name)
    assert name in str(refused(folder, "outside the model folder"))


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"weight_map": 3}', '{"weight_map": {}}', "[" * 50_000])
def test_an_unreadable_index(tmp_path, text):
    (tmp_path / INDEX).write_text(text)
    refused(tmp_path, "index of the weight files cannot be read")


def test_a_link_out_of_the_folder_is_refused(tmp_path, whole):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").symlink_to(whole / "model.safetensors")
    refused(folder, "link out of the model folder")


def test_a_link_from_the_hub_cache_to_its_own_blobs_is_accepted_and_to_another_models_is_not(tmp_path):
    snapshot, blobs = tmp_path / "models--a--b" / "snapshots" / "c0ffee", tmp_path / "models--a--b" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    save_file(WEIGHTS, blobs / "53aa")
    (snapshot / "model.safetensors").symlink_to(Path("../../blobs/53aa"))
    assert set(check_weights(snapshot)["model.safetensors"]) == {"a", "b"}

    save_file(WEIGHTS, tmp_path / "other")
    (snapshot / "model.safetensors").unlink()
    (snapshot / "model.safetensors").symlink_to(Path("../../../other"))
    refused(snapshot, "link out of the model folder")


def test_a_named_pipe_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "model.safetensors")
    refused(tmp_path, "model.safetensors is not a plain file")
    shard(tmp_path, "model-1.safetensors", "pipe.safetensors")
    (tmp_path / "model.safetensors").unlink()
    os.mkfifo(tmp_path / "pipe.safetensors")
    refused(tmp_path, "pipe.safetensors is not a plain file")


def test_every_truncation_and_every_added_byte_is_noticed(whole):
    file = whole / "model.safetensors"
    content = file.read_bytes()
    for length in range(len(content)):
        file.write_bytes(content[:length])
        with pytest.raises(ModelError):
            check_weights(whole)
    file.write_bytes(content + b"\0")
    refused(whole, "should have .* bytes and has")


def test_a_header_longer_than_the_file(whole):
    raw(whole, b"{}", length=2**62)
    refused(whole, "not a safetensors file, or it is cut off")


@pytest.mark.parametrize(
    "header",
    [
        b"not json",
        b"[]",
        b'{"a": 3}',
        b'{"a": {}}',
        b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0]}}',
        b'{"a": {"dtype": "F32", "shape": 2, "data_offsets": [0, 8]}}',
        b"\xff\xfe",
        b"[" * 50_000,
        b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": null}}',
    ],
)
def test_a_header_that_is_none(tmp_path, header):
    raw(tmp_path, header)
    refused(tmp_path, "no readable safetensors header")


def test_a_tensor_whose_bytes_do_not_fit_its_shape(tmp_path):
    raw(tmp_path, b'{"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}', b"\0" * 8)
    refused(tmp_path, "another number of bytes for a than its shape needs")


def test_a_git_lfs_pointer_is_called_so(tmp_path):
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:53aa\nsize 90868376\n"
    (tmp_path / "model.safetensors").write_text(pointer)
    assert "git lfs pull" in refused(tmp_path, "Git LFS pointer").fix


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("exploded",)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "weights.pt", "x.ckpt"])
def test_a_pickle_is_refused_without_being_opened(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(pickle.dumps(Bomb()))
    refused(tmp_path, "weights are a pickle")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_is_called_safetensors(tmp_path, monkeypatch, protocol):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(pickle.dumps(Bomb(), protocol=protocol))
    refused(tmp_path, "not a safetensors file")
    assert not (tmp_path / "exploded").exists()


def test_torchs_own_format_called_safetensors(tmp_path):
    import torch

    torch.save({"a": torch.ones(3)}, tmp_path / "model.safetensors")
    refused(tmp_path, "not a safetensors file")


def test_a_folder_without_weights(tmp_path):
    refused(tmp_path, "no weights")


def test_a_header_counts_no_metadata(tmp_path):
    save_file(WEIGHTS, tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert set(read_header(tmp_path / "model.safetensors")) == {"a", "b"}


def test_tensors_that_overlap_or_leave_gaps(tmp_path):
    entry = '"%s": {"dtype": "F32", "shape": [2], "data_offsets": [%d, %d]}'
    for second in ((4, 12), (12, 20)):
        header = "{" + entry % ("a", 0, 8) + ", " + entry % ("b", *second) + "}"
        raw(tmp_path, header.encode(), b"\0" * second[1])
        refused(tmp_path, "has tensors that overlap, or gaps between them")


def test_lengths_that_are_none(tmp_path):
    for shape, offsets in (("[-2, -1]", "[0, 8]"), ("[2.0]", "[0, 8]"), ("[true, 2]", "[0, 8]"), ("[0]", "[-8, -8]")):
        header = f'{{"a": {{"dtype": "F32", "shape": {shape}, "data_offsets": {offsets}}}}}'
        raw(tmp_path, header.encode(), b"\0" * 8)
        refused(tmp_path, "no readable safetensors header")


def test_a_sample_tells_weights_of_the_same_shapes_apart(tmp_path):
    long = {"a": np.zeros((100, 100), dtype=np.float32), "b": np.zeros(3, dtype=np.float16)}
    save_file(long, tmp_path / "model.safetensors")
    before = sample_digest(tmp_path)
    assert sample_digest(tmp_path) == before
    for name, place in (("a", (0, 0)), ("a", (99, 99)), ("a", (50, 0)), ("b", (1,))):
        changed = {key: value.copy() for key, value in long.items()}
        changed[name][place] = 1
        save_file(changed, tmp_path / "model.safetensors")
        assert sample_digest(tmp_path) != before
