# Every target does its own set-up, in an environment of its own: make test PYTHON=python3.12
PYTHON ?= python3
NAME := $(notdir $(PYTHON))
PIP = bin/python -m pip install --quiet --disable-pip-version-check

# A Python's wheel is compiled once, and again when a source has changed. debug and sanitize have their own.
SOURCES := setup.py pyproject.toml MANIFEST.in README.md $(shell find src micrograd_c -type f ! -name '*.so' ! -name '*.py[cd]')
.SECONDARY:
build/wheel-%/made: $(SOURCES)
	@echo "compiling micrograd_c for $(PYTHON) ($*): a minute or two"
	rm -rf $(@D) && $(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir $(@D) .
	touch $@

# INSTALL,ENVIRONMENT,WHEEL,EXTRA: an environment with a wheel and what an extra names.
INSTALL = $(PYTHON) -m venv .venv-$(1) && wheel=$$(echo build/wheel-$(2)/*.whl) && \
	.venv-$(1)/$(PIP) --force-reinstall --no-deps $$wheel && .venv-$(1)/$(PIP) "$$wheel[$(3)]"

# Tests run on what is installed, in a folder with no source of the package on the path.
AWAY = rm -rf build/away-$(1) && mkdir -p build/away-$(1) && \
	cp -r tests examples benchmarks pyproject.toml README.md build/away-$(1) && mkdir build/away-$(1)/source && \
	cp -r src micrograd_c setup.py pyproject.toml *.md LICENSE build/away-$(1)/source && cd build/away-$(1)
# What runs there: pytest, or the fuzzer.
RUN = -m pytest $(TESTS)

.PHONY: wheel test test-core fuzz demo bench debug sanitize lint clean

wheel: build/wheel-$(NAME)/made ## the wheel of this Python, in build/wheel-python3

EXTRA = test
test: wheel ## the tests, on the installed package
	$(call INSTALL,$(NAME),$(NAME),$(EXTRA))
	$(call AWAY,$(NAME)) && ../../.venv-$(NAME)/bin/python $(RUN)

test-core: ## the tests that another Python may fail: those that tests/conftest.py does not leave out
	$(MAKE) test EXTRA=test-core TESTS='tests --core python'

SECONDS = 60
SEED = $(shell date +%Y%m%d)
fuzz: ## random cases for SECONDS=60 of SEED=n; CASE=kind-n again; BUILD=debug or sanitize
	$(MAKE) $(or $(BUILD),test) RUN="-m tests.fuzz --seconds $(SECONDS) --seed $(SEED) $(addprefix --case ,$(CASE))"

demo: wheel ## the main job: micrograd's demo on both engines, side by side
	$(call INSTALL,demo,$(NAME),examples)
	.venv-demo/bin/python examples/race.py --output moons.png $(ARGS)

bench: wheel ## the benchmarks, without the heavy peers: pip install more of them into .venv-bench
	$(call INSTALL,bench,$(NAME),bench)
	.venv-bench/bin/python -m benchmarks $(ARGS)

debug: TESTS = tests --core build
debug: export MICROGRAD_C_DEBUG = 1
debug: build/wheel-debug/made ## bounds checks and assertions on every index and on the tape's order; then the tests
	$(call INSTALL,debug,debug,test-core)
	$(call AWAY,debug) && ../../.venv-debug/bin/python $(RUN)

sanitize: TESTS = tests --core build
sanitize: export MICROGRAD_C_SANITIZE = 1
sanitize: build/wheel-sanitize/made ## AddressSanitizer and UndefinedBehaviorSanitizer; then the tests
	$(call INSTALL,sanitize,sanitize,test-core)
	$(call AWAY,sanitize) && \
	LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)" \
	ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1:max_allocation_size_mb=2000 \
	UBSAN_OPTIONS=print_stacktrace=1 PYTHONMALLOC=malloc \
	../../.venv-sanitize/bin/python $(RUN)

lint: wheel ## ruff, mypy, and mypy's check of the stubs against the built module
	$(call INSTALL,$(NAME),$(NAME),test)
	.venv-$(NAME)/bin/ruff check .
	.venv-$(NAME)/bin/ruff format --check .
	.venv-$(NAME)/bin/mypy
	.venv-$(NAME)/bin/stubtest micrograd_c --mypy-config-file pyproject.toml \
		--allowlist tests/stubtest-allowed.txt --ignore-unused-allowlist

clean:
	rm -rf build dist wheelhouse .venv-* *.egg-info micrograd_c/*.so micrograd_c/*.pyd micrograd_c/_functions.pyi
