# Every target sets up what it needs, on a fresh clone too: python3 (>= 3.11) with venv, a C compiler and Python
# headers are all that must be there; what is missing is named. Another Python: make PYTHON=python3.13 test

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# Arguments for pytest: make test TESTS=tests/unit/ocsp
TESTS  ?=
# For each fuzz target of make soak
FUZZ_SECONDS ?= 1800

.DEFAULT_GOAL := help
.PHONY: help setup build run test pairs check bench soak clean

help:
	@echo "make run     set everything up and start a demo: local CA, OCSP responder, origin, gate"
	@echo "make test    set everything up and run the tests: all compiled, most again pure (TESTS=path for some)"
	@echo "make pairs   the tests of TLS with the oldest and the newest cryptography and pyOpenSSL"
	@echo "make check   lint, format, types, import ranks"
	@echo "make bench   compare with the rivals that are installed; results go to bench/results/"
	@echo "make soak    long rounds: fuzz, floods, kills"
	@echo "make setup   the environment alone      make build   a wheel in dist/      make clean"

setup:
	@command -v $(PYTHON) >/dev/null 2>&1 || { \
	  echo "headgate: no $(PYTHON) here; Debian: apt install python3 python3-venv python3-dev gcc libc6-dev" >&2; exit 1; }
	@$(PYTHON) tools/bootstrap.py $(VENV)

build: setup
	@rm -rf build
	@$(BIN)/python -m pip wheel --disable-pip-version-check --no-build-isolation --no-deps --wheel-dir dist .
	@rm -rf build src/headgate.egg-info

run: setup
	@$(BIN)/headgate demo

test: setup
	@$(BIN)/python tools/suite.py $(TESTS)

pairs: setup
	@$(BIN)/python -m tools.tls_pairs

check: setup
	@echo "headgate: ruff, mypy, house rules"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@PYTHONPATH=src $(BIN)/python -m pytest -q tests/unit/test_house.py

bench: setup
	@$(BIN)/python -m bench

# The tests marked `soak` (floods, kills, swaps, properties) take their rounds from HEADGATE_SOAK.
soak: setup
	@HEADGATE_SOAK=1 HEADGATE_EXPECT=$$(cut -d: -f1 $(VENV)/headgate-mode | cut -d' ' -f1) \
	  $(BIN)/python -m pytest -q -m soak --timeout=7200 $(TESTS) || [ $$? -eq 5 ]
	@for target in $$(ls fuzz | sed -n 's/^\([a-z].*\)\.py$$/\1/p'); do \
	  echo "headgate: fuzzing $$target for $(FUZZ_SECONDS) s"; \
	  $(BIN)/python -m fuzz.$$target --seconds $(FUZZ_SECONDS) --seed $$(date +%s) || exit 1; \
	done

clean:
	rm -rf $(VENV) build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .demo
	find src tests bench fuzz tools -name __pycache__ -type d -prune -exec rm -rf {} +
