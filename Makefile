# What a developer does, and what CI calls. Everything is installed into $(VENV) and nowhere else; `make clean` removes
# it. PYTHON chooses the interpreter: make test PYTHON=python3.13

# A new environment has no bytecode yet: without keeping it, every run would compile all of Prefect anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test test-kubernetes test-frameworks check format bench soak lock clean

VENV ?= .venv
RUN := $(VENV)/bin/python
PYTHON ?= $(shell for name in python3.11 python3.12 python3.13 python3 python; do \
	"$$name" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	2>/dev/null && echo "$$name" && break; done)
FRAMEWORKS := .venv-frameworks
# Tests wait for processes now and then, so three keep two cores busy.
WORKERS ?= 3

# The files that hold tests of a marker: to read all others, too, takes longer than some of these.
marked = $(shell grep -rl --include='*.py' 'mark\.$(1)' tests)

help:
	@echo "make demo             train two models and tune one, on real data from a real S3 server"
	@echo "                      (CLUSTER=kubernetes: on the cluster that KUBECONFIG names, in MAKERFLOW_IMAGE)"
	@echo "make check            format, lint, types, layers"
	@echo "make test             all tests but the slow ones"
	@echo "make test-kubernetes  those of them that need the cluster which KUBECONFIG names"
	@echo "make test-frameworks  PyTorch and TensorFlow for real (downloads them)"
	@echo "make soak             the long fault campaigns, and every form in a browser"
	@echo "make bench            the benchmarks, with their targets"
	@echo "make format           mend the format and what the linter can mend"
	@echo "make lock             pin the newest versions again"
	@echo "make clean            remove what all of these made"

demo: $(VENV)/demo.stamp
	@$(if $(CLUSTER),MAKERFLOW_CLUSTER=$(CLUSTER)) $(RUN) -m deployments.demo

check: $(VENV)/test.stamp
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) -m mypy
	$(VENV)/bin/lint-imports

test: $(VENV)/test.stamp
	$(RUN) -m pytest -n $(WORKERS) --dist loadgroup

test-kubernetes: $(VENV)/test.stamp
	$(RUN) -m pytest -m "kubernetes and not disruptive and not soak" -n $(WORKERS) --dist loadgroup $(call marked,kubernetes)
	$(RUN) -m pytest -m "disruptive and not soak" $(call marked,disruptive)

test-frameworks: $(VENV)/test.stamp $(FRAMEWORKS)/stamp
	MAKERFLOW_TEST_FRAMEWORKS=$(abspath $(FRAMEWORKS))/bin/python $(RUN) -m pytest -m frameworks \
		$(call marked,frameworks)

soak: $(VENV)/test.stamp
	$(RUN) -m pytest -m soak --timeout 7200

# The peers that benchmarks run beside ours are programs of the environment.
bench: export PATH := $(abspath $(VENV))/bin:$(PATH)
bench: $(VENV)/test.stamp $(VENV)/bench.stamp
	@for file in tests/benchmarks/bench_*.py; do \
		echo "== $$file"; $(RUN) -m tests.benchmarks.$$(basename $$file .py) || exit 1; done

format: $(VENV)/test.stamp
	$(RUN) -m ruff check --fix-only .
	$(RUN) -m ruff format .

lock: $(VENV)/test.stamp
	$(RUN) -m uv pip compile --upgrade --universal --python-version 3.11 --no-header --no-annotate --quiet \
		--all-extras --output-file constraints.txt pyproject.toml

clean:
	rm -rf $(VENV) $(FRAMEWORKS) build .bench *.egg-info .coverage* .hypothesis .import_linter_cache .mypy_cache \
		.pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(RUN):
	@test -n "$(PYTHON)" || { echo "Makerflow needs Python 3.11, 3.12 or 3.13 with venv, and found none on PATH." \
		"Install one (Debian: apt-get install python3 python3-venv), or name it: make PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/%.stamp: pyproject.toml constraints.txt | $(RUN)
	$(RUN) -m deployments.install -e '.[$*]'
	@touch $@

# pip, because it also looks where a machine keeps builds of its own: the index's build of torch needs several GB.
$(FRAMEWORKS)/stamp: tests/frameworks.txt constraints.txt | $(RUN)
	$(RUN) -m venv --clear $(FRAMEWORKS)
	$(FRAMEWORKS)/bin/python -m pip --quiet install --prefer-binary -c constraints.txt -r tests/frameworks.txt
	@touch $@
