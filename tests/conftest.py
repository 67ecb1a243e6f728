"""Shared fixtures: the hypothesis profile, the tape's tuning, programs run on their own."""

import ast
import gc
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import micrograd_c
from micrograd_c import _core

settings.register_profile(
    "local", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("ci", settings.get_profile("local"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "local")

# AddressSanitizer keeps freed memory for a while, reserves terabytes of addresses, and is slow.
SANITIZED = "asan" in os.environ.get("LD_PRELOAD", "")
if SANITIZED:
    settings.register_profile("sanitized", settings.get_profile("ci"), max_examples=20)
    settings.load_profile("sanitized")


# A shell that starts the tests in the background has them ignore Ctrl-C, of which some tests are.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

RECORDED = Path(__file__).with_name("recorded.json")

# `--core python` leaves out what one Python shows as well as another, `--core build` what one build
# shows as well as a checked one: whole files, or some of their tests. Without it, all is tested.
ALL = "all"
ONCE = {
    "test_benchmarks.py": ALL,
    "test_examples.py": ALL,
    "test_explore.py": ALL,
    "test_fuzz.py": ALL,
    "test_layers.py": ALL,
    "test_new_operation.py": ALL,
    "test_numpy_namespace.py": ALL,
    "test_typing.py": ALL,
    "test_autograd.py": "test_edges_of_forgotten_histories_are_freed",
    "test_compile.py": """test_a_million_nodes
        test_a_hundred_thousand_captured_values_and_a_wide_tree""",
    "test_compile_files.py": """test_a_file_damaged_byte_by_byte
        test_a_program_of_a_million_nodes_comes_back""",
    "test_compile_random.py": "test_instruction_sets",
    "test_compile_safety.py": "test_work_that_goes_on_after_its_call_was_interrupted",
    "test_compile_training.py": """test_moons_by_the_mean_over_samples
        test_moons_by_one_program_of_all_samples test_moons_with_an_optimiser
        test_moons_against_numpy test_scores_of_many_points""",
    "test_derive.py": "test_a_large_band_is_coloured_with_its_width",
    "test_nn.py": "test_a_training_curve_is_that_of_micrograd",
    "test_passes.py": """test_a_million_nodes test_a_million_equal_nodes_become_one
        test_one_dot_of_a_million_pairs""",
    "test_paths.py": "test_dead_branches_are_not_walked test_astronomically_many",
    "test_sparse.py": "test_a_banded_hessian_of_many_variables",
}
CORE = {
    "python": ONCE
    | {
        "test_compile_random.py": ALL,
        "test_compile_files.py": ONCE["test_compile_files.py"]
        + " test_files_with_any_one_number_replaced test_hostile_files",
    },
    "build": ONCE
    | {
        "test_check_grads.py": ALL,
        "test_compile_training.py": ALL,
        "test_docs.py": ALL,
        "test_swap.py": ALL,
        "test_lines.py": ALL,
        "test_messages.py": ALL,
        "test_outside.py": ALL,
        "test_viz.py": ALL,
        "test_compile_files.py": ONCE["test_compile_files.py"]
        + " test_files_with_any_one_number_replaced[large]",
        "test_compile_random.py": ONCE["test_compile_random.py"]
        + " test_passes_change_no_number test_eager_code_is_traced_as_it_stands",
        "test_derive.py": ONCE["test_derive.py"]
        + " test_dependencies_of_a_long_chain_do_not_copy_its_sets",
        "test_errors.py": "test_a_hundred_thousand_errors_leave_nothing",
        "test_ops.py": "test_partials test_value",
        "test_derivatives.py": "test_derivatives_of_binary_operations",
        "test_tape.py": "test_ctrl_c_during_a_long_backward_leaves_a_sound_tape",
    },
}


def pytest_addoption(parser):
    parser.addoption("--core", choices=CORE, help="only what Pythons, or builds, may differ in")
    parser.addoption("--record", action="store_true", help="record what PyTorch and JAX give")


def pytest_configure(config):
    config.addinivalue_line("markers", "memory: measures memory, meaningless under a sanitizer")


def pytest_ignore_collect(collection_path, config):
    core = CORE.get(config.getoption("--core"), {})
    return True if core.get(collection_path.name) == ALL else None


def pytest_collection_modifyitems(config, items):
    core = CORE.get(config.getoption("--core"))
    if core is not None:
        left_out = {
            item
            for item in items
            if {item.originalname, item.name} & {*core.get(item.path.name, "").split()}
            or item.get_closest_marker("memory")
        }
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(autouse=True, scope="module")
def frozen():
    """What is loaded by now stays: it need not be searched whenever a test collects garbage."""
    gc.collect()
    gc.freeze()


def pytest_runtest_setup(item):
    if SANITIZED and item.get_closest_marker("memory"):
        pytest.skip("memory figures mean nothing under AddressSanitizer")


@pytest.fixture(autouse=True)
def default_tuning():
    """Whatever a test tunes, the next one starts from the defaults."""
    yield
    _core._tune()


@pytest.fixture(params=[{}, {"nursery": 1}], ids=["nursery", "collect-always"])
def nursery(request):
    """Run the test as usual, and again with a collect after every operation."""
    _core._tune(**request.param)


@pytest.fixture
def recorded(request):
    """recorded(f, *args): what f(*args) gave where PyTorch and JAX were, at the last --record."""
    name = f"{request.node.path.name}::{request.node.name}"

    def recorded(f, *args):
        table = json.loads(RECORDED.read_text())
        if request.config.getoption("--record"):
            table[name] = repr(f(*args))
            peers = [sys.modules[peer] for peer in ("jax", "torch") if peer in sys.modules]
            table |= {peer.__name__: peer.__version__ for peer in peers}
            RECORDED.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n")
        return ast.literal_eval(table[name])

    return recorded


@pytest.fixture
def run():
    """run(code, timeout): a program in a fresh interpreter, its stdout; a non-zero exit fails."""

    def run(code, timeout=60):
        package = str(Path(micrograd_c.__file__).resolve().parents[1])
        path = os.pathsep.join([package, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
        # One BLAS thread: the address space that others reserve would blur the memory limits.
        env = {**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(code)],
            env=env,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run
