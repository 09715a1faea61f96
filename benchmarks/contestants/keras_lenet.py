"""LeNet-5 in Keras 3 with TensorFlow, its usual backend: arrays in memory, `fit`, batch 128, Adam.

    python benchmarks/contestants/keras_lenet.py

Input and settings are those of Keras's own "Simple MNIST convnet".
"""

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from contest import compete, load, make_parser, report
from keras import layers

BATCH_SIZE = 128


def make_model() -> keras.Model:
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(6, 5, padding="same", activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(16, 5, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(120, activation="relu"),
            layers.Dense(84, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def main(argv=None) -> int:
    options = make_parser(__doc__).parse_args(argv)
    keras.utils.set_random_seed(options.seed)
    mnist = load(options)
    x_train, x_test = (
        np.expand_dims(images.astype("float32") / 255, -1)
        for images in (mnist.train_images, mnist.test_images)
    )
    model = make_model()

    def train_epoch() -> None:
        model.fit(x_train, mnist.train_labels, batch_size=BATCH_SIZE, epochs=1, verbose=0)

    def accuracy() -> float:
        return model.evaluate(x_test, mnist.test_labels, batch_size=BATCH_SIZE, verbose=0)[1]

    epochs = compete(options, train_epoch, accuracy)
    backend = {"tensorflow": "tensorflow-cpu"}.get(keras.backend.backend(), keras.backend.backend())
    report(options, epochs, "keras", backend)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
