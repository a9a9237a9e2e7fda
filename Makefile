# Gatepost: `make run` plays one night of an estate, `make test` runs every check. Both set themselves up.
SHELL := /bin/sh
VENV := .venv
PYTHON := $(VENV)/bin/python
SEED ?=
ONLY ?=
# Node from PyPI lives in the environment where the system has none.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export PYTHONUNBUFFERED := 1

.PHONY: help run test bench soak setup lock clean

help:
	@echo "make run          play one night and leave the office page open (ONCE=1 to end, SEED=n to choose)"
	@echo "make test         every check (ONLY=name for one step)"
	@echo "make bench        bytes, microseconds and rates into build/bench.json (ONLY=name for one part)"
	@echo "make soak         the long versions of the drills, then ten nights (ONLY=part of a file's name)"
	@echo "make setup        only set up"
	@echo "make lock         renew the pinned requirements"

setup:
	@sh tools/setup/setup.sh test

run:
	@sh tools/setup/setup.sh run
	@$(PYTHON) -m tools.cli simulate --folder build/night $(if $(SEED),--seed $(SEED)) $(if $(filter-out 0,$(ONCE)),--once)

test:
	@sh tools/setup/setup.sh test
	@$(PYTHON) -m tools.setup.checks $(if $(ONLY),--only $(ONLY))

bench:
	@sh tools/setup/setup.sh test
	@$(PYTHON) -m tools.bench $(if $(ONLY),--only $(ONLY))

soak:
	@sh tools/setup/setup.sh test
	@$(PYTHON) -m tools.soak $(if $(SEED),--seed $(SEED)) $(if $(ONLY),--only $(ONLY))

lock:
	@sh tools/setup/setup.sh test
	@sh tools/setup/lock.sh

clean:
	rm -rf build .pytest_cache .mypy_cache .ruff_cache
