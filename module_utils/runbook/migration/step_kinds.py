"""What a statement asks of the runner: found from its parse tree, nothing to mark in the file."""

from __future__ import annotations

from typing import Any, Literal

from pglast import ast, enums

#: How a step runs. ``transaction``: under lock_timeout, with its journal row. ``concurrently``: outside a
#: transaction. ``validate``: in a transaction, under a wall-clock limit. ``backfill``: in committed batches.
Kind = Literal["transaction", "concurrently", "validate", "backfill"]


def kind_of(node: Any, backfill_function: str | None) -> Kind:
    """Return the kind of step that a statement needs."""
    if runs_outside_transactions(node):
        return "concurrently"
    if isinstance(node, ast.AlterTableStmt) and all(_validates(command) for command in node.cmds or ()):
        return "validate"
    if backfill_function and called_function(node) == backfill_function:
        return "backfill"
    return "transaction"


def runs_outside_transactions(node: Any) -> bool:
    """Whether the server refuses the statement inside a transaction block."""
    if isinstance(node, (ast.IndexStmt, ast.DropStmt)):
        return bool(node.concurrent)
    if isinstance(node, ast.ReindexStmt):
        return any(option.defname == "concurrently" for option in node.params or ())
    return isinstance(node, ast.VacuumStmt) and bool(node.is_vacuumcmd)


def called_function(node: Any) -> str | None:
    """Return ``schema.function`` where the statement is nothing but ``SELECT schema.function(NULL, NULL)``."""
    if not isinstance(node, ast.SelectStmt) or len(node.targetList or ()) != 1 or node.fromClause or node.whereClause:
        return None
    call = _only(node.targetList).val
    if not isinstance(call, ast.FuncCall) or len(call.args or ()) != 2:
        return None
    if not all(isinstance(argument, ast.A_Const) and argument.isnull for argument in call.args or ()):
        return None
    return ".".join(part.sval for part in call.funcname or ())


def refused_statement(node: Any) -> str | None:
    """Return why a statement may not stand in a file, or None."""
    if isinstance(node, ast.TransactionStmt):
        word = enums.TransactionStmtKind(int(node.kind or 0)).name.removeprefix("TRANS_STMT_").replace("_", " ")
        return f"{word} in a file: each step is a transaction of its own, made by the runner"
    if isinstance(node, ast.LockStmt):
        return "LOCK TABLE in a file: write `-- lock: schema.table MODE` under the step's mark, the runner locks it"
    if isinstance(node, ast.IndexStmt) and node.concurrent and not (node.idxname and _schema(node.relation)):
        return "CREATE INDEX CONCURRENTLY needs the index's name and the table's schema: a resume looks for it by them"
    return None


def _validates(command: Any) -> bool:
    return bool(command.subtype == enums.AlterTableType.AT_ValidateConstraint)


def _only(nodes: Any) -> Any:
    return nodes[0]


def _schema(relation: Any) -> Any:
    return relation.schemaname
