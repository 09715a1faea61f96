"""The paper's network, the teacher, a faster forward, weights on disk, operations."""
