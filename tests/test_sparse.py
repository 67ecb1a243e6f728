"""Sparse Jacobians and Hessians: patterns, numbers, form, and what they cost in sweeps."""

import itertools
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import micrograd_c as mg
from micrograd_c import Value

sparse = pytest.importorskip("scipy.sparse")


def check_form(matrix, shape):
    """A CSR array of floats as scipy wants it: indices sorted, none twice."""
    assert isinstance(matrix, sparse.csr_array) and matrix.shape == shape
    assert matrix.dtype == np.float64 and matrix.indices.dtype == matrix.indptr.dtype == np.int32
    assert matrix.indptr[0] == 0 and matrix.indptr[-1] == matrix.nnz == len(matrix.data)
    for first, last in itertools.pairwise(matrix.indptr):
        assert (np.diff(matrix.indices[first:last]) > 0).all()
    again = sparse.csr_array((matrix.data, matrix.indices, matrix.indptr), shape)
    again.check_format()
    assert again.has_canonical_format


def pattern(matrix):
    return {(int(j), int(k)) for j, k in zip(*matrix.nonzero())}


def stored(matrix):
    return {
        (j, int(k))
        for j in range(matrix.shape[0])
        for k in matrix.indices[matrix.indptr[j] : matrix.indptr[j + 1]]
    }


def check_hessian(function, x, expected=None):
    """The sparse Hessian is the dense one, and symmetric to the bit; expected: its pattern."""
    found, dense = mg.hessian(function, sparse=True)(x), mg.hessian(function)(x)
    n = np.size(x)
    check_form(found, (n, n))
    assert np.allclose(found.toarray(), dense.reshape(n, n), rtol=1e-12, atol=1e-12)
    assert (found.toarray() == found.toarray().T).all()
    assert stored(found) == {(k, j) for j, k in stored(found)}
    if expected is not None:
        assert stored(found) == expected
    return found


def check_jacobian(function, x, expected=None):
    found, dense = mg.jacobian(function, sparse=True)(x), mg.jacobian(function)(x)
    dense = np.array(dense, float).reshape(-1, np.size(x))
    check_form(found, dense.shape)
    assert np.allclose(found.toarray(), dense, rtol=1e-12, atol=1e-12)
    if expected is not None:
        assert stored(found) == expected
    return found


X = np.array([0.5, -1.0, 2.0, 1.5, -0.25, 3.0])
N = len(X)
EVERY = set(itertools.product(range(N), repeat=2))


def banded(width):
    return {(j, k) for j, k in EVERY if abs(j - k) <= width}


HESSIANS = {
    "tridiagonal": (
        lambda x: mg.sum(p * p * q for p, q in itertools.pairwise(x)),
        banded(1) - {(N - 1, N - 1)},
    ),
    "five bands": (
        lambda x: mg.sum((x[k] * x[k + 1] * x[k + 2]).sin() for k in range(N - 2)),
        banded(2),
    ),
    "diagonal": (lambda x: mg.sum(v**3 for v in x), banded(0)),
    "arrow": (
        lambda x: mg.sum(v * v * x[0] for v in x[1:]),
        {(j, k) for j, k in EVERY if j == k != 0 or 0 in (j, k) and j != k},
    ),
    "arrow to the end": (
        lambda x: mg.sum(v**3 * x[-1].exp() for v in x),
        {(j, k) for j, k in EVERY if j == k or N - 1 in (j, k)},
    ),
    "blocks": (
        lambda x: mg.sum((x[k] * x[k + 1] * x[k + 2]) ** 2 for k in (0, 3)),
        {(j, k) for j, k in EVERY if j // 3 == k // 3},
    ),
    "full": (lambda x: mg.sum(x).exp(), EVERY),
    "off the diagonal": (
        lambda x: mg.sum(x[k] * x[N - 1 - k] for k in range(3)),
        {(k, N - 1 - k) for k in range(N)},
    ),
    "linear": (lambda x: mg.sum(x) * 3.0 + 1.0, set()),
    "a dot with constants": (lambda x: mg.dot(x, range(N)), set()),
    "constant": (lambda x: 5.0, set()),
    "detached": (lambda x: mg.sum(v * v.detach() for v in x), set()),
    "partly linear": (lambda x: x[0] + x[1] * x[2] + 7 * x[5], {(1, 2), (2, 1)}),
    "one number": (lambda x: x[3] ** 4, {(3, 3)}),
    "piecewise linear": (lambda x: mg.sum(v.relu() + abs(v) for v in x) + mg.max(x), set()),
}


def test_a_pattern_is_symmetric_where_the_gradient_lost_an_element():
    """By x[0], z * (x * 0) is 0, and left out; by z it is x * 0, which may be nan."""
    check_hessian(lambda x: x[2] * (x[0] * 0.0), X)
    check_hessian(lambda x: x[0] * (x[2] * 0.0) + x[1] ** 2, X)


@pytest.mark.parametrize("name", HESSIANS)
def test_patterns_of_hessians(name):
    function, expected = HESSIANS[name]
    found = check_hessian(function, X)
    assert pattern(found) <= stored(found)
    dense = mg.hessian(function)(X)
    assert {(j, k) for j, k in EVERY if dense[j, k] != 0} <= stored(found)
    assert stored(found) == expected


JACOBIANS = {
    "diagonal": (lambda x: x**2, banded(0)),
    "two bands": (
        lambda x: [p * q for p, q in itertools.pairwise(x)],
        {(j, k) for j in range(N - 1) for k in (j, j + 1)},
    ),
    "empty": (lambda x: [1.0, 2.0], set()),
    "an empty row": (lambda x: [x[0], 3.0, x[1]], {(0, 0), (2, 1)}),
    "a constant column": (lambda x: [v * v for v in x[1:]], {(k, k + 1) for k in range(N - 1)}),
    "a dense row": (
        lambda x: [mg.sum(v.exp() for v in x), *(v**2 for v in x)],
        {(0, k) for k in range(N)} | {(k + 1, k) for k in range(N)},
    ),
    "a dense column": (
        lambda x: [v * x[2] for v in x],
        {(k, k) for k in range(N)} | {(k, 2) for k in range(N)},
    ),
    "a dense row and column": (
        lambda x: [mg.sum(x) ** 2, *(v * x[0] for v in x[1:])],
        {(0, k) for k in range(N)} | {(k, k) for k in range(N)} | {(k, 0) for k in range(N)},
    ),
    "one row": (lambda x: mg.sum(v * v for v in x[::2]), {(0, 0), (0, 2), (0, 4)}),
    "linear": (lambda x: [x[0] - x[1], 2 * x[3]], {(0, 0), (0, 1), (1, 3)}),
    "the same twice": (lambda x: [x[1], x[1], x[1] * x[1]], {(0, 1), (1, 1), (2, 1)}),
    "where": (lambda x: [mg.where(x[0], x[1], x[2])], {(0, 1), (0, 2)}),
    "detached": (lambda x: [x[0].detach() * x[1]], {(0, 1)}),
    "unused": (lambda x: x[4], {(0, 4)}),
}


@pytest.mark.parametrize("name", JACOBIANS)
def test_patterns_of_jacobians(name):
    check_jacobian(JACOBIANS[name][0], X, JACOBIANS[name][1])


def test_one_variable():
    check_hessian(lambda x: x**3, 2.0, {(0, 0)})
    check_hessian(lambda x: x[0] ** 3, np.array([2.0]), {(0, 0)})
    check_hessian(lambda x: 2 * x, 2.0, set())
    check_jacobian(lambda x: [x, x * x, 1.0], 2.0, {(0, 0), (1, 0)})


def test_structures_lie_in_a_row():
    def function(p):
        return {"s": p["a"] * p["b"][1], "t": [p["a"] ** 2, p["b"].ravel()[0]]}

    p = {"a": 3.0, "b": np.array([1.0, 2.0])}
    found = mg.jacobian(function, sparse=True)(p)
    check_form(found, (3, 3))
    assert found.toarray().tolist() == [[2, 0, 3], [6, 0, 0], [0, 1, 0]]
    found = mg.hessian(lambda p: p["a"] ** 2 * p["b"][1], sparse=True)(p)
    assert found.toarray().tolist() == [[4, 0, 6], [0, 0, 0], [6, 0, 0]]
    found = mg.hessian(lambda m: m[0, 1] * m[1, 0], sparse=True)(np.ones((2, 2)))
    assert stored(found) == {(1, 2), (2, 1)}


def test_one_of_several_arguments():
    def function(x, y, n):
        return mg.sum(v**2 * y[0] for v in x) * n

    args = X, np.array([2.0, 1.0]), 3
    for k in (1, -2):
        found = mg.jacobian(function, k, sparse=True)(*args)
        assert found.toarray().tolist() == [[3 * (X @ X), 0]]
    assert mg.hessian(function, sparse=True)(*args).diagonal().tolist() == [12] * N
    assert mg.hessian(function, 1, sparse=True)(*args).nnz == 0
    matrix, aux = mg.hessian(lambda x: (mg.sum(x**2), {"n": x[0]}), has_aux=True, sparse=True)(X)
    assert matrix.diagonal().tolist() == [2] * N and aux == {"n": 0.5}
    matrix, aux = mg.jacobian(lambda x: (x[1:] * 2, "aux"), has_aux=True, sparse=True)(X)
    assert matrix.shape == (N - 1, N) and aux == "aux"


def test_the_pattern_is_that_of_the_program_not_of_the_point():
    """An element that is 0 here is stored, so one factorisation serves all points."""
    hessian = mg.hessian(lambda x: x[0] ** 3 * x[1], sparse=True)
    for x in ([0.0, 0.0], [1.0, 2.0], [np.nan, 1.0]):
        found = hessian(np.array(x))
        assert stored(found) == {(0, 0), (0, 1), (1, 0)}
    assert np.isnan(found.data).any()


def test_taken_rows():
    function = lambda rows, k: mg.take(rows, k) ** 3  # noqa: E731
    hessian = mg.hessian(function, sparse=True)
    for k in (0, 2, -1):
        found = hessian(X, k)
        check_form(found, (N, N))
        assert (found.toarray() == mg.hessian(function)(X, k)).all()
    with pytest.raises(IndexError):
        hessian(X, N)


def test_parameters_are_read_at_each_call():
    w = Value(2.0)
    hessian = mg.hessian(lambda x: mg.sum(w * v**2 for v in x), sparse=True)
    assert hessian(X).diagonal().tolist() == [4] * N
    w.data = 5.0
    assert hessian(X).diagonal().tolist() == [10] * N
    assert w.grad == 0


def test_results_are_the_callers_own():
    hessian = mg.hessian(lambda x: mg.sum(p * p * q for p, q in itertools.pairwise(x)), sparse=True)
    first = hessian(X)
    expected = first.toarray()
    first.data[:] = 99
    first.indices[:] = 0
    first.indptr[:] = 0
    assert (hessian(X).toarray() == expected).all()


# ---- random functions


@st.composite
def sums(draw):
    """A sum of terms of a few variables each, of several kinds; and how many variables."""
    n = draw(st.integers(1, 12))
    index = st.integers(0, n - 1)
    kinds = st.sampled_from(["product", "square", "linear", "sine", "chain", "where"])
    terms = draw(st.lists(st.tuples(kinds, st.lists(index, min_size=1, max_size=4)), max_size=10))

    def term(kind, which, x):
        chosen = [x[k] for k in which]
        total = mg.sum(chosen)
        if kind == "product":
            product = chosen[0]
            for v in chosen[1:]:
                product = product * v
            return product
        if kind == "square":
            return total * total
        if kind == "linear":
            return 3 * total
        if kind == "sine":
            return total.sin() * chosen[0]
        if kind == "where":
            return mg.where(chosen[0], total**3, chosen[-1])
        return mg.sum(p * q for p, q in itertools.pairwise(chosen)) + chosen[-1].exp()

    return n, lambda x: [term(kind, which, x) for kind, which in terms]


@given(sums())
def test_random_functions(made):
    n, terms = made
    x = np.linspace(-1.0, 1.3, n)
    check_jacobian(lambda x: terms(x) or [0.0], x)
    check_hessian(lambda x: mg.sum(terms(x)), x)
    check_hessian(lambda x: mg.sum(v**2 for v in terms(x)), x)


# ---- large ones, which without colouring would need as many sweeps as they have variables


def rosenbrock(x):
    return mg.sum(100 * (q - p**2) ** 2 + (1 - p) ** 2 for p, q in itertools.pairwise(x))


def test_a_banded_hessian_of_many_variables():
    n = 100_000
    x = np.random.default_rng(0).normal(size=n)
    found = mg.hessian(rosenbrock, sparse=True)(x)
    main = np.zeros(n)
    main[:-1] = 1200 * x[:-1] ** 2 - 400 * x[1:] + 2
    main[1:] += 200
    side = -400 * x[:-1]
    assert found.nnz == 3 * n - 2 and found.has_sorted_indices
    assert np.allclose(found.diagonal(), main, rtol=1e-12, atol=1e-9)
    assert np.allclose(found.diagonal(1), side, rtol=1e-12)
    assert (found.diagonal(1) == found.diagonal(-1)).all()


def test_a_jacobian_of_many_rows_and_columns():
    n = 20_000
    x = np.linspace(0, 1, n)
    function = lambda x: [  # noqa: E731
        x[k - 1] * x[k] ** 2 - x[(k + 1) % n] for k in range(n)
    ]
    found = mg.jacobian(function, sparse=True)(x)
    assert found.nnz == 3 * n
    assert np.allclose(found.diagonal()[1:], 2 * x[:-1] * x[1:])
    assert np.allclose(found.diagonal(-1), x[1:] ** 2) and (found.diagonal(1) == -1).all()


@pytest.mark.parametrize("tall", [False, True])
def test_many_rows_or_columns_of_one_dense(tall):
    """A dense row wants reverse mode, a dense column forward mode: two sweeps, not n."""
    n = 3_000
    x = np.linspace(1, 2, n)
    if tall:
        function = lambda x: [v * x[0] for v in x]  # noqa: E731
    else:
        function = lambda x: [mg.sum(x) ** 2, *(v * v for v in x)]  # noqa: E731
    jacobian = mg.jacobian(function, sparse=True)
    found = jacobian(x)
    assert found.nnz == (2 * n - 1 if tall else 2 * n)
    program = mg.jacobian(mg.compile(function), sparse=True)
    assert program(x).nnz == found.nnz


# ---- errors


def test_a_sparse_matrix_is_by_one_argument():
    for transform in (mg.jacobian, mg.hessian):
        for argnums in ((0,), (0, 1), [0]):
            with pytest.raises(TypeError, match="argnums=.* must be a number"):
                transform(lambda x, y: x * y, argnums, sparse=True)


@pytest.mark.parametrize("transform", [mg.jacobian, mg.hessian])
def test_sparse_matrices_are_of_numbers(transform):
    matrix = transform(lambda x: x * x, sparse=True)
    with pytest.raises(TypeError, match="sparse=True .* not Values"):
        matrix(Value(2.0))
    with pytest.raises(TypeError, match="sparse=True"):
        mg.compile(lambda x: matrix(x))(2.0)
    with pytest.raises(TypeError, match="argument 'x' must be made of floats"):
        matrix(2)
    assert Value(1.0) > 0 and matrix(3.0).shape == (1, 1)


def test_a_sparse_hessian_of_several_results():
    with pytest.raises(TypeError, match="one number as its result"):
        mg.hessian(lambda x: [x], sparse=True)(2.0)


@pytest.mark.parametrize("transform", [mg.jacobian, mg.hessian])
def test_without_scipy(transform, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    monkeypatch.setitem(sys.modules, "scipy.sparse", None)
    matrix = transform(lambda x: x * x, sparse=True)
    with pytest.raises(ImportError, match=r"scipy: pip install micrograd_c\[sparse\]"):
        matrix(2.0)
    assert transform(lambda x: x * x)(2.0) in (2, 4)
    monkeypatch.undo()
    assert matrix(2.0).shape == (1, 1)
