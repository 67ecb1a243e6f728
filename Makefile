# Every target does its own set-up, in an environment of its own: make test PYTHON=python3.12
PYTHON ?= python3
NAME := $(notdir $(PYTHON))
PIP = bin/python -m pip install --quiet --disable-pip-version-check

# Tests run on what is installed, in a folder with no source of the package on the path.
AWAY = rm -rf build/away-$(1) && mkdir -p build/away-$(1) && \
	cp -r tests examples benchmarks pyproject.toml README.md build/away-$(1) && cd build/away-$(1)
CORE_TESTS = --ignore=tests/test_examples.py --ignore=tests/test_benchmarks.py --ignore=tests/test_explore.py

.PHONY: test test-core demo bench debug sanitize lint clean

test: ## the tests, on the installed package
	$(PYTHON) -m venv .venv-$(NAME)
	.venv-$(NAME)/$(PIP) --force-reinstall --no-deps .
	.venv-$(NAME)/$(PIP) ".[test]"
	$(call AWAY,$(NAME)) && ../../.venv-$(NAME)/bin/python -m pytest $(TESTS)

test-core: ## the tests of the package alone: no examples, benchmarks, or browser
	$(MAKE) test TESTS="tests $(CORE_TESTS)"

demo: ## the main job: micrograd's demo on both engines, side by side
	$(PYTHON) -m venv .venv-demo
	.venv-demo/$(PIP) ".[examples]"
	.venv-demo/bin/python examples/race.py --output moons.png $(ARGS)

bench: ## the benchmarks, without the heavy peers: pip install more of them into .venv-bench
	$(PYTHON) -m venv .venv-bench
	.venv-bench/$(PIP) -e ".[bench]"
	.venv-bench/bin/python -m benchmarks $(ARGS)

debug: ## bounds checks and assertions on every index and on the tape's order; then the tests
	$(PYTHON) -m venv .venv-debug
	MICROGRAD_C_DEBUG=1 .venv-debug/$(PIP) --force-reinstall ".[test]"
	$(call AWAY,debug) && ../../.venv-debug/bin/python -m pytest tests $(CORE_TESTS)

sanitize: ## AddressSanitizer and UndefinedBehaviorSanitizer; then the tests
	$(PYTHON) -m venv .venv-sanitize
	MICROGRAD_C_SANITIZE=1 .venv-sanitize/$(PIP) --force-reinstall ".[test]"
	$(call AWAY,sanitize) && \
	LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)" \
	ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1 PYTHONMALLOC=malloc \
	../../.venv-sanitize/bin/python -m pytest tests $(CORE_TESTS) -m "not memory"

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
