# Everything from a fresh checkout: make demo | test | lint | bench | clean
#
# Needs Python 3.11 or later and make. Another interpreter: make test PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help demo test test-long lint pytest bench reliability audit docs clean core dev

help:
	@echo "make demo   install what migaki needs and run the whole road on built-in material, into demo/"
	@echo "make test   install everything; ruff, mypy --strict, pytest"
	@echo "make test-long  the same, with the tests that are long and have a fast sibling"
	@echo "make lint   ruff and mypy alone"
	@echo "make bench  speed and memory, each against a baseline of the same run: one table, bench.json"
	@echo "make reliability  kill every stage 25 times, fuzz every reader: docs/reliability.md (about an hour)"
	@echo "make audit  known weaknesses of the pinned dependencies, as a report: audit.txt"
	@echo "make docs   the documentation with a reference of the Python calls, strict, into site/"
	@echo "make clean  remove .venv, caches and build products (not demo/ and runs/)"
	@echo "Another interpreter: make test PYTHON=python3.12"

demo: core
	$(BIN)/migaki demo --out demo

# Compiling the tests takes half a minute of one core, and mypy leaves one idle.
test: dev
	@$(COMPILED) $(BIN)/python -m pytest --collect-only -qq >/dev/null 2>&1 & \
	$(MAKE) --no-print-directory lint; found=$$?; wait; exit $$found
	$(PYTEST)

# Half as many workers again as cores: many tests wait for other processes, files, browsers.
# Compiled tests and modules are kept, whatever the environment says of it: compiling them anew is half of collecting.
COMPILED = PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1
PYTEST = $(COMPILED) $(BIN)/python -m pytest -n $$(( ($$(nproc) * 3 + 1) / 2 )) --dist loadfile --no-loadscope-reorder

test-long: lint
	$(PYTEST) -m ""

lint: dev
	$(BIN)/ruff check .
	$(BIN)/mypy

pytest: dev
	$(PYTEST)

bench: dev
	$(BIN)/python benchmarks/speed.py --out bench.json $(BENCH)

reliability: dev
	$(BIN)/python tests/reliability/harness.py --kills 25
	for target in metadata image model import shards values names mask video set sharded run study sittings; do $(BIN)/python tests/fuzz/fuzz.py $$target $(FUZZ) || exit 1; done

# A report: known weaknesses do not fail it, for one made known today must not break yesterday's build. That nothing
# could be audited (no network, no such package) does. In an environment of its own.
audit: dev
	@rm -f audit.json; { $(PYTHON) -m venv .audit && .audit/bin/pip install --quiet --disable-pip-version-check pip-audit \
	  && .audit/bin/pip-audit --path "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" \
	  --progress-spinner off --format json --output audit.json; } > audit.txt 2>&1; \
	$(BIN)/python .ci/audit.py audit.json audit.txt

# In an environment of its own: mkdocs reads the source and imports none of it.
docs:
	@[ -x .docs/bin/mkdocs ] || { $(PYTHON) -m venv .docs && .docs/bin/pip install --quiet --disable-pip-version-check \
	  "mkdocs>=1.6" "mkdocstrings[python]>=0.29"; }
	.docs/bin/mkdocs build --strict

clean:
	rm -rf .docs site .audit audit.txt audit.json $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# pip is what `python -m venv` makes last: where it is, the environment is whole.
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "migaki needs Python 3.11 or later as $(PYTHON): install it, or make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
	  package=$$($(PYTHON) -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'); \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q "$$package"; \
	  else \
	    echo "$(PYTHON) cannot make virtual environments: sudo apt-get install $$package" >&2; exit 1; \
	  fi; }
	$(PYTHON) -m venv $(VENV)

# The stamp holds a checksum of what was installed from: a second call is free, a change installs anew.
WANTED = $$(cat pyproject.toml constraints.txt | cksum)

core: $(BIN)/pip
	@[ "$$(cat $(VENV)/core.stamp 2>/dev/null)" = "$(WANTED)" ] || { \
	  $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e . \
	  && echo "$(WANTED)" > $(VENV)/core.stamp; }

dev: $(BIN)/pip
	@[ "$$(cat $(VENV)/dev.stamp 2>/dev/null)" = "$(WANTED)" ] || { \
	  $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]' \
	  && echo "$(WANTED)" > $(VENV)/dev.stamp && echo "$(WANTED)" > $(VENV)/core.stamp; }
