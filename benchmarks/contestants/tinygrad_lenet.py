"""LeNet-5 in tinygrad: all images in one tensor, TinyJit, batches of 512 drawn at random, Adam.

    python benchmarks/contestants/tinygrad_lenet.py

Input and settings are those of tinygrad's own beautiful_mnist.py. The images of a batch
are drawn with replacement, so that an epoch shows as many images as there are, and not
each of them. On a CPU tinygrad needs clang.
"""

import os

os.environ.setdefault("DEV", "CPU")

from contest import compete, load, make_parser, report
from tinygrad import Context, Tensor, TinyJit, nn

BATCH_SIZE = 512


class LeNet5:
    def __init__(self):
        self.c1, self.c3 = nn.Conv2d(1, 6, 5, padding=2), nn.Conv2d(6, 16, 5)
        self.c5, self.f6, self.output = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10)

    def __call__(self, x: Tensor) -> Tensor:
        x = self.c1(x).relu().max_pool2d()
        x = self.c3(x).relu().max_pool2d()
        return self.output(self.f6(self.c5(x.flatten(1)).relu()).relu())


def main(argv=None) -> int:
    options = make_parser(__doc__).parse_args(argv)
    Tensor.manual_seed(options.seed)
    mnist = load(options)
    x_train, x_test = (
        Tensor(images[:, None] / 255, dtype="float32").realize()
        for images in (mnist.train_images, mnist.test_images)
    )
    y_train, y_test = (
        Tensor(labels, dtype="int32").realize() for labels in (mnist.train_labels, mnist.test_labels)
    )
    net = LeNet5()
    optimizer = nn.optim.Adam(nn.state.get_parameters(net))

    @TinyJit
    @Context(TRAINING=1)
    def step() -> Tensor:
        optimizer.zero_grad()
        drawn = Tensor.randint(BATCH_SIZE, high=len(mnist.train_labels))
        loss = net(x_train[drawn]).sparse_categorical_crossentropy(y_train[drawn]).backward()
        return loss.realize(*optimizer.schedule_step())

    @TinyJit
    def hits() -> Tensor:
        return (net(x_test).argmax(axis=1) == y_test).sum().realize()

    def train_epoch() -> float:
        for _ in range(-(-len(mnist.train_labels) // BATCH_SIZE)):
            loss = step()
        return loss.item()  # waits until all is computed

    def accuracy() -> float:
        return hits().item() / len(mnist.test_labels)

    report(options, compete(options, train_epoch, accuracy), "tinygrad")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
