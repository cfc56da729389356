# One command per habit; each of them first makes sure that everything it needs is installed (tools/setup.py).
# ARGS is handed on:  make run ARGS="--messages 2000 --rate 200"    make test ARGS="-k handshake -x"
# PYTHON names an interpreter; without it the newest of 3.11 to 3.13 is found. VERSION=3.12 uses .venv-3.12.

VENV := .venv$(if $(VERSION),-$(VERSION))
RUN := $(VENV)/bin/python
SETUP = $(or $(PYTHON),python3) tools/setup.py
LINT := $(RUN) -m ruff check && $(RUN) -m ruff format --check
# Several workers, each with servers of its own; the one that has nothing left takes tests from another. They keep the
# bytecode that they compile, whatever the environment says: half of the time of collecting, and of each child's start.
TEST := PYTHONDONTWRITEBYTECODE= $(RUN) -m pytest --dist worksteal
COMPILE := $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header
# For exactly what is deployed (infra/modules/function.bicep): without markers, so that another Python fails.
COMPILE_DEPLOYED := $(VENV)/bin/uv pip compile --quiet --python-version 3.13 --python-platform x86_64-manylinux_2_28 \
	--generate-hashes --no-header --no-annotate --constraint requirements.txt

.DEFAULT_GOAL := help
.PHONY: help setup test-setup run check test test-all lint bench chaos crash soak conformance fuzz audit vectors lock clean

help:  ## what there is
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 12

setup:  ## the Python packages and Azurite, into this clone
	@$(SETUP) $(if $(VERSION),--python $(VERSION))

test-setup:
	@$(SETUP) --tests $(if $(VERSION),--python $(VERSION))

run: setup  ## the whole system on this machine, with messages flowing, until Ctrl-C
	@$(RUN) -m local.run $(ARGS)

check: setup  ## for the edit loop: ruff, mypy, and every test that needs no server and no process
	@$(RUN) -m mypy & types=$$!; $(LINT) && $(TEST) --numprocesses logical -m "not process and not server" --hypothesis-profile check $(ARGS); tests=$$?; wait $$types && exit $$tests

test: test-setup  ## all tests, on all cores (ARGS="-n0 ..." in one process)
	@$(TEST) --numprocesses auto $(ARGS)

test-all:  ## all tests, on each Python found
	@status=0; for version in $$($(SETUP) --list); do \
		$(MAKE) --no-print-directory test VERSION=$$version || status=$$?; done; exit $$status

lint: setup  ## ruff and mypy
	@$(LINT)
	@$(RUN) -m mypy

bench: setup  ## the limits that must hold, as ratios
	@$(RUN) -m bench $(ARGS)

chaos: setup  ## a long run with everything failing at random; a table of what became of every item
	@$(RUN) -m tests.chaos $(ARGS)

crash: setup  ## every window in which a process can die or a dependency fail, enumerated (ARGS="renewal rotation": some)
	@$(RUN) -m tests.crash $(ARGS)

soak: setup  ## minutes or an hour at a set rate with rotating faults; memory, threads, sockets and the account are held
	@$(RUN) -m tests.soak $(ARGS)

conformance: setup  ## what a Functions host does, row by row; HOST=func tries Core Tools instead of the stand-in
	@$(RUN) -m local.conformance $(ARGS)

fuzz: setup  ## coverage-guided fuzzing of what reads strangers' bytes
	@$(RUN) -m fuzz $(ARGS)

audit: setup  ## the licences and known faults of what is deployed, and its bill of materials
	@$(RUN) -m tools.licences
	@$(RUN) -m tools.vulnerabilities
	@$(RUN) -m tools.sbom dist/sbom.json

vectors: setup  ## test vectors for receivers of Graph notifications, as a zip in dist/ (docs/vectors.md)
	@rm -rf dist/graph-notification-vectors dist/graph-notification-vectors.zip
	@$(RUN) -m graph_simulator vectors dist/graph-notification-vectors $(ARGS)
	@cd dist && ../$(RUN) -m zipfile -c graph-notification-vectors.zip graph-notification-vectors

lock: setup  ## pin the requirements (ARGS=--upgrade for newer versions)
	@$(COMPILE) $(ARGS) --output-file requirements.txt requirements.in
	@$(COMPILE) $(ARGS) --output-file requirements-dev.txt requirements-dev.in
	@$(COMPILE_DEPLOYED) --output-file infra/requirements.txt requirements.in

clean:  ## remove all that was installed or made here
	rm -rf .venv .venv-app .venv-3.* .azurite .azure-cli .kusto .examples dist .run .fuzz .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
