"""What holds for every command: help, exit codes, where errors go."""

from dataclasses import dataclass

import pytest
import typer
from typer.testing import CliRunner

from mesh_plugins import hookimpl
from mesh_plugins.cli.app import ROOMS, build
from mesh_store.model.errors import ConfigError, Rejected

runner = CliRunner()


def commands(app: typer.Typer) -> list[list[str]]:
    """Every command there is, as the words to reach it."""
    found = []

    def walk(command, words):
        children = getattr(command, "commands", None)
        if children is None:
            found.append(words)
            return
        for name, child in children.items():
            walk(child, [*words, name])

    walk(typer.main.get_command(app), [])
    return found


COMMANDS = commands(build())


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_says_what_it_does(words):
    result = runner.invoke(build(words[0]), [*words, "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.stdout


@pytest.mark.parametrize("words", [words for words in COMMANDS if words[-1] == "list"], ids=" ".join)
def test_every_listing_takes_json(words):
    assert "--json" in runner.invoke(build(words[0]), [*words, "--help"], env={"COLUMNS": "120"}).stdout


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_is_found_by_each_of_its_commands_and_brings_no_other(room):
    alone = {words[0] for words in commands(build(ROOMS[room][0]))}
    assert alone == set(ROOMS[room])


def test_a_word_that_is_no_command_is_looked_for_in_every_room():
    everything = {words[0] for words in COMMANDS}
    assert everything == {word for words in ROOMS.values() for word in words}
    assert {words[0] for words in commands(build("teams"))} == everything
    assert "team" in runner.invoke(build("teams"), ["teams"]).stderr


@pytest.mark.parametrize("words", [["bogus"], ["status", "--bogus"], ["team"], ["chat"]], ids=" ".join)
def test_wrong_usage_ends_with_2_and_says_so_on_stderr(words):
    result = runner.invoke(build(), words)
    assert result.exit_code == 2


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ConfigError("two\nlines"), "mesh: two lines"),
        (Rejected("team: name: it is empty", field="name"), "mesh: team: name: it is empty"),
    ],
)
def test_a_refusal_is_one_line_on_stderr_and_ends_with_1(error, line):
    app = build()

    @app.command()
    def refuse() -> None:
        raise error

    result = runner.invoke(app, ["refuse"])
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr == line + "\n"


def test_what_is_not_installed_is_named_with_the_extra_it_comes_with():
    app = build()

    @app.command()
    def need(name: str) -> None:
        raise ModuleNotFoundError(name=name)

    result = runner.invoke(app, ["need", "sqlalchemy"])
    assert result.exit_code == 1
    assert result.stderr == "mesh: this needs sqlalchemy: pip install 'mesh-plugins[postgres]'\n"
    assert isinstance(runner.invoke(app, ["need", "our_own_bug"]).exception, ModuleNotFoundError)


def test_a_plugin_that_is_named_but_not_installed_is_said_and_takes_no_command_away(monkeypatch):
    monkeypatch.setenv("MESH_PLUGINS", "not-there")
    result = runner.invoke(build(), ["status", "--help"])
    assert result.exit_code == 0


class Greeting:
    """A plugin as somebody else writes it."""

    @hookimpl
    def mesh_cli(self, app: typer.Typer) -> None:
        @app.command()
        def greet() -> None:
            """Say hello."""
            typer.echo("hello from a plugin")


@dataclass
class Point:
    """An entry point that loads a given object."""

    plugin: object

    def load(self) -> object:
        return self.plugin


def test_a_plugin_adds_commands_of_its_own(monkeypatch):
    monkeypatch.setattr("mesh_plugins.manager.discovered", lambda: {"greeting": Point(Greeting())})
    monkeypatch.setenv("MESH_PLUGINS", "greeting")
    assert runner.invoke(build("greet"), ["greet"]).stdout == "hello from a plugin\n"
    assert {words[0] for words in commands(build("team"))} > {"greet", "status"}, "it may add to any command"
    monkeypatch.delenv("MESH_PLUGINS")
    assert runner.invoke(build(), ["greet"]).exit_code == 2, "only plugins that are named are loaded"
