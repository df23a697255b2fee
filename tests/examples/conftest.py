"""The trainer in this process: compiled programs are kept for the session."""

from collections.abc import Iterator

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache


@pytest.fixture(scope="session")
def cache_home(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def quick_compilation(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Compiles in half the time what runs for a few steps, in child processes too."""
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture
def trainer(
    standard_promotion: None,
    quick_compilation: None,
    cache_home: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[None]:
    """A cache of its own, and JAX as it was afterwards."""
    monkeypatch.setenv("XDG_CACHE_HOME", cache_home)
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in names}
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
