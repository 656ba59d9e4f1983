# quickstudy's commands; `make help` lists them.
# On Linux, TORCH_INDEX=<address of PyTorch's CPU wheels> keeps several GB of CUDA libraries away: see README.md.

BIN := .venv/bin
MKDOCS := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs --quiet build --strict
export TORCH_INDEX PYTHON

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev demo test format docs soak clean

help:  ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup:  ## make .venv and install quickstudy into it (again at no cost)
	@scripts/setup.sh

setup-dev:  ## the same, with what tests and documentation need
	@scripts/setup.sh dev,docs

demo: setup  ## meta-train on printed characters, then recognise handwriting
	@$(BIN)/quickstudy demo

test: setup-dev  ## everything: format, lint, types, import law, documentation, doctests and tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy --strict src
	$(BIN)/lint-imports --no-cache --no-logo
	$(MKDOCS)
	$(BIN)/pytest --numprocesses=auto --maxprocesses=4 --dist=loadgroup

format: setup-dev  ## let ruff write the format, and the mends it is sure of
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: setup-dev  ## the documentation as a site, in site/
	$(MKDOCS)

soak: setup-dev  ## what takes hours: slow tests, 200 kills, the service under load for an hour, benchmarks
	$(BIN)/pytest -m slow
	$(BIN)/python -m tests.faults.kill --times 200
	$(BIN)/python -m benchmarks.service
	$(BIN)/python -m benchmarks.service --overload
	$(BIN)/python -m benchmarks.service --minutes 60
	$(BIN)/python -m benchmarks.startup
	$(BIN)/quickstudy bench sampler

clean:  ## remove everything that was made here, .venv too
	rm -rf .venv site build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
