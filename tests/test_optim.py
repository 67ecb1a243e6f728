"""micrograd_c.optim against PyTorch's recorded results, and parameters to and from NumPy."""

import copy
import json
import math
import pickle
import signal
import threading

import numpy as np
import pytest
from record_optim import NORMS, RECORDED, SCHEDULES, START, STEPS, gradient, rosenbrock

import micrograd_c as mg
from micrograd_c import Value, _core, optim, tape

TORCH = json.loads(RECORDED.read_text())
CLASSES = (optim.SGD, optim.Adam, optim.AdamW)
every_kind = pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
every_run = pytest.mark.parametrize(
    "run", TORCH["runs"], ids=lambda run: f"{run['kind']}-{run['settings']}-{run['schedule']}"
)


class Sub(Value):
    pass


def params_of(cls=Value):
    return [cls(x) for x in START]


def by_formula(params):
    for p, g in zip(params, gradient([p.data for p in params])):
        p.grad = g


def by_backward(params):
    for p in params:
        p.grad = 0.0
    rosenbrock(params).backward()


def train(optimizer, params, steps, grads=by_formula, schedule="constant", lr=None):
    for step in steps:
        for name, x in SCHEDULES[schedule](step, lr).items():
            setattr(optimizer, name, x)
        grads(params)
        optimizer.step()
    return mg.get_data(params)


def small(kind, n=3, **settings):
    """Parameters after one step, with gradients for another, and their optimiser."""
    params = [Value(k + 1.0) for k in range(n)]
    if kind is optim.SGD:
        settings = {"momentum": 0.9, **settings}
    optimizer = kind(params, lr=0.1, **settings)
    for k, p in enumerate(params):
        p.grad = 0.5 - k
    optimizer.step()
    return params, optimizer


def plain(state):
    return {name: x.tolist() if isinstance(x, np.ndarray) else x for name, x in state.items()}


def everything(params, optimizer):
    data, grads = mg.get_data(params).tolist(), mg.get_grad(params).tolist()
    return repr((data, grads, plain(optimizer.state_dict())))


# ---- the update rules


def test_the_record_is_of_something():
    assert len(TORCH["runs"]) > 30 and len(TORCH["clip"]) == len(NORMS)
    for run in TORCH["runs"]:
        assert (
            list(map(int, run["after"])) == STEPS and np.isfinite(list(run["after"].values())).all()
        )


@pytest.mark.parametrize("grads", [by_formula, by_backward])
@every_run
def test_equal_to_pytorch(run, grads, nursery):
    params = params_of()
    optimizer = getattr(optim, run["kind"])(params, **run["settings"])
    lr, start = optimizer.lr, 1
    for stop in STEPS:
        steps = range(start, stop + 1)
        got = train(optimizer, params, steps, grads, run["schedule"], lr)
        # The last bits of gradients are others by backward, and grow with the steps.
        near = 1e-12 if grads is by_formula else 1e-9
        assert got == pytest.approx(run["after"][str(stop)], rel=near, abs=near)
        start = stop + 1


def test_settings_by_position_are_in_pytorchs_order():
    sgd = optim.SGD([Value(1)], 0.1, 0.2, 0.3, 0.4, False)
    assert (sgd.lr, sgd.momentum, sgd.dampening, sgd.weight_decay, sgd.nesterov) == (
        *(0.1, 0.2, 0.3, 0.4),
        False,
    )
    for kind in (optim.Adam, optim.AdamW):
        adam = kind([Value(1)], 0.1, (0.2, 0.3), 0.4, 0.5)
        assert (adam.lr, adam.betas, adam.eps, adam.weight_decay) == (0.1, (0.2, 0.3), 0.4, 0.5)


def test_instances_of_a_subclass(nursery):
    values, subs = params_of(), params_of(Sub)
    for params in (values, subs):
        train(optim.AdamW(params, lr=0.05), params, range(20), by_backward)
    assert mg.get_data(subs).tolist() == mg.get_data(values).tolist()
    assert all(type(p) is Sub for p in subs)


@every_kind
def test_parameters_that_move_on_the_tape(kind):
    """Nodes made and freed between the parameters: a collect gives them other indices."""

    def run(clutter):
        params = []
        for x in START:
            rubbish = [Value(100.0 + k) for k in range(clutter)]
            params.append(Value(x))
            del rubbish
        optimizer = kind(params, lr=1e-3)
        for _ in range(3):
            train(optimizer, params, [1])
            tape.collect()
        optimizer.zero_grad()
        return mg.get_data(params).tolist(), mg.get_grad(params).tolist()

    assert run(50) == run(0)
    assert run(0)[1] == [0.0] * len(START)


@every_kind
def test_a_gradient_of_zero_is_a_step(kind):
    """Gradients are never None: a parameter without one has gradient 0, and momentum goes on."""
    (a, *_), optimizer = small(kind)
    before = a.data
    optimizer.zero_grad()
    optimizer.step()
    assert a.data < before


@every_kind
def test_zero_grad_is_of_the_parameters_alone(kind):
    params, optimizer = small(kind)
    other = Value(1.0)
    other.grad = 7.0
    data = mg.get_data(params)
    optimizer.zero_grad()
    assert [p.grad for p in params] == [0.0] * 3 and other.grad == 7.0
    assert (mg.get_data(params) == data).all()


def test_parameters_are_taken_once():
    params = [Value(1.0), Value(2.0)]
    optimizer = optim.SGD((p for p in params), lr=1.0)
    params.append(Value(3.0))
    for p in params:
        p.grad = 1.0
    optimizer.step()
    optimizer.step()
    assert [p.data for p in params] == [-1.0, 0.0, 3.0]


def test_a_model_learns():
    model = mg.nn.MLP(2, [8, 1])
    params = model.parameters()
    mg.set_data(params, np.cos(np.arange(len(params)) ** 2))
    optimizer = optim.Adam(params, lr=0.05)

    def loss():
        return mg.sum((model([x, y]) - x * y) ** 2 for x in (-1, 0, 1) for y in (-1, 0, 1))

    for _ in range(100):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    assert loss().data < 1  # from 45


# ---- errors leave all as it was


SETTINGS = [
    (CLASSES, {"lr": -1.0}, ValueError, "Invalid learning rate: -1.0"),
    (CLASSES, {"lr": math.nan}, ValueError, "Invalid learning rate: nan"),
    (CLASSES, {"lr": math.inf}, ValueError, "Invalid learning rate: inf"),
    (CLASSES, {"lr": "0.1"}, TypeError, "Invalid learning rate, not a number: '0.1'"),
    (CLASSES, {"lr": Value(0.1)}, TypeError, "Invalid learning rate, not a number"),
    (CLASSES, {"weight_decay": -1}, ValueError, "Invalid weight_decay value: -1"),
    (CLASSES[:1], {"momentum": -0.1}, ValueError, "Invalid momentum value: -0.1"),
    (CLASSES[:1], {"dampening": None}, TypeError, "Invalid dampening value, not a number: None"),
    (CLASSES[:1], {"momentum": 0, "nesterov": True}, ValueError, "Nesterov momentum requires"),
    (CLASSES[:1], {"dampening": 0.1, "nesterov": True}, ValueError, "Nesterov momentum requires"),
    (CLASSES[1:], {"betas": (1.0, 0.9)}, ValueError, "Invalid beta parameter at index 0: 1.0"),
    (CLASSES[1:], {"betas": (0.9, -0.1)}, ValueError, "Invalid beta parameter at index 1: -0.1"),
    (CLASSES[1:], {"betas": (0.9,)}, ValueError, "Invalid betas, not a pair"),
    (CLASSES[1:], {"betas": 0.9}, ValueError, "Invalid betas, not a pair"),
    (CLASSES[1:], {"eps": -1e-8}, ValueError, "Invalid epsilon value: -1e-08"),
]


@pytest.mark.parametrize(
    "kind, settings, error, message",
    [(kind, *rest) for kinds, *rest in SETTINGS for kind in kinds],
)
def test_settings_out_of_range(kind, settings, error, message):
    with pytest.raises(error, match=message):
        kind([Value(1.0)], **{"momentum": 0.5} | settings if kind is optim.SGD else settings)
    params, optimizer = small(kind)
    before = everything(params, optimizer)
    kept = {name: getattr(optimizer, name) for name in settings}
    vars(optimizer).update(settings)
    with pytest.raises(error, match=message):
        optimizer.step()
    vars(optimizer).update(kept)
    assert everything(params, optimizer) == before


def test_settings_of_numpy():
    params = [Value(1.0)]
    optimizer = optim.SGD(params, lr=np.float32(0.5), momentum=np.int64(0))
    params[0].grad = 1.0
    optimizer.step()
    assert params[0].data == 0.5
    assert [type(optimizer.state_dict()[name]) for name in ("lr", "momentum")] == [float, float]


@every_kind
@pytest.mark.parametrize(
    "params, error, message",
    [
        ([], ValueError, "empty parameter list"),
        ([1.0], TypeError, r"params\[0\] must be a Value, not float"),
        ([Value(1), "w"], TypeError, r"params\[1\] must be a Value, not str"),
        (Value(1), TypeError, "params must be an iterable of Values, not Value"),
        ([Value(1), *2 * [Value(2)]], ValueError, r"params\[2\] is the same Value as params\[1\]"),
        ([Value.__new__(Value)], ValueError, r"params\[0\]: this Value has no node"),
    ],
    ids=["empty", "number", "text", "one", "twice", "no node"],
)
def test_wrong_parameters(kind, params, error, message):
    with pytest.raises(error, match=message):
        kind(params)


def test_values_that_compare_equal_are_not_the_same():
    class Equal(Value):
        def __eq__(self, other):
            return True

        def __hash__(self):
            return 1

    a, b = Equal(1.0), Equal(2.0)
    a.grad = b.grad = 1.0
    optim.SGD([a, b], lr=1.0).step()
    assert (a.data, b.data) == (0.0, 1.0)


N = np.zeros(3)
BAD_STEPS = [
    (_core.zero_grad, (), {}),
    (_core.clip_grad_norm, (1e-3,), {}),
    (
        _core.sgd_step,
        (np.zeros(1), np.zeros(3)),
        dict(lr=1.0, momentum=0.5, dampening=0.0, weight_decay=0.0, nesterov=False),
    ),
    (
        _core.adam_step,
        (np.zeros(1), np.zeros(3), np.zeros(3)),
        dict(lr=1.0, betas=(0.5, 0.5), eps=1.0, weight_decay=0.0, decoupled=False),
    ),
]


@pytest.mark.parametrize("function, args, settings", BAD_STEPS, ids=lambda x: str(x)[:40])
def test_the_core_checks_what_it_is_handed(function, args, settings):
    a, b = Value(1.0), Value(2.0)
    a.grad = b.grad = 3.0
    for stranger, error in (("c", TypeError), (Value.__new__(Value), ValueError)):
        with pytest.raises(error, match=r"params\[2\]"):
            function((a, b, stranger), *args, **settings)
    for params in (None, [a, b, Value(1.0)]):
        with pytest.raises(TypeError):
            function(params, *args, **settings)
    for k in range(len(args)):
        for wrong in (None, np.zeros(2), np.zeros(3, int), np.zeros(6)[::2], np.zeros((3, 1)), 1j):
            changed = [*args[:k], wrong, *args[k + 1 :]]
            with pytest.raises((TypeError, ValueError)):
                function((a, b, Value(1.0)), *changed, **settings)
    assert (a.data, b.data, a.grad, b.grad) == (1.0, 2.0, 3.0, 3.0)
    assert all(not x.any() for x in args if isinstance(x, np.ndarray))


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="setitimer")
@every_kind
def test_a_signal_comes_before_a_step_or_after_it(kind):
    """Interrupted at any moment, parameters, moments and the count of steps fit together."""

    class Interrupt(Exception):
        pass

    def interrupt(*_):
        raise Interrupt

    params = [Value(1.0) for _ in range(500)]
    for p in params:
        p.grad = 1.0
    settings = {"momentum": 0.5, "dampening": 0.5} if kind is optim.SGD else {}
    optimizer = kind(params, lr=1e-3, **settings)
    twin = Value(1.0)
    twin.grad = 1.0
    expected = kind([twin], lr=1e-3, **settings)
    previous = signal.signal(signal.SIGALRM, interrupt)
    try:
        for k in range(40):
            with pytest.raises(Interrupt):
                signal.setitimer(signal.ITIMER_REAL, 1e-4 + k * 7e-6)
                while True:
                    optimizer.step()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    done = optimizer.state_dict()["step"]
    assert done > 0
    for _ in range(done):
        expected.step()
    assert set(mg.get_data(params)) == {twin.data}
    state, wanted = optimizer.state_dict(), expected.state_dict()
    for name, array in state.items():
        if isinstance(array, np.ndarray):
            assert set(array) == set(wanted[name])


def test_steps_from_several_threads():
    p = Value(0.0)
    p.grad = 1.0
    optimizer = optim.SGD([p], lr=1.0)
    threads = [
        threading.Thread(target=lambda: [optimizer.step() for _ in range(1000)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert p.data == -4000.0


# ---- state_dict


@every_run
def test_state_goes_to_another_optimizer_mid_run(run):
    kind, schedule = getattr(optim, run["kind"]), run["schedule"]
    params = params_of()
    first = kind(params, **run["settings"])
    lr = first.lr
    train(first, params, range(1, 51), schedule=schedule, lr=lr)
    state = pickle.loads(pickle.dumps(first.state_dict()))
    others = [Value(x) for x in mg.get_data(params)]
    second = kind(others, lr=7.0)
    second.load_state_dict(state)
    for optimizer, values in ((first, params), (second, others)):
        train(optimizer, values, range(51, 101), schedule=schedule, lr=lr)
    assert mg.get_data(others).tolist() == mg.get_data(params).tolist()
    assert everything(others, second) == everything(params, first)


@every_kind
def test_state_is_plain_and_a_copy(kind):
    params, optimizer = small(kind)
    state = optimizer.state_dict()
    assert (state["kind"], state["step"], state["lr"]) == (kind.__name__, 1, 0.1)
    moments = [x for x in state.values() if isinstance(x, np.ndarray)]
    assert moments and all(x.shape == (3,) and x.any() for x in moments)
    assert {type(x) for x in plain(state).values()} <= {list, str, int, float, bool, tuple}
    kept, before = copy.deepcopy(state), plain(state)
    optimizer.step()
    assert plain(state) == before
    optimizer.load_state_dict(state)
    optimizer.step()
    assert plain(state) == before
    optimizer.load_state_dict(kept)
    assert plain(optimizer.state_dict()) == before


DAMAGE = [
    (dict(kind="Adagrad"), "of kind 'Adagrad', not"),
    (dict(kind=None), "of kind None, not"),
    (dict(step=-1), r"'step'\] must be a count, not -1"),
    (dict(step=1.5), r"'step'\] must be a count, not 1.5"),
    (dict(step=2**70), r"'step'\] must be a count"),
    (dict(lr=-1.0), "Invalid learning rate: -1.0"),
    (dict(lr="1"), "state_dict: Invalid learning rate, not a number: '1'"),
    (dict(weight_decay=math.nan), "Invalid weight_decay value: nan"),
    (dict(other=1), "has a strange 'other'"),
    (dict(_params=()), "has a strange '_params'"),
    (dict(MOMENT=np.zeros(2)), r"must have shape \(3,\), not \(2,\)"),
    (dict(MOMENT=np.zeros((3, 1))), r"must have shape \(3,\), not \(3, 1\)"),
    (dict(MOMENT=np.array([1.0, math.nan, 2.0])), "must be finite"),
    (dict(MOMENT=np.array([1.0, 2.0, math.inf])), "must be finite"),
    (dict(MOMENT=np.array(["a", "b", "c"])), "must be an array of floats, not <U1"),
    (dict(MOMENT=np.zeros(3, complex)), "must be an array of floats, not complex128"),
    (dict(MOMENT=[1.0, 2.0, 3.0]), "must be an array of floats, not list"),
]


@every_kind
@pytest.mark.parametrize("damage, message", DAMAGE, ids=[str(damage) for damage, _ in DAMAGE])
def test_a_damaged_state_is_not_half_loaded(kind, damage, message):
    params, optimizer = small(kind)
    before = everything(params, optimizer)
    names = [name for name, x in optimizer.state_dict().items() if isinstance(x, np.ndarray)]
    for moment in names:
        # All of it differs from what is there, so that whatever was loaded shows.
        state = {"lr": 0.7, "step": 5, **{name: np.ones(3) for name in names}}
        state |= {moment if key == "MOMENT" else key: x for key, x in damage.items()}
        with pytest.raises(ValueError, match=message):
            optimizer.load_state_dict({**optimizer.state_dict(), **state})
        assert everything(params, optimizer) == before
        assert not hasattr(optimizer, "other") and len(optimizer._params) == 3


@every_kind
def test_a_state_that_lacks_something(kind):
    params, optimizer = small(kind)
    before = everything(params, optimizer)
    for name in optimizer.state_dict():
        state = {**optimizer.state_dict(), "lr": 0.7}
        del state[name]
        with pytest.raises(
            ValueError, match="of kind None" if name == "kind" else f"lacks '{name}'"
        ):
            optimizer.load_state_dict(state)
        assert everything(params, optimizer) == before
    with pytest.raises(ValueError, match="must be a dict, not list"):
        optimizer.load_state_dict([])


def test_a_state_of_another_kind_or_size():
    params, adam = small(optim.Adam)
    with pytest.raises(ValueError, match="of kind 'AdamW', not 'Adam'"):
        adam.load_state_dict(small(optim.AdamW)[1].state_dict())
    with pytest.raises(ValueError, match=r"'exp_avg'\] must have shape \(3,\), not \(4,\)"):
        adam.load_state_dict(small(optim.Adam, 4)[1].state_dict())


def test_a_good_state_replaces_a_wrong_setting():
    _, adam = small(optim.Adam)
    state = adam.state_dict()
    adam.lr = -1.0
    adam.load_state_dict(state)
    assert adam.lr == 0.1


# ---- clip_grad_norm_


@pytest.mark.parametrize("clip", TORCH["clip"], ids=lambda clip: str(clip["max_norm"]))
def test_clip_is_pytorchs(clip, nursery):
    params = params_of()
    by_formula(params)
    norm = optim.clip_grad_norm_(iter(params), clip["max_norm"])
    assert norm == pytest.approx(clip["norm"], rel=1e-14)
    assert mg.get_grad(params) == pytest.approx(clip["grad"], rel=1e-14, abs=0)
    assert mg.get_data(params).tolist() == START


def test_clip_does_not_enlarge():
    params = params_of()
    by_formula(params)
    before = mg.get_grad(params).tolist()
    assert optim.clip_grad_norm_(params, math.inf) == pytest.approx(np.linalg.norm(before))
    assert mg.get_grad(params).tolist() == before


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
def test_clip_of_what_is_not_finite_is_as_in_pytorch(bad):
    a, b = Value(1.0), Value(1.0)
    a.grad, b.grad = bad, 2.0
    norm = optim.clip_grad_norm_([a, b], 1.0)
    assert math.isnan(a.grad)
    if math.isnan(bad):
        assert math.isnan(norm) and math.isnan(b.grad)
    else:
        assert norm == math.inf and b.grad == 0.0


def test_clip_of_nothing_and_of_zero():
    assert optim.clip_grad_norm_([], 1.0) == 0.0
    a = Value(1.0)
    assert optim.clip_grad_norm_([a], 0.0) == 0.0 and a.grad == 0.0


@pytest.mark.parametrize("wrong", [-1.0, math.nan, "1", None])
def test_clip_to_a_wrong_norm(wrong):
    a = Value(1.0)
    a.grad = 5.0
    with pytest.raises((ValueError, TypeError)):
        optim.clip_grad_norm_([a], wrong)
    with pytest.raises(TypeError, match=r"params\[1\] must be a Value, not float"):
        optim.clip_grad_norm_([a, 1.0], 1.0)
    assert a.grad == 5.0


# ---- data and gradients as arrays


@pytest.mark.parametrize("container", [list, tuple, iter, lambda xs: np.array(xs, dtype=object)])
def test_data_out_and_in(container, nursery):
    params = [Value(1.5), Sub(-2.0), Value(1.0) * 4.0]
    got = mg.get_data(container(params))
    assert got.dtype == np.float64 and got.shape == (3,) and got.tolist() == [1.5, -2.0, 4.0]
    mg.set_data(container(params), got * 2)
    assert [p.data for p in params] == [3.0, -4.0, 8.0]
    got[:] = 0
    assert [p.data for p in params] == [3.0, -4.0, 8.0]


def test_gradients_out(nursery):
    a, b, c = params = [Value(2.0), Sub(3.0), Value(4.0)]
    (a * b).backward()
    got = mg.get_grad(iter(params))
    assert got.dtype == np.float64 and got.shape == (3,) and got.tolist() == [3.0, 2.0, 0.0]
    got[:] = 9
    assert c.grad == 0.0


def test_of_nothing():
    assert mg.get_data([]).shape == mg.get_grad([]).shape == (0,)
    mg.set_data([], [])


@pytest.mark.parametrize(
    "array",
    [
        np.array([1, 2, 3]),
        np.array([1, 2, 3], np.float32),
        np.array([1, 2, 3], ">f8"),
        np.array([9, 1, 9, 2, 9, 3], float)[1::2],
        np.array([1, 2, 3], object),
        [True, 2, np.float64(3)],
        (1.0, 2.0, 3.0),
    ],
    ids=repr,
)
def test_numbers_of_every_kind(array):
    params = [Value(0.0) for _ in range(3)]
    mg.set_data(params, array)
    assert [p.data for p in params] == [1.0, 2.0, 3.0]


def test_numbers_that_are_not_finite():
    params = [Value(0.0), Value(0.0)]
    mg.set_data(params, [math.inf, math.nan])
    assert params[0].data == math.inf and math.isnan(params[1].data)


@pytest.mark.parametrize(
    "array, error, message",
    [
        (np.zeros(4), ValueError, r"array must have shape \(3,\), not \(4,\)"),
        (np.zeros((3, 1)), ValueError, r"array must have shape \(3,\), not \(3, 1\)"),
        (5.0, ValueError, r"array must have shape \(3,\), not \(\)"),
        ([5.0, 6.0, "7"], TypeError, r"array\[2\] must be a real number, not str"),
        ([5.0, 6.0, None], TypeError, r"array\[2\] must be a real number, not NoneType"),
        ([5.0, Value(6.0), 7.0], TypeError, r"array\[1\] must be a real number, not Value"),
        (np.ones(3, complex), TypeError, r"array\[0\] must be a real number, not complex128"),
        ([5.0, [6.0], 7.0], ValueError, "inhomogeneous"),
    ],
    ids=["long", "column", "number", "text", "None", "Value", "complex", "nested"],
)
def test_arrays_that_do_not_fit(array, error, message):
    params = [Value(1.0), Value(2.0), Value(3.0)]
    with pytest.raises(error, match=message):
        mg.set_data(params, array)
    assert [p.data for p in params] == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    "function", [mg.get_data, mg.get_grad, lambda ps: mg.set_data(ps, np.full(len(ps), 9.0))]
)
def test_what_is_not_a_value(function):
    a = Value(1.0)
    with pytest.raises(TypeError, match=r"params\[1\] must be a Value, not float"):
        function([a, 2.0])
    with pytest.raises(ValueError, match=r"params\[1\]: this Value has no node"):
        function([a, Value.__new__(Value)])
    assert a.data == 1.0


def test_numbers_whose_conversion_moves_the_parameters():
    """Converting runs code of the user's; the indices are read after it."""

    class Number:
        def __float__(self):
            rubbish.clear()
            tape.collect()
            return 5.0

    rubbish = [Value(0.0) for _ in range(100)]
    params = [Value(1.0), Value(2.0)]
    bystanders = [Value(7.0) for _ in range(200)]
    mg.set_data(params, [Number(), 6.0])
    assert [p.data for p in params] == [5.0, 6.0]
    assert {v.data for v in bystanders} == {7.0}
