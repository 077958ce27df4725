# Everything a person or CI does here. Each target sets up what it needs and says what it is doing.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
PART   ?=
CASES  ?= 100000
SEED   ?=
ARGS   ?=
FILES  := $(if $(FILE),$(foreach f,$(FILE),-f $(f)),)

.PHONY: help run setup check lint test fuzz crd cluster cluster-down bench soak format clean
.DEFAULT_GOAL := help

help:            ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 24

setup: $(STAMP)  ## the Python environment in .venv

$(STAMP): pyproject.toml
	@echo "==> Python environment in $(VENV) (a minute the first time)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: set PYTHON=…"; exit 2; }
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade pip
	@$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

run: $(STAMP)    ## serving endpoints on this machine, no cluster needed (FILE=… for your own YAML, ARGS=… for options)
	@$(BIN)/model-serving run $(FILES) $(ARGS)

check: lint      ## lint, and what needs no sockets: about a minute
	@echo "==> unit tests"; $(BIN)/python -m pytest -q -n 4 -m "not slow" $(patsubst %,--ignore tests/%,cluster local bench clients fuzz proxy/http) --ignore-glob 'tests/proxy/test_*'

lint: $(STAMP)   ## format, lint, types, import contracts
	@echo "==> format and lint"; $(BIN)/ruff format --check --quiet . && $(BIN)/ruff check --quiet .
	@echo "==> types"; $(BIN)/mypy
	@echo "==> import contracts"; out=$$($(BIN)/lint-imports --no-cache) || { echo "$$out"; exit 1; }

test: $(STAMP)   ## the whole suite, a real Kubernetes included (PART=tests/proxy for a part)
	@$(BIN)/python -m tests.run $(PART)

fuzz: $(STAMP)  ## fuzz the HTTP layer against two other readers (CASES=N, SEED=S repeats a run)
	@$(BIN)/python -m tests.fuzz --cases $(CASES) --seed '$(SEED)'

crd: $(STAMP)    ## generate crds/ and manifests/policies from the models
	@$(BIN)/python -m model_serving.generate

cluster: $(STAMP) ## a real Kubernetes with operator and sample, left running
	@$(BIN)/python -m tests.cluster.up

cluster-down: $(STAMP) ## stop it
	@$(BIN)/python -m tests.cluster.harness down

bench: $(STAMP)  ## CPU per call beside nginx and Envoy (PEERS=all: every gateway; FEATURES=1, PROVIDERS=1: what ours cost)
	@$(BIN)/python -m tests.bench $(if $(PEERS),--peers "$(PEERS)") $(if $(FEATURES),--features) $(if $(PROVIDERS),--providers) $(if $(JSON),--json "$(JSON)")

soak: $(STAMP)   ## minutes of calls, failures and changes: is memory flat, is nothing left over? (MINUTES=60)
	@$(BIN)/python -m tests.bench.soak $(if $(MINUTES),--minutes $(MINUTES))

format: $(STAMP) ## format the code
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

clean:           ## remove what was built here
	rm -rf $(VENV) .venv-clients build dist operator/*.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
