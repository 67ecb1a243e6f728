"""The examples, run as a user runs them: in processes of their own, on either engine."""

import importlib.util
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import matplotlib.colors
import matplotlib.image
import numpy as np
import pytest

import micrograd_c

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
PACKAGE = Path(micrograd_c.__file__).resolve().parent
ENGINES = {"micrograd": [sys.executable], "micrograd_c": [sys.executable, "-m", "micrograd_c"]}

posix = pytest.mark.skipif(os.name != "posix", reason="signals and terminals as POSIX has them")


def environment(**changes):
    """The environment of a child: it finds the micrograd_c tested here, and no forced terminal."""
    env = {**os.environ, "COLUMNS": "100", **changes}
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        env.pop(name, None)
    paths = [changes.get("PYTHONPATH"), str(PACKAGE.parent), os.environ.get("PYTHONPATH")]
    return {**env, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def run(*command, cwd, env=None):
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=env or environment(),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )


def output(*command, cwd):
    finished = run(*command, cwd=cwd)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def assert_is_a_picture_of_two_classes(path):
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    red, _, blue = matplotlib.image.imread(path)[..., :3].reshape(-1, 3).T
    assert np.mean(red > blue + 0.1) > 0.1
    assert np.mean(blue > red + 0.1) > 0.1


# moons.py


def test_moons_takes_the_same_steps_on_both_engines(tmp_path):
    options = ["--json", "--no-plot", "--samples", 20, "--steps", 10]
    records = {}
    for engine, python in ENGINES.items():
        lines = output(*python, EXAMPLES / "moons.py", *options, cwd=tmp_path).splitlines()
        *records[engine], end = map(json.loads, lines)
        assert end["engine"] == engine
        assert [record["step"] for record in records[engine]] == list(range(1, 11))
        records[engine].append(end)
    for name in ("loss", "accuracy"):
        curves = [[record[name] for record in records[engine]] for engine in ENGINES]
        assert len(set(curves[0])) > 3
        assert curves[0] == pytest.approx(curves[1], rel=0, abs=1e-9)
    assert not list(tmp_path.iterdir())


def test_moons_learns_all_samples_and_draws_the_boundary(tmp_path):
    moons = [*ENGINES["micrograd_c"], EXAMPLES / "moons.py", "--output", "boundary.png"]
    lines = output(*moons, cwd=tmp_path).splitlines()
    assert lines[0] == "micrograd_c: 337 parameters, 100 samples"
    assert [line.split()[1] for line in lines[1:11]] == [f"{k}/100" for k in range(10, 101, 10)]
    assert re.fullmatch(r"[\d.]+ ms a step \(median of 100\)", lines[11])
    assert re.fullmatch(r"final loss 0\.0\d+, accuracy 100\.0%", lines[12])
    assert lines[13] == "decision boundary: boundary.png"
    assert_is_a_picture_of_two_classes(tmp_path / "boundary.png")


def test_moons_scores_a_picture_as_the_network_would():
    moons = load("moons")
    model = moons.MLP(2, [5, 4, 1])
    for k, p in enumerate(model.parameters()):
        p.data += 0.1 * np.sin(k)  # biases start at 0, which would hide one left out
    points = [[0.5, -1.5], [-2.0, 0.25], [3.0, 1.0], [0.0, 0.0]]
    assert moons.score_points(model, points) == pytest.approx([model(x).data for x in points])


def test_moons_refuses_before_training_what_it_could_not_draw_after(tmp_path):
    moons = [*ENGINES["micrograd_c"], EXAMPLES / "moons.py"]
    for options, problem in (
        (["--output", "missing/moons.png"], "no folder missing"),
        (["--samples", 1], "two samples"),
        (["--steps", 0], "invalid positive value"),
    ):
        finished = run(*moons, *options, cwd=tmp_path)
        assert finished.returncode == 2
        assert problem in finished.stderr
        assert finished.stdout == ""


@pytest.mark.parametrize("example", ["moons", "race", "lotka_volterra"])
def test_a_missing_extra_is_named(tmp_path, example):
    (tmp_path / "rich.py").write_text("raise ModuleNotFoundError('not there', name='rich')")
    env = environment(PYTHONPATH=str(tmp_path))
    finished = run(*ENGINES["micrograd_c"], EXAMPLES / f"{example}.py", cwd=tmp_path, env=env)
    assert finished.returncode == 1
    assert finished.stderr == (f"{example}.py needs rich: pip install 'micrograd_c[examples]'\n")


# gpt.py


def losses_and_names(text):
    losses = [float(loss) for loss in re.findall(r"^step .*loss ([\d.]+)$", text, re.MULTILINE)]
    return losses, text.partition("names made up:\n")[2].splitlines()


@pytest.mark.parametrize("names", [None, "input.txt", "--names"])
def test_gpt_learns_the_same_with_its_class_swapped(tmp_path, names):
    gpt = [EXAMPLES / "gpt.py", "--steps", 5, "--samples", 4]
    source, letters = "2000 names (made up from syllables)", 26
    if names:
        file = "input.txt" if names == "input.txt" else "others.txt"
        (tmp_path / file).write_text("anna\nhannah\n\n otto \n" + 20 * "ab" + "\n")
        source, letters = f"4 names ({file})", 6
        if names == "--names":
            (tmp_path / "input.txt").write_text("not\nthese\n")
            gpt += ["--names", file]
    plain = output(sys.executable, *gpt, cwd=tmp_path)
    swapped = run(sys.executable, "-m", "micrograd_c", "--swap", "Value", *gpt, cwd=tmp_path)
    assert swapped.returncode == 0, swapped.stderr
    assert "Value" in swapped.stderr

    parameters = 2 * 16 * (letters + 1) + 16 * 16 + 4 * 16 * 16 + 2 * 16 * 64
    for text in (plain, swapped.stdout):
        assert text.startswith(f"{source}, {letters} letters, {parameters} parameters\n")
    losses, made = losses_and_names(plain)
    assert len(losses) == 5
    assert len(set(losses)) == 5
    assert len(made) == 4
    swapped_losses, swapped_made = losses_and_names(swapped.stdout)
    assert swapped_losses == pytest.approx(losses, rel=0, abs=1e-9)
    assert swapped_made == made


def test_gpt_learns(tmp_path):
    gpt = [*ENGINES["micrograd_c"], "--swap", "Value", EXAMPLES / "gpt.py", "--steps", 200]
    first, *_, last = re.findall(r"loss.* (\d\.\d+)$", output(*gpt, cwd=tmp_path), re.MULTILINE)
    assert float(first) > 2.9
    assert (
        float(last) < 2.6
    )  # the mean of the last 100 names; guessing at random costs log 27 = 3.3


def test_gpt_has_4192_parameters_and_gradients_that_finite_differences_confirm():
    import random

    gpt = load("gpt")
    model = gpt.make_model(random.Random(1))
    assert len(gpt.parameters(model)) == 4192

    def loss():
        keys, values, losses = [], [], []
        for position, (token, target) in enumerate([(26, 4), (4, 12), (12, 26)]):
            probabilities = gpt.next_token(model, token, position, keys, values)
            losses.append(-probabilities[target].log())
        return sum(losses) / 3

    loss().backward()
    for name, matrix in model.items():
        p = matrix[4 if name == "token" else 1][3]
        gradient, start, step = p.grad, p.data, 1e-5
        p.data = start + step
        above = loss().data
        p.data = start - step
        below = loss().data
        p.data = start
        assert gradient != 0, name
        assert gradient == pytest.approx((above - below) / (2 * step), rel=1e-5, abs=1e-9), name


@pytest.mark.parametrize("text", [None, "\n \n", b"\xff\xfe\xff"])
def test_gpt_says_what_is_wrong_with_the_names(tmp_path, text):
    if text is not None:
        (tmp_path / "few.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    finished = run(sys.executable, EXAMPLES / "gpt.py", "--names", "few.txt", cwd=tmp_path)
    assert finished.returncode == 1
    assert finished.stderr.startswith("gpt.py: ")
    assert "few.txt" in finished.stderr
    assert "Traceback" not in finished.stderr


# pricing.py

ROW = re.compile(r"^(\w+) +([-\d.]+) +([-\d.]+) ± +([\d.]+) +([-\d.]+)$", re.MULTILINE)


def test_pricing_agrees_with_the_formula_and_with_finite_differences(tmp_path):
    text = output(
        sys.executable, EXAMPLES / "pricing.py", "--paths", 20_000, "--steps", 20, cwd=tmp_path
    )
    assert text.startswith("20000 paths of 20 steps\n")
    assert [line.split()[1] for line in text.splitlines()[1:6]] == [
        f"{k}/50" for k in range(10, 51, 10)
    ]
    price, error, exact = map(
        float, re.search(r"price ([\d.]+) ± ([\d.]+), by Heston's formula ([\d.]+)", text).groups()
    )
    assert price == pytest.approx(exact, abs=4 * error)
    pricing = load("pricing")
    rows = ROW.findall(text)
    assert [(name, float(x)) for name, x, *_ in rows] == list(pricing.PARAMETERS.items())
    for name, _, greek, error, difference in rows:
        assert float(greek) == pytest.approx(float(difference), rel=1e-3, abs=1e-3), name
        assert float(error) > 0, name
    # Spot and strike in another currency: the price is homogeneous in them.
    greeks = {name: float(greek) for name, _, greek, *_ in rows}
    assert 100 * (greeks["spot"] + greeks["strike"]) == pytest.approx(price, abs=2e-3)


def test_pricing_takes_other_numbers_for_another_seed(tmp_path):
    options = ["--paths", 100, "--steps", 2, "--seed"]
    first, again, other = (
        output(sys.executable, EXAMPLES / "pricing.py", *options, seed, cwd=tmp_path)
        for seed in (1, 1, 2)
    )
    assert ROW.findall(first) == ROW.findall(again) != ROW.findall(other)


def test_heston_formula():
    """Against a published price, and Black and Scholes's where the variance stands still."""
    price = load("pricing").heston_price
    market = {"spot": 100, "strike": 100, "rate": 0.0319, "maturity": 1, "variance": 0.010201}
    noise = {"reversion": 6.21, "level": 0.019, "vol_of_vol": 0.61, "correlation": -0.7}
    assert price(**market, **noise) == pytest.approx(6.8061, abs=5e-5)  # Broadie and Kaya, 2006

    def normal(x):
        return (1 + math.erf(x / math.sqrt(2))) / 2

    noise |= {"level": market["variance"], "vol_of_vol": 1e-3, "correlation": 0}
    market["strike"] = 110
    deviation = math.sqrt(market["variance"])
    d = (math.log(100 / 110) + market["rate"]) / deviation + deviation / 2
    black_scholes = 100 * normal(d) - 110 * math.exp(-market["rate"]) * normal(d - deviation)
    assert price(**market, **noise) == pytest.approx(black_scholes, abs=1e-4)


def test_pricing_wants_whole_batches(tmp_path):
    finished = run(sys.executable, EXAMPLES / "pricing.py", "--paths", 120, cwd=tmp_path)
    assert finished.returncode == 2
    assert "must be a multiple" in finished.stderr
    assert finished.stdout == ""


@posix
def test_pricing_shows_lines_where_rich_is_missing(tmp_path):
    (tmp_path / "rich.py").write_text("raise ModuleNotFoundError('not there', name='rich')")
    command = [EXAMPLES / "pricing.py", "--paths", 100, "--steps", 2]
    text = terminal_output(command, tmp_path, PYTHONPATH=str(tmp_path))
    assert "\nbatch 10/50  price " in text.replace("\r\n", "\n")
    assert len(ROW.findall(text.replace("\r\n", "\n"))) == 9


# lotka_volterra.py

FITTED = re.compile(r"^ +(\w+) +([\d.]+) +([\d.]+) +([\d.]+)   \w", re.MULTILINE)
SEARCHED = re.compile(r"^ +([\w-]+) +[a-zA-Z, ]+ (\d+) +(\d+) +([\d.]+) +\d+ ms", re.MULTILINE)


def scipys_fit(furs, start):
    """SciPy's own: an adaptive method of order 8 for the equations, and finite differences.

    Returns the logarithms of the parameters and half the sum of squares.
    """
    from scipy.integrate import solve_ivp
    from scipy.optimize import least_squares

    def change(_time, populations, births, hunting, deaths, feeding):
        hares, lynxes = populations
        return births * hares - hunting * hares * lynxes, feeding * hares * lynxes - deaths * lynxes

    def residuals(logarithms):
        *rates, hares, lynxes = np.exp(logarithms)
        options = {"method": "DOP853", "rtol": 1e-11, "atol": 1e-11, "args": rates}
        solved = solve_ivp(change, (0, 20), (hares, lynxes), t_eval=range(21), **options)
        return np.log(solved.y.T / furs).ravel()

    tight = dict.fromkeys(("xtol", "ftol", "gtol"), 1e-12)
    found = least_squares(residuals, np.log(start), jac="3-point", **tight)
    return found.x, found.cost


def test_lotka_volterra_finds_what_scipy_finds(tmp_path):
    command = [sys.executable, EXAMPLES / "lotka_volterra.py", "--output", "fit.png"]
    text = output(*command, cwd=tmp_path)
    lotka = load("lotka_volterra")
    rows = FITTED.findall(text)
    starts = [start for start, _ in lotka.PARAMETERS.values()]
    assert [(name, float(x)) for name, x, *_ in rows] == list(zip(lotka.PARAMETERS, starts))
    logarithms, cost = scipys_fit(lotka.PELTS, starts)
    assert [float(x) for _, _, x, _ in rows] == pytest.approx(np.exp(logarithms), rel=2e-5)

    searches = {name: numbers for name, *numbers in SEARCHED.findall(text)}
    assert list(searches) == ["trust-exact", "least_squares", "BFGS"]
    assert [float(misfit) for *_, misfit in searches.values()] == pytest.approx(
        3 * [cost], abs=2e-6
    )
    assert all(0 < int(iterations) <= int(calls) for iterations, calls, _ in searches.values())
    assert text.endswith("picture: fit.png\n")
    assert_is_a_picture_of_the_fit(tmp_path / "fit.png")


def assert_is_a_picture_of_the_fit(path):
    """A curve in each population's colour, and around it a band of a lighter shade."""
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    pixels = matplotlib.image.imread(path)[..., :3].reshape(-1, 3)
    for colour in load("lotka_volterra").COLOURS.values():
        solid = np.array(matplotlib.colors.to_rgb(colour))
        for shade, least in ((solid, 0.002), (1 - 0.18 * (1 - solid), 0.01)):
            assert np.mean(np.abs(pixels - shade).max(axis=1) < 0.02) > least


def complex_steps(function, x):
    """Its derivatives by x, one a column: exact, as nothing is subtracted."""
    bumps = 1e-30j * np.eye(len(x))
    return np.stack([np.asarray(function(x + bump)).imag / 1e-30 for bump in bumps], axis=-1)


def test_lotka_volterras_derivatives():
    lotka, steps = load("lotka_volterra"), 3
    x = lotka.START + 0.1 * np.cos(range(len(lotka.START)))

    def gradient(x):
        return complex_steps(lambda x: lotka.misfit(x, steps), x)

    def check(ours, exact, **tolerance):
        assert ours.shape == exact.shape
        assert ours == pytest.approx(exact, **tolerance)

    check(lotka.gradient(x, steps), gradient(x), rel=1e-11)
    for ours, function in (
        (lotka.jacobian, lotka.residuals),
        (lotka.slopes, lotka.log_populations),
    ):
        exact = complex_steps(lambda x: function(x, steps), x)  # noqa: B023
        check(ours(x, steps), exact, rel=1e-11, abs=1e-11)
    bumps = 1e-5 * np.eye(len(x))
    second = np.array([gradient(x + bump) - gradient(x - bump) for bump in bumps]) / 2e-5
    check(lotka.hessian(x, steps), second, rel=1e-6, abs=1e-6 * np.abs(second).max())


def test_lotka_volterras_standard_errors():
    """As far as the misfit is a parabola, it grows by half the noise's variance one error away."""
    lotka, steps = load("lotka_volterra"), 5
    best = lotka.newton(steps).x
    least = lotka.misfit(best, steps)
    variance = 2 * least / (lotka.PELTS.size - len(best))
    values, vectors = np.linalg.eigh(lotka.covariance(best, steps))
    for value, vector in zip(values, vectors.T):
        away = np.sqrt(value) * vector / 100
        risen = lotka.misfit(best + away, steps) + lotka.misfit(best - away, steps) - 2 * least
        assert risen == pytest.approx(variance / 100**2, rel=1e-3)


def test_lotka_volterra_refuses_what_it_could_not_draw(tmp_path):
    command = [sys.executable, EXAMPLES / "lotka_volterra.py"]
    for options, problem in (
        (["--output", "missing/fit.png"], "no folder missing"),
        (["--steps", 0], "invalid positive value"),
    ):
        finished = run(*command, *options, cwd=tmp_path)
        assert finished.returncode == 2
        assert problem in finished.stderr
        assert finished.stdout == ""


# race.py


def test_race_compares_the_engines(tmp_path):
    race = [sys.executable, EXAMPLES / "race.py", "--steps", 2, "--output", "race.png"]
    text = output(*race, cwd=tmp_path)
    for engine in ENGINES:
        for k in (1, 2):
            assert re.search(rf"^{engine} +step +{k}/2  loss", text, re.MULTILINE)
        assert re.search(rf" {engine} .* [\d,.]+ ms .* 0\.\d+ .* \d+\.\d%", text)
    assert int(re.search(r"micrograd_c is ([\d,]+) times faster", text)[1].replace(",", "")) > 10
    difference = re.search(r"the losses (are the same to the last bit|differ by (.*))\.\n", text)
    assert float(difference[2] or 0) < 1e-9
    assert f"Decision boundary: {tmp_path / 'race.png'}" in text
    assert_is_a_picture_of_two_classes(tmp_path / "race.png")


def test_race_passes_on_why_an_engine_failed(tmp_path):
    (tmp_path / "micrograd").mkdir()
    (tmp_path / "micrograd/__init__.py").write_text("raise RuntimeError('out of order')")
    race = [sys.executable, EXAMPLES / "race.py", "--steps", 100]
    finished = run(*race, cwd=tmp_path, env=environment(PYTHONPATH=str(tmp_path)))
    assert finished.returncode == 1
    assert finished.stderr.startswith("moons.py on micrograd failed:\n")
    assert "RuntimeError: out of order" in finished.stderr


# All of them


@posix
@pytest.mark.parametrize("example", ["moons", "gpt", "pricing", "race"])
def test_an_interrupt_ends_it_and_all_it_started(tmp_path, example):
    process = subprocess.Popen(
        [sys.executable, str(EXAMPLES / f"{example}.py"), "--steps", "100"],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 130
        assert errors.strip().startswith("Stopped")
        until = time.monotonic() + 20  # a killed process takes a moment to be gone
        with pytest.raises(ProcessLookupError):
            while time.monotonic() < until:
                os.killpg(process.pid, 0)
                time.sleep(0.05)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


@posix
@pytest.mark.parametrize(
    ("command", "shown"),
    [
        (["-m", "micrograd_c", EXAMPLES / "moons.py"], ["\u2501", "2/2"]),
        ([EXAMPLES / "gpt.py"], ["\rstep 1/2  loss ", "\rstep 2/2  loss "]),
        ([EXAMPLES / "pricing.py", "--paths", "1000"], ["\u2501", "50/50", "price 9."]),
        ([EXAMPLES / "race.py"], ["\u2501", "0/2", "starting", "2/2"]),
    ],
    ids=["moons", "gpt", "pricing", "race"],
)
def test_progress_is_live_on_a_terminal(tmp_path, command, shown):
    text = terminal_output([*command, "--steps", 2], tmp_path)
    for piece in shown:
        assert piece in text


def terminal_output(command, folder, **changes):
    """What Python prints on a terminal, with a few changes to its environment."""
    import pty

    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, *map(str, command)],
        cwd=folder,
        env=environment(TERM="xterm", **changes),
        stdout=terminal,
        stderr=terminal,
    )
    os.close(terminal)
    text = b""
    try:
        while True:
            try:
                part = os.read(controller, 4096)
            except OSError:  # Linux: the other side is closed
                break
            if not part:  # macOS says it so
                break
            text += part
        assert process.wait(timeout=60) == 0, text.decode()
    finally:
        os.close(controller)
        if process.poll() is None:
            process.kill()
    return text.decode()
