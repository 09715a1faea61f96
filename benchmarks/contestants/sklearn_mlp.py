"""scikit-learn's MLPClassifier with its defaults, as a floor: 100 hidden units, batch 200, Adam.

    python benchmarks/contestants/sklearn_mlp.py

No convolution: what the simplest network at hand costs and reads.
"""

from contest import compete, load, make_parser, report
from sklearn.neural_network import MLPClassifier


def main(argv=None) -> int:
    options = make_parser(__doc__).parse_args(argv)
    mnist = load(options)
    x_train, x_test = (
        images.reshape(len(images), -1) / 255 for images in (mnist.train_images, mnist.test_images)
    )
    classifier = MLPClassifier(random_state=options.seed)

    def train_epoch() -> None:
        classifier.partial_fit(x_train, mnist.train_labels, classes=range(10))

    def accuracy() -> float:
        return classifier.score(x_test, mnist.test_labels)

    report(options, compete(options, train_epoch, accuracy), "scikit-learn")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
