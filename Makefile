# Two commands for newcomers: `make demo` trains a generator of digits, `make test` runs the tests.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt
export MPLCONFIGDIR := $(CURDIR)/.venv/matplotlib

.PHONY: help demo test test-deps bench bench-quality bench-results bench-modes bench-autopilot bench-penalties bench-lab lint faults mutants clean

help:
	@echo "make demo     install and train a generator of handwritten digits, about two minutes"
	@echo "make test     install and run the tests"
	@echo "make test-deps   install a Chromium, where that is allowed, for the tests of the laboratory"
	@echo "make lint     ruff and mypy"
	@echo "make faults   hundreds of kills, bit flips and full disks"
	@echo "make mutants  break the losses on purpose and see every edit caught"
	@echo "make bench    speed beside the plain tutorial loop, and what all else costs; make bench-quality, bench-results"
	@echo "make bench-modes, bench-autopilot, bench-penalties, bench-lab   collapse, the auto-pilot, penalties, the laboratory"

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) -e .
	@touch $@

.venv/tested: .venv/installed
	$(PIP) -e '.[test]'
	@touch $@

demo: .venv/installed
	$(BIN)/gannet train quick data=digits

# A browser that tests drive: Debian's, as root or by sudo. Never a failure: tests without one say that they did not run.
test-deps:
	@$(PYTHON) tools/chromium.py

# Each of the parallel processes uses one torch thread: two that spin at the same barriers wait for each other.
test: .venv/tested
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

lint: .venv/tested
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

faults: .venv/tested
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests -m slow -q
	OMP_NUM_THREADS=1 $(BIN)/python tools/faults.py

mutants: .venv/tested
	OMP_NUM_THREADS=1 $(BIN)/python tools/mutants.py

bench: .venv/installed
	for name in throughput overhead sampling metrics shards; do $(BIN)/python benchmarks/$$name.py || exit 1; done

# Two long ones: three quarters of an hour, and four to five hours. Both go on where they were stopped.
bench-quality: .venv/installed
	$(BIN)/python benchmarks/time_to_quality.py

bench-results: .venv/installed
	$(BIN)/gannet bench results

# Hours each; finished cells are kept.
bench-modes: .venv/installed
	$(BIN)/python benchmarks/modes.py
	$(BIN)/python benchmarks/modes.py --page

bench-autopilot: .venv/installed
	$(BIN)/python benchmarks/autopilot.py
	$(BIN)/python benchmarks/autopilot.py --page docs/autopilot.md

bench-penalties: .venv/installed
	$(BIN)/python benchmarks/penalties.py

bench-lab: .venv/tested
	$(BIN)/python benchmarks/laboratory.py

clean:
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache
