"""Fit the limits of --reject again, for weights that were trained before they had both.

    python benchmarks/limits.py pretrained/lenet5.pth ...

train.py fits them on the images that it holds out and keeps them in the weights' metadata.
The same images are held out here, by the seed and the number in the metadata. Prints both
limits of each file; the weights themselves stay as they are, to the bit.
"""

import argparse
import sys

from common import held_out

from lenet5.evaluation.confidence import rejection_limits
from lenet5.networks.weights import save_weights
from lenet5.reading.classifier import ImageClassifier
from lenet5.runtime.errors import say


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("weights", nargs="+")
    for path in parser.parse_args().weights:
        classifier = ImageClassifier(path)
        metadata = classifier.metadata
        if not metadata["val_size"]:
            say(f"left out: {path}: no image was held out")
            continue
        images, _ = held_out(metadata["val_size"], metadata["seed"])
        limits = rejection_limits(classifier.logits(images))
        metadata |= {"reject_below": limits.confidence, "least_evidence": limits.evidence}
        save_weights(path, classifier.net, **metadata)
        print(f"{path}: confidence {limits.confidence:.3f}, evidence {limits.evidence:.2f} nats")
    return 0


if __name__ == "__main__":
    sys.exit(main())
