"""Dropout in a Flax nnx model, from data to score.

    python -m examples.quickstart_nnx

trains two hidden layers of 256 units on 1197 digits, 2000 steps of 32, in about 11 s
of processor time, and names 97.8 % of the other 600.
"""

import jax
import optax
from flax import nnx
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import jdrop
import jdrop.nnx

STEPS, BATCH = 2000, 32


class Classifier(nnx.Module):
    """Two hidden layers, each followed by dropout."""

    def __init__(self, rngs: nnx.Rngs):
        """Makes the layers; each dropout takes a stream of keys of its own."""
        sizes = ((64, 256), (256, 256))
        self.hidden = nnx.List(nnx.Linear(*size, rngs=rngs) for size in sizes)
        self.dropout = nnx.List(jdrop.nnx.Dropout(0.5, rngs=rngs) for _ in sizes)
        self.logits = nnx.Linear(256, 10, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Computes the logits of digits (examples, pixels)."""
        for hidden, dropout in zip(self.hidden, self.dropout, strict=True):
            x = dropout(nnx.relu(hidden(x)))
        return self.logits(x)


digits, labels = load_digits(return_X_y=True)
digits = digits.astype("float32") / 16
split = train_test_split(digits, labels, test_size=600, random_state=0)
x_train, x_test, y_train, y_test = map(jax.numpy.asarray, split)
key = jax.random.key(0)


@nnx.jit
def train_step(
    model: Classifier, optimizer: nnx.Optimizer[Classifier], step: int
) -> None:
    """One step of the optimiser, with dropout where the model is in training."""
    rows = jax.random.choice(jdrop.key_for(key, "batch", step), len(y_train), [BATCH])

    def loss(model: Classifier) -> jax.Array:
        logits = model(x_train[rows])
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, y_train[rows])
        return losses.mean()

    optimizer.update(model, nnx.grad(loss)(model))


model = Classifier(nnx.Rngs(0))
optimizer = nnx.Optimizer(model, optax.adam(1e-3), wrt=nnx.Param)
model.train()
for step in range(STEPS):
    train_step(model, optimizer, step)
model.eval()
accuracy = (model(x_test).argmax(-1) == y_test).mean()
print(f"test accuracy {100 * accuracy:.1f} %")
