.PHONY: test test-all lint types bench

test:
	python -m pytest
test-all: test
	python -m pytest -m slow
lint:
	ruff check .
	ruff format --check .
types:
	mypy
bench:
	python benchmarks/default_run.py
