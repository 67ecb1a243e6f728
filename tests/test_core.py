"""What `--core` leaves out is there, and so is tested by whoever does not ask for it."""

from pathlib import Path

from conftest import ALL, CORE


def test_what_is_left_out_exists():
    for core in CORE.values():
        for name, tests in core.items():
            source = Path(__file__).with_name(name).read_text()
            for test in tests.split():
                assert test == ALL or f"\ndef {test.partition('[')[0]}(" in source, (name, test)
