"""The textbook loop: DataLoader, torchvision's transforms for each picture, batch 64, Adam at 1e-3.

    python benchmarks/contestants/textbook.py --workers 2

As most tutorials of PyTorch have it, with one item() a step for the running loss.
"""

import torch
import torch.nn.functional as F
from contest import compete, make_parser, report
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms


def make_dataset(options, train: bool) -> datasets.MNIST:
    transform = transforms.Compose(
        [transforms.Pad(2), transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))]
    )
    dataset = datasets.MNIST(options.data, train, transform)
    copies = options.copies if train else 1
    dataset.data = dataset.data[: options.images].repeat(copies, 1, 1)
    dataset.targets = dataset.targets[: options.images].repeat(copies)
    return dataset


def main(argv=None) -> int:
    parser = make_parser(__doc__)
    parser.add_argument("--workers", type=int, default=0, help="processes that load pictures (0)")
    parser.add_argument("--device", default="cpu", help="what the network is on (cpu)")
    options = parser.parse_args(argv)
    device = torch.device(options.device)
    torch.manual_seed(options.seed)
    train_set, test_set = (make_dataset(options, train) for train in (True, False))
    train = DataLoader(train_set, 64, shuffle=True, num_workers=options.workers)
    test = DataLoader(test_set, 1000, num_workers=options.workers)
    net = nn.Sequential(
        nn.Conv2d(1, 6, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(400, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, 10),
    ).to(device)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)

    def train_epoch() -> float:
        net.train()
        total = 0.0
        for images, labels in train:
            optimizer.zero_grad()
            loss = F.cross_entropy(net(images.to(device)), labels.to(device))
            loss.backward()
            optimizer.step()
            total += loss.item()
        return total / len(train)

    def accuracy() -> float:
        net.eval()
        with torch.no_grad():
            hits = sum(
                (net(images.to(device)).argmax(1) == labels.to(device)).sum().item()
                for images, labels in test
            )
        return hits / len(test_set)

    report(options, compete(options, train_epoch, accuracy), "torch", "torchvision")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
