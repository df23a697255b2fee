"""The session every test runs in: eight CPU devices, strict types, fixed examples."""

from collections.abc import Iterator

import jax
import pytest
from hypothesis import settings

# Before the first computation: meshes of 1, 2, 4 and 8 devices on one machine.
jax.config.update("jax_num_cpu_devices", 8)
# Nothing may be promoted or broadcast silently.
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# The same examples in every run; compilation makes the first one slow.
settings.register_profile("jdrop", derandomize=True, deadline=None)
settings.load_profile("jdrop")


@pytest.fixture
def standard_promotion() -> Iterator[None]:
    """JAX's default promotion, which optax's Adam needs (float ** int32 step)."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield
