# Every verb a user or developer needs. `make demo` and `make test` set everything up by themselves.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTEST := $(BIN)/pytest --numprocesses auto --maxprocesses 4

.PHONY: demo docs test test-rest test-nightly test-all test-services chaos check format bench ui up down validate-infra clean install
.DEFAULT_GOAL := demo

install: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --requirement requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

demo: $(STAMP) ## the whole pipeline on the bundled sample, results in demo/
	$(BIN)/treeoflife demo --workspace demo

# Shared workspaces and servers are handed out under file locks, so a test can run in any process: `worksteal` keeps all of them busy.
# The slow tests have fixtures of minutes (a whole run, a deployment); `loadgroup` keeps those of a module, or of a group, in one process.
test: $(STAMP) ## the fast tests: all but those marked slow, service or nightly
	$(PYTEST) --dist worksteal -m "not slow and not service and not nightly and not stack"

test-rest: $(STAMP) ## the slow tests and those with real servers
	$(PYTEST) --dist loadgroup -m "(slow or service) and not nightly"

test-nightly: $(STAMP) ## the longest tests, which .ci/run leaves out: every benchmark, every stage interrupted
	$(PYTEST) --dist loadgroup -m nightly

test-all: test test-rest test-nightly ## every test but those of `make test-services`

test-services: $(STAMP) ## the whole by deployment on PostgreSQL, S3, Prefect, MLflow and a Dask cluster, beside the embedded run
	$(BIN)/pytest -m stack tests/stack

chaos: $(STAMP) ## kill each server and fill the disk in each stage on those servers; writes build/chaos.md. Takes hours
	$(BIN)/python -m tests.stack.chaos

check: $(STAMP) ## format, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(STAMP) ## the generated pages of docs/reference
	$(BIN)/python docs/generate.py

bench: $(STAMP) ## every benchmark, side by side with its peer; prints ratios
	$(BIN)/python -m benchmarks

ui: $(STAMP) ## Prefect and MLflow UIs on what the demo left
	$(BIN)/treeoflife ui --workspace demo

up: $(STAMP) ## PostgreSQL, S3, Prefect, MLflow, Dask and workers on loopback; see infra/README.md
	$(BIN)/python -m infra.services.control up

down: $(STAMP) ## stop what `make up` started
	$(BIN)/python -m infra.services.control down

validate-infra: $(STAMP) ## compose, Kubernetes and Slurm files of infra/ by their schemas, without Docker, Kubernetes or Slurm
	test -e build/validation/bin/python || $(PYTHON) -m venv build/validation
	build/validation/bin/pip install --quiet --disable-pip-version-check --requirement infra/validation.txt
	PYTHONPATH=. build/validation/bin/python infra/validate.py

clean: ## remove what the verbs above made
	rm -rf $(VENV) demo build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
