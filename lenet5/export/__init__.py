"""ONNX, int8, pruning, NumPy, the page."""
