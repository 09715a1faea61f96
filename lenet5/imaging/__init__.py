"""Opening any picture, finding its ink, centring: to 28×28 as MNIST has them."""
