"""YAML as values that know where they stood.

YAML 1.2's core schema: ``no`` and ``2026-01-01`` are text, ``true`` and ``1`` are what they look like.
Anchors and merge keys (``<<``) work; tags, NaN, duplicate keys, cycles and bombs are faults.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

import yaml

from mesh_store.admin.manifest.faults import Fault, ManifestError, Path

#: Nesting, and values after anchors were followed, above which no honest file is.
MAX_DEPTH = 64
MAX_VALUES = 1_000_000

_TAG = "tag:yaml.org,2002:"
NULL = re.compile(r"^(?:~|null|Null|NULL|)$")
BOOL = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")
INT = re.compile(r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$")
FLOAT = re.compile(
    r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
)
MERGE = re.compile(r"^<<$")

_BASE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's is ten times as fast


class _Loader(_BASE):  # type: ignore[misc]
    """Parses, and tells plain scalars apart by the core schema instead of YAML 1.1's."""

    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012


for _name, _pattern in (("null", NULL), ("bool", BOOL), ("int", INT), ("float", FLOAT), ("merge", MERGE)):
    _Loader.add_implicit_resolver(_TAG + _name, _pattern, None)


@dataclass(frozen=True, slots=True)
class Document:
    """A file's content.

    Attributes:
        file: what it is called in messages.
        value: plain dicts, lists, text, numbers, booleans and None.
    """

    file: str
    value: Any
    root: Any

    def fault(self, path: Path, message: str, *, at_key: bool = False) -> Fault:
        """Return a fault at a place; what the path has beyond the document is passed over."""
        mark = self._mark(path, at_key=at_key)
        return Fault(self.file, mark.line + 1, mark.column + 1, ".".join(map(str, path)), message)

    def line(self, path: Path) -> int:
        """Return the line a place begins on."""
        return int(self._mark(path, at_key=True).line) + 1

    def _mark(self, path: Path, *, at_key: bool) -> Any:
        node, mark = self.root, self.root.start_mark
        for part in path:
            for key, child in _children(node):
                if key == part:
                    node, mark = child, (_key_mark(node, part) if at_key else child.start_mark)
                    break
        return mark


def read(text: str, file: str) -> Document:
    """Read one YAML document.

    Raises:
        ManifestError: it is not YAML, or not YAML as this module takes it.
    """
    try:
        root = yaml.compose(text, _Loader)
    except yaml.YAMLError as error:
        raise ManifestError([_syntax(file, text, error)]) from None
    if root is None:
        raise ManifestError([Fault(file, 1, 1, "", "the file is empty; a manifest begins with 'version: 1'")])
    return Document(file, _Values(file).of(root, ()), root)


class _Values:
    """Makes values of nodes."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._made = 0
        self._open: set[int] = set()

    def of(self, node: Any, path: Path) -> Any:
        """Return the value of a node and all below it."""
        self._made += 1
        if self._made > MAX_VALUES:
            self._refuse(node, path, f"the anchors unfold to more than {MAX_VALUES} values")
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if id(node) in self._open:
            self._refuse(node, path, "this anchor contains itself")
        if len(self._open) >= MAX_DEPTH:
            self._refuse(node, path, f"it is nested deeper than {MAX_DEPTH} levels")
        kind = "map" if isinstance(node, yaml.MappingNode) else "seq"
        if node.tag != _TAG + kind:
            self._refuse(node, path, f"tags such as {node.tag!r} are not taken")
        self._open.add(id(node))
        try:
            if kind == "map":
                return self._mapping(node, path)
            return [self.of(child, (*path, index)) for index, child in enumerate(node.value)]
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: Any, path: Path) -> dict[str, Any]:
        value: dict[str, Any] = {}
        lines: dict[str, int] = {}
        merged: dict[str, Any] = {}
        for key_node, child in node.value:
            if key_node.tag == _TAG + "merge":
                merged = self._merged(child, path) | merged
                continue
            key = self.of(key_node, path)
            if not isinstance(key, str):
                self._refuse(key_node, path, "a key must be text; put it in quotes")
            if key in lines:
                self._refuse(key_node, (*path, key), f"this key is there already, on line {lines[key]}")
            lines[key] = key_node.start_mark.line + 1
            value[key] = self.of(child, (*path, key))
        return merged | value if merged else value

    def _merged(self, node: Any, path: Path) -> dict[str, Any]:
        found = self.of(node, path)
        parts = found if isinstance(found, list) else [found]
        if not all(isinstance(part, dict) for part in parts):
            self._refuse(node, path, "'<<' takes a mapping, or a list of them")
        merged: dict[str, Any] = {}
        for part in reversed(parts):  # the first one wins
            merged |= part
        return merged

    def _scalar(self, node: Any, path: Path) -> Any:
        text: str = node.value
        match node.tag.removeprefix(_TAG):
            case "str" | "merge":
                return text
            case "null":
                return None
            case "bool":
                return text.lower() == "true"
            case "int" if len(text) <= 40:
                return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
            case "float":
                return self._number(node, path)
            case "int":
                self._refuse(node, path, f"a number of {len(text)} digits is too large")
        return self._refuse(node, path, f"tags such as {node.tag!r} are not taken")

    def _number(self, node: Any, path: Path) -> float:
        text = node.value.lower()
        number = float(text.replace(".inf", "inf").replace(".nan", "nan"))
        if number - number != 0:
            self._refuse(node, path, f"{node.value} is not a number that can be used")
        return number

    def _refuse(self, node: Any, path: Path, message: str) -> NoReturn:
        mark = node.start_mark
        field = ".".join(map(str, path))
        raise ManifestError([Fault(self._file, mark.line + 1, mark.column + 1, field, message)])


def _children(node: Any) -> Iterator[tuple[str | int, Any]]:
    if isinstance(node, yaml.MappingNode):
        for key, child in node.value:
            yield key.value, child
    elif isinstance(node, yaml.SequenceNode):
        yield from enumerate(node.value)


def _key_mark(node: Any, name: str | int) -> Any:
    if isinstance(node, yaml.MappingNode):
        return next(key.start_mark for key, _ in node.value if key.value == name)
    return node.value[name].start_mark


def _syntax(file: str, text: str, error: Any) -> Fault:
    mark = getattr(error, "problem_mark", None)
    if mark is not None:
        what = "there is a second document" if "another document" in str(error.problem) else error.problem
        return Fault(file, mark.line + 1, mark.column + 1, "", f"this is not YAML: {what}")
    before = text[: getattr(error, "position", 0)]
    said = f"this is not YAML: {getattr(error, 'reason', None) or 'it cannot be read'}"
    return Fault(file, before.count("\n") + 1, len(before) - before.rfind("\n"), "", said)
