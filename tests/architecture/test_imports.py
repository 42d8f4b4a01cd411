"""The arrows of the design: who may import whom. The source is parsed, so that lazy imports count too.

Modules that do not exist yet have no arrows; the rules bind them when they come.
"""

from collections.abc import Mapping

import pytest
from import_graph import SCRIPTS, graph, reached, sources, strings, within

MODULES = sources()

# (who, must not import, because)
FORBIDDEN = [
    ("renderer", ["mango"], "the renderer takes vertices and faces as tensors and stands alone"),
    ("mango.types", ["mango", "renderer"], "the vocabulary depends on nothing"),
    ("mango.errors", ["mango", "renderer"], "errors depend on nothing"),
    ("mango.option_texts", ["mango", "renderer"], "options are of any config"),
    ("mango.models", ["mango.data", "mango.training", "renderer"], "a model knows tensors, not where they come from"),
    ("mango.diffusion", ["mango.models", "mango.data", "mango.training", "renderer"], "diffusion sees the model as a callable"),
    ("mango.losses", ["mango.models", "mango.data", "mango.training"], "losses see heads, never models"),
    ("mango.head", ["mango.models", "mango.data", "mango.training", "renderer"], "heads are below everything that uses them"),
    ("mango.audio", ["mango.models", "mango.training", "renderer"], "voices are read without knowing what learns from them"),
    ("mango.data.synthetic", ["mango.training", "mango.models", "mango.evaluation"], "the synthesiser does not know who learns"),
    ("mango.training.stage1", ["renderer"], "stage one never renders"),
    ("train_stage1", ["renderer"], "stage one never renders"),
]

# mango.config may raise the one error that means "your input", and shows its fields as options
ALLOWED_OF_OURS = {"mango.config": {"mango.errors", "mango.option_texts"}}

RENDERING = [  # design, section 2; stage two is several files
    "mango.training.stage2",
    "mango.training.stage2_config",
    "mango.training.studio",
    "mango.training.avatars",
    "mango.training.avatar_prior",
    "mango.training.registration",
    "mango.training.finetune",
    "mango.training.growth",
    "mango.training.cut_edges",
    "mango.data.synthetic",
    "mango.tracking",
    "mango.inference",
    "mango.evaluation",
    "mango.app",
    "mango.cli",
    "train_stage2",
]
KNOWING_THE_TRUTH = ["mango.evaluation", "mango.data.synthetic", "mango.app"]
LEARNING = [  # what trains, selects or stops early: no way at all may lead from here to the truth
    "mango.training",
    "mango.models",
    "mango.diffusion",
    "mango.losses",
    "mango.data.windows",
    "mango.data.pictures",
    *SCRIPTS,
]
OPTIONAL = {"smplx": [], "chumpy": [], "anny": [], "pytorch3d": ["renderer.mesh_pytorch3d"], "gsplat": ["renderer.backends.gsplat"]}
NAMES_THE_DEVICE = "mango.training.runtime"
REPORTS_ON_DEVICES = "mango.app.doctor"  # "cuda" is also the name of an extra there; it places nothing


def violations(modules: Mapping[str, str]) -> list[str]:
    """Every forbidden arrow, in words."""
    arrows = graph(modules)
    wrong = []
    for who, others, reason in FORBIDDEN:
        for module, target, line in _arrows_from(arrows, who):
            if any(within(target, other) and not within(target, who) for other in others):
                wrong.append(f"{module}:{line} imports {target}: {reason}")
    for module, allowed in ALLOWED_OF_OURS.items():
        for _, target, line in _arrows_from(arrows, module):
            if (within(target, "mango") or within(target, "renderer")) and target not in allowed:
                wrong.append(f"{module}:{line} imports {target}: it may import {', '.join(allowed)} of ours and nothing else")
    for module, target, line in _arrows_from(arrows, "mango", *SCRIPTS):
        if within(target, "renderer") and not any(within(module, part) for part in RENDERING):
            wrong.append(f"{module}:{line} imports {target}: only {', '.join(RENDERING)} render")
        if within(target, "mango.data.truth") and not any(within(module, part) for part in KNOWING_THE_TRUTH):
            wrong.append(f"{module}:{line} imports {target}: only {', '.join(KNOWING_THE_TRUTH)} may know the truth")
    for module, targets in arrows.items():
        for arrow in targets:
            top = arrow.target.split(".")[0]
            if top in OPTIONAL and not any(within(module, part) for part in OPTIONAL[top]):
                wrong.append(f"{module}:{arrow.line} imports {top}: {'only in ' + OPTIONAL[top][0] if OPTIONAL[top] else 'never'}")
            if within(arrow.target, "renderer") and within(module, "mango") and any(name.startswith("_") for name in arrow.names):
                wrong.append(f"{module}:{arrow.line} imports {arrow.names} of {arrow.target}: public names only")
    for start in modules:
        if any(within(start, part) for part in LEARNING):
            ways = reached(start, arrows)
            if "mango.data.truth" in ways:
                wrong.append(f"what learns can reach the truth: {' -> '.join(ways['mango.data.truth'])}")
        if start in ("mango.training.stage1", "train_stage1"):
            ways = reached(start, arrows)
            if "renderer" in ways:
                wrong.append(f"stage one can reach the renderer: {' -> '.join(ways['renderer'])}")
    return wrong + _device_names(modules) + _truth_paths(modules)


def _arrows_from(arrows, *parts):
    for module, targets in arrows.items():
        if any(within(module, part) for part in parts):
            for arrow in targets:
                yield module, arrow.target, arrow.line


def _device_names(modules: Mapping[str, str]) -> list[str]:
    """The device is chosen in one file; the rest takes device and dtype from its inputs."""
    wrong = []
    for module, source in modules.items():
        if within(module, "renderer") or module in (NAMES_THE_DEVICE, REPORTS_ON_DEVICES):
            continue
        for text, line in strings(source):
            if text == "cuda" or text.startswith("cuda:"):
                wrong.append(f"{module}:{line} says {text!r}: only {NAMES_THE_DEVICE} does")
        for number, text in enumerate(source.splitlines(), 1):
            if ".cuda()" in text or "torch.cuda." in text:
                wrong.append(f"{module}:{number} uses {text.strip()!r}: only {NAMES_THE_DEVICE} does")
    return wrong


def _truth_paths(modules: Mapping[str, str]) -> list[str]:
    """No way round the module either: nobody else spells the folder's name."""
    return [
        f"{module}:{line} says {text!r}: only mango.data.truth knows where the truth lies"
        for module, source in modules.items()
        if module != "mango.data.truth" and within(module, "mango")
        for text, line in strings(source)
        if text.endswith(".truth") and " " not in text
    ]


def test_the_arrows_hold():
    assert violations(MODULES) == []


def test_the_rules_name_modules_that_can_exist():
    """A rule about a misspelt package would hold for ever."""
    packages = {name.rpartition(".")[0] for name in MODULES} | set(MODULES)
    coming = {"mango.adapters"}
    named = {who for who, _, _ in FORBIDDEN} | {*RENDERING, *KNOWING_THE_TRUTH, *LEARNING, NAMES_THE_DEVICE, REPORTS_ON_DEVICES}
    assert named - packages - coming == set()


PLANTED = {
    "renderer imports mango": {"renderer.head": "import mango.types"},
    "renderer imports mango lazily": {"renderer.head": "def f():\n    from mango.head.model import Head"},
    "types import errors": {"mango.types": "from mango.errors import InputError"},
    "config imports types": {"mango.config": "from mango.types import Dialogue"},
    "models import data": {"mango.models.denoiser": "from mango.data.windows import Windows"},
    "models import training by its package": {"mango.models.denoiser": "from mango import training", "mango.training": ""},
    "models import data relatively": {"mango.models.denoiser": "from ..data import windows", "mango.data.windows": ""},
    "diffusion imports models": {"mango.diffusion.sampling": "import mango.models.motion"},
    "losses import models": {"mango.losses.motion": "from mango.models import motion", "mango.models.motion": ""},
    "stage one renders": {"mango.training.stage1": "import renderer"},
    "stage one renders through others": {
        "mango.training.stage1": "from mango.inference.rendering import x",
        "mango.inference.rendering": "from renderer import draw",
    },
    "windows render": {"mango.data.windows": "import renderer.rasterize"},
    "a private name of the renderer": {"mango.inference.rendering": "from renderer.rasterize import _tile"},
    "training knows the truth": {"mango.training.run": "from mango.data.truth import Truth"},
    "training knows the truth through others": {
        "train_stage1": "from mango.evaluation import protocol",
        "mango.evaluation.protocol": "def f():\n    from mango.data.truth import Truth",
    },
    "training knows the truth by import_module": {"mango.training.run": "m = import_module('mango.data.truth')"},
    "inference knows the truth": {"mango.inference.generation": "from mango.data import truth", "mango.data.truth": ""},
    "training spells the folder": {"mango.training.run": "path = root.with_name(root.name + '.truth')"},
    "gsplat in another backend": {"renderer.backends.cpu": "def f():\n    import gsplat"},
    "smplx": {"mango.head.model": "import smplx"},
    "chumpy": {"mango.head.model": "from chumpy import Ch"},
    "pytorch3d": {"renderer.mesh": "from pytorch3d.renderer import x"},
    "cuda in a model": {"mango.models.denoiser": "device = 'cuda'"},
    "cuda in a script": {"train_stage1": "device = 'cuda:0'"},
    "cuda by method": {"mango.models.denoiser": "model = model.cuda()"},
}


@pytest.mark.parametrize("fault", PLANTED)
def test_every_forbidden_arrow_is_seen(fault):
    assert violations(PLANTED[fault]) != []


def test_what_is_allowed_is_not_seen():
    allowed = {
        "mango.config": "from mango.errors import InputError",
        "mango.models.denoiser": "from mango.models.attention import X\nfrom .layers import Y",
        "mango.evaluation.protocol": "from mango.data.truth import Truth",
        "renderer.backends.gsplat": "import gsplat",
        "mango.training.runtime": "device = 'cuda'",
        "mango.training.stage2": '"""Runs on cuda too."""\nfrom renderer.head import HeadAvatar',
    }
    assert violations(allowed) == []
