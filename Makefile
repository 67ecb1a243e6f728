# Every target does its own set-up, in an environment of its own: make test PYTHON=python3.12
PYTHON ?= python3
NAME := $(notdir $(PYTHON))
PIP = bin/python -m pip install --quiet --disable-pip-version-check

# Tests run on what is installed, in a folder with no source of the package on the path.
AWAY = rm -rf build/away-$(1) && mkdir -p build/away-$(1) && \
	cp -r tests examples benchmarks pyproject.toml README.md build/away-$(1) && cd build/away-$(1)
# What runs there: pytest, or the fuzzer.
RUN = -m pytest $(TESTS)
CORE_TESTS = --ignore=tests/test_examples.py --ignore=tests/test_benchmarks.py --ignore=tests/test_explore.py \
	--ignore=tests/test_typing.py

.PHONY: test test-core fuzz demo bench debug sanitize lint clean

test: ## the tests, on the installed package
	$(PYTHON) -m venv .venv-$(NAME)
	.venv-$(NAME)/$(PIP) --force-reinstall --no-deps .
	.venv-$(NAME)/$(PIP) ".[test]"
	$(call AWAY,$(NAME)) && ../../.venv-$(NAME)/bin/python $(RUN)

test-core: ## the tests of the package alone: no examples, benchmarks, browser, or type checkers
	$(MAKE) test TESTS="tests $(CORE_TESTS)"

SECONDS = 60
SEED = $(shell date +%Y%m%d)
fuzz: ## random cases for SECONDS=60 of SEED=n; CASE=kind-n again; BUILD=debug or sanitize
	$(MAKE) $(or $(BUILD),test) RUN="-m tests.fuzz --seconds $(SECONDS) --seed $(SEED) $(addprefix --case ,$(CASE))"

demo: ## the main job: micrograd's demo on both engines, side by side
	$(PYTHON) -m venv .venv-demo
	.venv-demo/$(PIP) ".[examples]"
	.venv-demo/bin/python examples/race.py --output moons.png $(ARGS)

bench: ## the benchmarks, without the heavy peers: pip install more of them into .venv-bench
	$(PYTHON) -m venv .venv-bench
	.venv-bench/$(PIP) -e ".[bench]"
	.venv-bench/bin/python -m benchmarks $(ARGS)

debug: TESTS = tests $(CORE_TESTS)
debug: ## bounds checks and assertions on every index and on the tape's order; then the tests
	$(PYTHON) -m venv .venv-debug
	MICROGRAD_C_DEBUG=1 .venv-debug/$(PIP) --force-reinstall ".[test]"
	$(call AWAY,debug) && ../../.venv-debug/bin/python $(RUN)

sanitize: TESTS = tests $(CORE_TESTS) -m "not memory"
sanitize: ## AddressSanitizer and UndefinedBehaviorSanitizer; then the tests
	$(PYTHON) -m venv .venv-sanitize
	MICROGRAD_C_SANITIZE=1 .venv-sanitize/$(PIP) --force-reinstall ".[test]"
	$(call AWAY,sanitize) && \
	LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)" \
	ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1 PYTHONMALLOC=malloc \
	../../.venv-sanitize/bin/python $(RUN)

lint: ## ruff, mypy, and mypy's check of the stubs against the built module
	$(PYTHON) -m venv .venv-lint
	.venv-lint/$(PIP) -e ".[test]"
	.venv-lint/bin/ruff check .
	.venv-lint/bin/ruff format --check .
	.venv-lint/bin/mypy
	.venv-lint/bin/stubtest micrograd_c --mypy-config-file pyproject.toml \
		--allowlist tests/stubtest-allowed.txt --ignore-unused-allowlist

clean:
	rm -rf build dist wheelhouse .venv-* *.egg-info micrograd_c/*.so micrograd_c/*.pyd
