"""What the tests of the self-check share."""

import jax
import pytest


@pytest.fixture
def fresh_programs():
    """No program that was compiled before or inside the test is used beyond it."""
    jax.clear_caches()
    yield
    jax.clear_caches()
