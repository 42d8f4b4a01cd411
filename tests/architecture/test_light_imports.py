"""Commands must answer at once: what every command imports is light, and no import touches a GPU."""

import json
import subprocess
import sys

import pytest

HEAVY = ["transformers", "diffusers", "accelerate", "av", "cv2", "scipy", "gsplat", "tensorboard", "soundfile", "tyro", "rich"]
OF_EVERY_COMMAND = "mango.types mango.config mango.data.dialogues mango.data.video mango.data.validation mango.data.truth"
CASES = {  # modules: what they must not bring along
    OF_EVERY_COMMAND: HEAVY,
    "mango.cli": [*HEAVY, "torch", "numpy", "renderer"],
    "renderer": ["mango", *HEAVY],
}
PROGRAM = """
import importlib, json, sys
for module in sys.argv[1:]:
    importlib.import_module(module)
cuda = "torch" in sys.modules and sys.modules["torch"].cuda.is_initialized()
print(json.dumps([sorted({name.split(".")[0] for name in sys.modules}), cuda]))
"""


@pytest.mark.parametrize("modules", CASES)
def test_imports_are_light(modules):
    done = subprocess.run([sys.executable, "-c", PROGRAM, *modules.split()], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    brought, cuda = json.loads(done.stdout.splitlines()[-1])
    assert not cuda
    assert sorted(set(brought) & set(CASES[modules])) == []
