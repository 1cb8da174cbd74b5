"""YAML from users: plain data, bounded in size, depth and in what its aliases expand to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

LARGEST_FILE = 1_000_000  # bytes
MOST_VALUES = 200_000  # with every alias counted as often as it is used
MOST_ADDED = 1_000_000  # characters that aliases may add to those of the text
LONGEST_NUMBER = 400  # characters; reading some forms takes the square of their length
DEEPEST = 50


def read_yaml(file: Path | str) -> Any:
    """Content of a YAML file; an empty one is None.

    Raises:
        OSError: when it cannot be read.
        ValueError: saying what is wrong with it, in one sentence.
    """
    path = Path(file)
    if path.stat().st_size > LARGEST_FILE:
        raise ValueError(f"it has {path.stat().st_size:,} bytes, more than {LARGEST_FILE:,}")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start + 1} is not UTF-8") from None
    return parse_yaml(text)


def parse_yaml(text: str) -> Any:
    """Content of a YAML text, as ``yaml.safe_load`` but bounded; duplicate keys are errors.

    Raises:
        ValueError: saying what is wrong with it, in one sentence.
    """
    loader = None
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _size(node, {}, 0, len(text) + MOST_ADDED)
        return loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise ValueError(f"{line}{error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None
    except RecursionError:
        raise ValueError(f"it is nested deeper than {DEEPEST} levels") from None
    except (AttributeError, KeyError, IndexError, TypeError, OverflowError) as error:
        # What PyYAML lets through where a value does not fit its tag, as in `!!bool perhaps`.
        raise ValueError(f"a value does not fit its tag: {error!r}") from None
    finally:
        if loader is not None:
            loader.dispose()


def _size(
    node: yaml.Node, known: dict[int, tuple[int, int] | None], depth: int, most: int
) -> tuple[int, int]:
    """Values and characters a node expands to; nodes that aliases share count once for each.

    ``known`` has counts so far by the identity of nodes, None while a node is being counted.
    """
    if depth > DEEPEST:
        raise ValueError(f"it is nested deeper than {DEEPEST} levels")
    if id(node) in known:
        if (size := known[id(node)]) is None:
            raise ValueError(f"line {node.start_mark.line + 1}: the value holds itself")
        return size
    known[id(node)] = None
    values, characters, inner = 1, 0, []
    if isinstance(node, yaml.ScalarNode):
        _refuse_long_number(node)
        characters = len(node.value)
    elif isinstance(node, yaml.MappingNode):
        _refuse_duplicates(node)
        inner = [each for pair in node.value for each in pair]
    elif isinstance(node, yaml.SequenceNode):
        inner = node.value
    for each in inner:
        more, longer = _size(each, known, depth + 1, most)
        values, characters = values + more, characters + longer
        if values > MOST_VALUES:
            raise ValueError(f"its aliases expand to more than {MOST_VALUES:,} values")
        if characters > most:
            raise ValueError(f"its aliases expand to more than {most:,} characters")
    known[id(node)] = values, characters
    return values, characters


def _refuse_long_number(node: yaml.ScalarNode) -> None:
    if node.tag.endswith((":int", ":float")) and len(node.value) > LONGEST_NUMBER:
        raise ValueError(
            f"line {node.start_mark.line + 1}: a number of {len(node.value):,} characters, where "
            f"the limit is {LONGEST_NUMBER}; put text in quotes"
        )


def _refuse_duplicates(node: yaml.MappingNode) -> None:
    seen: set[str] = set()
    for key, _ in node.value:
        name = key.value if isinstance(key, yaml.ScalarNode) else "<<"
        if name != "<<" and name in seen:
            raise ValueError(f"line {key.start_mark.line + 1}: the key {name!r} is there twice")
        seen.add(name)
