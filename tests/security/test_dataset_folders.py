"""A folder saved by `datasets` names its files and splits itself, and the library joins them unseen."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tunewise.data.load import load_table
from tunewise.data.settings import DataConfig
from tunewise.errors import DataError


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from datasets import Dataset, DatasetDict

    folder = tmp_path_factory.mktemp("datasets")
    rows = Dataset.from_dict({"text": ["a", "b"], "label": ["x", "y"]})
    DatasetDict({"train": rows}).save_to_disk(folder / "whole")
    Dataset.from_dict({"text": ["secret"], "label": ["z"]}).save_to_disk(folder / "secret")
    return folder


def name_file(whole: Path) -> None:
    state = json.loads((whole / "train" / "state.json").read_text())
    (inside,) = (whole.parent / "secret").glob("*.arrow")
    state["_data_files"] = [{"filename": f"../../secret/{inside.name}"}]
    (whole / "train" / "state.json").write_text(json.dumps(state))


def name_split(whole: Path) -> None:
    (whole / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "../secret"]}))


@pytest.mark.parametrize("spoil", [name_file, name_split])
def test_no_file_outside_is_read(spoil: Callable[[Path], None], saved: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(saved, tmp_path / "data"))
    config = DataConfig(train="whole", label="label")
    assert len(load_table(config, "whole", folder, "train")) == 2
    spoil(folder / "whole")
    with pytest.raises(DataError, match="the dataset names a file outside its folder"):
        load_table(config, "whole", folder, "train")
