"""The compiled CPU backend (comes with the next commit)."""

from renderer.pipeline import Request, Result


def obstacle() -> str | None:
    return "the compiled kernel is not part of this version"


def rasterize(request: Request) -> Result:
    raise ValueError(obstacle())
