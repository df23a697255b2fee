"""Dropout in a Flax linen model, from data to score.

    python -m examples.quickstart_linen

trains two hidden layers of 256 units on 1197 digits, 2000 steps of 32, in about 9 s of
processor time, and names 97.5 % of the other 600.
"""

from typing import Any

import flax.linen as nn
import jax
import optax
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import jdrop
import jdrop.linen

STEPS, BATCH = 2000, 32


class Classifier(nn.Module):
    """Two hidden layers, each followed by dropout."""

    @nn.compact
    def __call__(self, x: jax.Array, training: bool) -> jax.Array:
        """Computes the logits of digits (examples, pixels)."""
        for _ in range(2):
            x = nn.relu(nn.Dense(256)(x))
            x = jdrop.linen.Dropout(0.5, deterministic=not training)(x)
        return nn.Dense(10)(x)


digits, labels = load_digits(return_X_y=True)
digits = digits.astype("float32") / 16
split = train_test_split(digits, labels, test_size=600, random_state=0)
x_train, x_test, y_train, y_test = map(jax.numpy.asarray, split)
model, optimizer = Classifier(), optax.adam(1e-3)
key = jax.random.key(0)


@jax.jit
def train_step(params: Any, opt_state: Any, step: int) -> tuple[Any, Any]:
    """One step of the optimiser, with dropout: its masks are those of the step."""
    rows = jax.random.choice(jdrop.key_for(key, "batch", step), len(y_train), [BATCH])
    rngs = {"dropout": jdrop.key_for(key, "dropout", step)}

    def loss(params: Any) -> jax.Array:
        logits: Any = model.apply(params, x_train[rows], training=True, rngs=rngs)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, y_train[rows])
        return losses.mean()

    updates, opt_state = optimizer.update(jax.grad(loss)(params), opt_state)
    return optax.apply_updates(params, updates), opt_state


params: Any = model.init(jdrop.key_for(key, "weights"), x_train[:1], training=False)
opt_state = optimizer.init(params)
for step in range(STEPS):
    params, opt_state = train_step(params, opt_state, step)
logits: Any = model.apply(params, x_test, training=False)
print(f"test accuracy {100 * (logits.argmax(-1) == y_test).mean():.1f} %")
