"""LeNet-5 in JAX with Flax (nnx) and optax: a compiled step, batch 128, Adam.

    python benchmarks/contestants/flax_lenet.py

The input is that of Flax's own MNIST example: float32 arrays in memory, an order drawn
for each epoch, no incomplete batch. The example's optimiser, SGD at 0.1 with momentum
0.9, is made for a larger network and leaves this one at 98 % after six epochs; hence
Adam at 1e-3. The test set is evaluated in batches of 1,000.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from contest import compete, load, make_parser, report
from flax import nnx

BATCH_SIZE, TEST_BATCH = 128, 1000


class LeNet5(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.c1 = nnx.Conv(1, 6, (5, 5), padding="SAME", rngs=rngs)
        self.c3 = nnx.Conv(6, 16, (5, 5), padding="VALID", rngs=rngs)
        self.c5 = nnx.Linear(400, 120, rngs=rngs)
        self.f6 = nnx.Linear(120, 84, rngs=rngs)
        self.output = nnx.Linear(84, 10, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.max_pool(nnx.relu(self.c1(x)), (2, 2), (2, 2))
        x = nnx.max_pool(nnx.relu(self.c3(x)), (2, 2), (2, 2))
        x = x.reshape(x.shape[0], -1)
        x = nnx.relu(self.c5(x))
        return self.output(nnx.relu(self.f6(x)))


@nnx.jit
def train_step(model: LeNet5, optimizer: nnx.Optimizer, images, labels) -> jax.Array:
    def loss_of(model):
        return optax.softmax_cross_entropy_with_integer_labels(model(images), labels).mean()

    loss, gradients = nnx.value_and_grad(loss_of)(model)
    optimizer.update(model, gradients)
    return loss


@nnx.jit
def count_hits(model: LeNet5, images, labels) -> jax.Array:
    return (model(images).argmax(axis=1) == labels).sum()


def main(argv=None) -> int:
    options = make_parser(__doc__).parse_args(argv)
    mnist = load(options)
    train_images, test_images = (
        np.float32(images)[..., None] / 255 for images in (mnist.train_images, mnist.test_images)
    )
    model = LeNet5(nnx.Rngs(options.seed))
    optimizer = nnx.Optimizer(model, optax.adam(1e-3), wrt=nnx.Param)
    order = np.random.default_rng(options.seed)

    def train_epoch() -> float:
        steps = len(train_images) // BATCH_SIZE
        places = order.permutation(len(train_images))[: steps * BATCH_SIZE].reshape(steps, BATCH_SIZE)
        losses = [
            train_step(model, optimizer, train_images[batch], mnist.train_labels[batch])
            for batch in places
        ]
        return float(jnp.stack(losses).mean())  # waits until all is computed

    def accuracy() -> float:
        starts = range(0, len(test_images), TEST_BATCH)
        hits = [
            count_hits(model, test_images[i : i + TEST_BATCH], mnist.test_labels[i : i + TEST_BATCH])
            for i in starts
        ]
        return sum(map(int, hits)) / len(test_images)

    report(options, compete(options, train_epoch, accuracy), "jax", "flax", "optax")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
