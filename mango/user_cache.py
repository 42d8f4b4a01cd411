"""Where things are kept that can be made or fetched again."""

import os
from pathlib import Path


def user_cache(what: str) -> Path:
    """$XDG_CACHE_HOME/mango/``what``, by default in ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mango" / what
