# The environment lives in .venv; everything else in results/.
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
GRID ?= configs/quick.yaml
READY := $(VENV)/.ready
LINTED := ttfs tests benchmarks docs

.PHONY: all test test-cluster bench lint report browse clean

all: $(READY)  ## set up and run the main job on $(GRID)
	$(BIN)/snakemake all --config grid=$(GRID)

test: $(READY)  ## set up and run the tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadgroup

test-cluster: $(READY)  ## the tests on a Slurm and a PostgreSQL that they start here (Debian: slurm-wlm munge postgresql)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --editable '.[dev,cluster]'
	TTFS_TEST_CLUSTER=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/cluster

lint: $(READY)  ## style, formatting, types
	$(BIN)/ruff check $(LINTED)
	$(BIN)/ruff format --check $(LINTED)
	$(BIN)/mypy

bench: $(READY)  ## measure speed, memory and the workflow: docs/performance.md
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/performance.py

report: $(READY)  ## one HTML file with the tables and figures of $(GRID)
	$(BIN)/snakemake all --config grid=$(GRID) --report results/$(notdir $(basename $(GRID)))/report.html

browse: $(READY)  ## the MLflow UI on the results
	MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false $(BIN)/mlflow ui --backend-store-uri $${MLFLOW_TRACKING_URI:-sqlite:///results/mlflow.db}

clean:  ## remove the environment, not the results
	rm -rf $(VENV)

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --editable '.[dev]'
	touch $@
