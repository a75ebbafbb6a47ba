"""The small changes that are made to a module, one at a time, on its syntax tree.

Docstrings, annotations, decorators and texts are left alone, and assertions, since those narrow types. This module
imports the standard library alone, since `site/sitecustomize.py` loads it in every process of a run.
"""

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass

_COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
_SKIPPED_FIELDS = {"annotation", "returns", "decorator_list", "type_params"}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change.

    Attributes:
        number: the place of the change in the order of `list_mutants`.
        line: of the original source, from 1.
        scope: the function or class around it, with dots; "" at the top of the module.
        text: the change: "a < b  ->  a <= b".
    """

    number: int
    line: int
    scope: str
    text: str


@dataclass(frozen=True, slots=True)
class _Change:
    """Puts `new` where `getattr(parent, field)`, or the item `index` of it, was."""

    parent: ast.AST
    field: str
    index: int | None
    new: ast.AST
    scope: str
    line: int
    text: str


def list_mutants(source: str) -> list[Mutant]:
    """Returns all changes of a module, in the order of its syntax tree."""
    changes = _changes(ast.parse(source), "")
    return [Mutant(number, change.line, change.scope, change.text) for number, change in enumerate(changes)]


def mutate(source: str, number: int) -> ast.Module:
    """Returns the syntax tree of a module with one change.

    Raises:
        IndexError: there is no change of this number.
    """
    tree = ast.parse(source)
    change = list(_changes(tree, ""))[number]
    if change.index is None:
        setattr(change.parent, change.field, change.new)
    else:
        getattr(change.parent, change.field)[change.index] = change.new
    return ast.fix_missing_locations(tree)


def _changes(node: ast.AST, scope: str) -> Iterator[_Change]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        scope = f"{scope}.{node.name}".lstrip(".")
    for field, value in ast.iter_fields(node):
        if field in _SKIPPED_FIELDS:
            continue
        for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if not isinstance(child, ast.AST) or isinstance(child, ast.Assert) or _is_docstring(child):
                continue
            for new in _variants(child):
                text = f"{_show(child)}  ->  {_show(new)}"
                yield _Change(node, field, index, new, scope, getattr(child, "lineno", 0), text)
            if not isinstance(child, ast.JoinedStr):
                yield from _changes(child, scope)


def _variants(node: ast.AST) -> Iterator[ast.AST]:
    """Yields what may take the place of a node."""
    match node:
        case ast.Compare(ops=[operator]):
            for other in _COMPARISONS[type(operator)]:
                yield _with(node, ops=[other()])
        case ast.BoolOp(op=operator):
            yield _with(node, op=ast.Or() if isinstance(operator, ast.And) else ast.And())
        case ast.UnaryOp(op=ast.Not()):
            yield node.operand
        case ast.BinOp(op=operator) if type(operator) in _ARITHMETIC:
            yield _with(node, op=_ARITHMETIC[type(operator)]())
        case ast.Constant(value=bool()):
            yield ast.Constant(not node.value)
        case ast.Constant(value=int() | float()):
            yield ast.Constant(node.value + 1)
            if isinstance(node.value, int) and node.value > 1:
                yield ast.Constant(node.value - 1)
        case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test):
            if not isinstance(test, ast.Compare | ast.BoolOp | ast.UnaryOp | ast.Constant):
                yield _with(node, test=ast.UnaryOp(ast.Not(), test))
        case ast.Return(value=value) if value is not None and not _is_none(value):
            yield ast.Return(ast.Constant(None))
        case ast.Expr(value=ast.Call() | ast.Await()) | ast.AugAssign() | ast.Raise() | ast.Delete():
            yield ast.Pass()
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield ast.Pass()
        case ast.Break():
            yield ast.Continue()
        case ast.Continue():
            yield ast.Break()


def _with(node: ast.AST, **changes: object) -> ast.AST:
    changed = copy.copy(node)
    for name, value in changes.items():
        setattr(changed, name, value)
    return changed


def _is_none(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _show(node: ast.AST) -> str:
    if isinstance(node, ast.If | ast.While):
        return f"{type(node).__name__.lower()} {ast.unparse(node.test)}"
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 100 else text[:97] + "..."
