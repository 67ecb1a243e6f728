"""The command line of the fuzzer: see `make fuzz`."""

import argparse
import sys

from .driver import KINDS, failure_apart, fuzz, kind_of, made, report


def main() -> int:
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="how long, in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=KINDS, action="append", help="this kind (or these) alone")
    parser.add_argument("--case", help="run one case again, as it was printed: sessions-17")
    given = parser.parse_args()
    if not given.case:
        return fuzz(given.seconds, given.seed, given.kind or KINDS)
    name, _, k = given.case.rpartition("-")
    if name not in KINDS or not k.isdigit():
        parser.error(f"--case: {given.case!r} is not one of {', '.join(KINDS)}, '-' and a number")
    text = failure_apart(kind_of(name), made(kind_of(name), given.seed, int(k)))
    if text:
        report(name, given.seed, int(k), text)
        return 1
    print(f"{given.case} of seed {given.seed} passes")
    return 0


sys.exit(main())
