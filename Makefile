# The environment lives in .venv; everything else in results/.
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
GRID ?= configs/quick.yaml
READY := $(VENV)/.ready
BRIAN2 := .venv-brian2
PEERS := .venv-peers
CLUSTER := .venv-cluster
LINTED := ttfs tests benchmarks docs

.PHONY: all test test-brian2 test-peers test-cluster bench lint report browse site docs help clean

all: $(READY)  ## set up and run the main job on $(GRID)
	$(BIN)/snakemake all --config grid=$(GRID)

test: $(READY)  ## set up and run the tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadgroup

test-brian2: $(BRIAN2)/.ready  ## B1 and α1 networks as differential equations in Brian2
	$(BRIAN2)/bin/python -m pytest tests/unit/test_brian2.py

test-peers: $(PEERS)/.ready  ## rate-coded networks beside SpikingJelly's, leaky ones beside snnTorch's
	OMP_NUM_THREADS=1 $(PEERS)/bin/python -m pytest tests/unit/timed/test_peers.py

test-cluster: $(CLUSTER)/.ready  ## the tests on a Slurm and a PostgreSQL that they start here (Debian: slurm-wlm munge postgresql)
	TTFS_TEST_CLUSTER=1 OMP_NUM_THREADS=1 $(CLUSTER)/bin/python -m pytest tests/cluster

lint: $(READY)  ## style, formatting, types
	$(BIN)/ruff check $(LINTED)
	$(BIN)/ruff format --check $(LINTED)
	$(BIN)/mypy

bench: $(READY)  ## measure speed, memory and the workflow: docs/performance.md
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/performance.py

report: all  ## one HTML file with the page, tables and run times of $(GRID)
	$(BIN)/snakemake all --config grid=$(GRID) --report results/$(notdir $(basename $(GRID)))/report.html

browse: $(READY)  ## the MLflow page on the results of $(GRID); OPTIONS=--no-open prints its links
	$(BIN)/python -m ttfs browse $(GRID) $(OPTIONS)

site: $(READY)  ## one page that gathers the published grids, results/site/index.html
	$(BIN)/python -m ttfs site

docs: $(READY)  ## the docs as a site, in build/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --site-dir build/docs

help:  ## this list
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

clean:  ## remove the environment, not the results
	rm -rf $(VENV) $(BRIAN2) $(PEERS) $(CLUSTER)

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --editable '.[dev]'
	touch $@

# Brian2 needs an older NumPy than the one pinned for the suite; `--no-config` leaves the pins out.
$(BRIAN2)/.ready: pyproject.toml
	$(PYTHON) -m venv $(BRIAN2)
	$(BRIAN2)/bin/python -m pip install --quiet uv
	$(BRIAN2)/bin/uv pip install --quiet --no-config --python $(BRIAN2)/bin/python --editable '.[dev,brian2]'
	touch $@

$(PEERS)/.ready: pyproject.toml
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet uv
	$(PEERS)/bin/uv pip install --quiet --python $(PEERS)/bin/python --editable '.[dev,peers]'
	touch $@

# Each start of Snakemake imports its executors, which takes seconds more with the one for Slurm.
$(CLUSTER)/.ready: pyproject.toml
	$(PYTHON) -m venv $(CLUSTER)
	$(CLUSTER)/bin/python -m pip install --quiet uv
	$(CLUSTER)/bin/uv pip install --quiet --python $(CLUSTER)/bin/python --editable '.[dev,cluster]'
	touch $@
