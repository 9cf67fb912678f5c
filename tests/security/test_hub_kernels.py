"""bitsandbytes fetches compiled code from the hub where the package `kernels` is installed: not inside tunewise."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

needs_bitsandbytes = pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")


def said_by(folder: Path, code: str) -> str:
    """What a process says that finds a package `kernels`, which tells when it is asked for code."""
    package = folder / "kernels"
    package.mkdir()
    (package / "__init__.py").write_text(
        "def get_kernel(*args, **more):\n    print('FETCHED', args)\n    raise OSError\n"
    )
    lines = f"import sys\nsys.path.insert(0, {str(folder)!r})\n{code}\n"
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, timeout=120, check=True)
    return done.stdout + done.stderr


CAREFUL = {
    "by itself": "from tunewise.models.hub_kernels import import_bitsandbytes\nimport_bitsandbytes()\n",
    "by the fork server of a comparison": (
        "import os\n"
        "from tunewise.comparison import PRELOAD_VARIABLE\n"
        "os.environ[PRELOAD_VARIABLE] = 'torch,transformers,peft'\n"
        "import tunewise.comparison.preload\n"
    ),
}


@needs_bitsandbytes
@pytest.mark.parametrize("how", CAREFUL)
def test_nothing_is_fetched_and_the_package_is_there_afterwards(how: str, tmp_path: Path) -> None:
    seen = "import kernels\nprint('there:', kernels.get_kernel.__name__, 'bitsandbytes' in sys.modules)"
    said = said_by(tmp_path, CAREFUL[how] + seen)
    assert "FETCHED" not in said and "Failed to load" not in said
    assert "there: get_kernel True" in said


@needs_bitsandbytes
def test_whoever_imports_it_plainly_is_asked_for_code_on_such_cpus(tmp_path: Path) -> None:
    import bitsandbytes.functional

    if not bitsandbytes.functional.has_avx512bf16():
        pytest.skip("this CPU has no avx512_bf16")
    assert "FETCHED" in said_by(tmp_path, "import bitsandbytes")
