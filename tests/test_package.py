"""The wheel works outside the checkout."""

import json
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).resolve().parents[1]


def test_wheel_lists_the_zoo_elsewhere(tmp_path):
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("finetune_zoo-*.whl")
    venv.create(tmp_path / "env", with_pip=False)
    python = tmp_path / "env" / "bin" / "python"
    # The wheel itself comes first; what it depends on is borrowed from this interpreter.
    target = tmp_path / "site"
    ZipFile(wheel).extractall(target)  # all that installing a wheel of pure Python does
    code = (
        f"import sys; sys.path[:0] = [{str(target)!r}]; sys.path.append({sysconfig.get_path('purelib')!r});"
        "import zoo; from zoo.cli.app import main;"
        f"assert zoo.__file__.startswith({str(target)!r}), zoo.__file__;"
        "main(['list', '--json'])"
    )
    done = subprocess.run(
        [python, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    listed = json.loads(done.stdout)
    assert len(listed) >= 40
    assert "efficientnet_lite0" in {entry["name"] for entry in listed}
    assert (target / "finetune" / "report" / "templates").is_dir()
