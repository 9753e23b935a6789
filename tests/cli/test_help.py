"""What ``--help`` says: of every command, with an example that is understood."""

import argparse
import shlex
from collections.abc import Iterator

import pytest

from billing_etl.cli.arguments import build_parser, parse_arguments
from billing_etl.cli.examples import EXAMPLES


def leaves(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    groups = [each for each in parser._actions if isinstance(each, argparse._SubParsersAction)]
    if not groups:
        yield parser
    for group in groups:
        for each in group.choices.values():
            yield from leaves(each)


LEAVES = {leaf.prog.partition(" ")[2]: leaf for leaf in leaves(build_parser())}


def test_every_command_has_an_example_and_no_other() -> None:
    assert set(LEAVES) == set(EXAMPLES)


@pytest.mark.parametrize("name", LEAVES)
def test_the_help_of_a_command_ends_with_an_example_that_is_understood(name: str) -> None:
    leaf = LEAVES[name]
    shown = leaf.format_help().rstrip().rpartition("\n")[2]
    words = shlex.split(shown.removeprefix("example: "))

    assert words[: 1 + len(name.split())] == ["billing-etl", *name.split()]
    assert parse_arguments(words[1:]).run is leaf.get_default("run")


@pytest.mark.parametrize("name", LEAVES)
def test_every_option_says_what_it_is(name: str) -> None:
    assert [action.dest for action in LEAVES[name]._actions if not action.help] == []
