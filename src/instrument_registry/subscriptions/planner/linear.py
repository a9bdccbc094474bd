"""A linear programme that is changed a little and solved again: HiGHS, one thread, the same answer every time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import highspy
import numpy as np
import numpy.typing as npt

from instrument_registry.subscriptions.planner.model import Floats, Ints

INFINITE = highspy.kHighsInf
SEED = 0


class Unsolved(RuntimeError):
    """The solver found no optimum: a bug in the programme, or it was stopped."""


@dataclass(slots=True)
class Terms:
    """The entries of the matrix, collected row by row."""

    rows: list[npt.NDArray[np.int64]]
    columns: list[npt.NDArray[np.int64]]
    values: list[npt.NDArray[np.float64]]
    lower: list[float]
    upper: list[float]

    @classmethod
    def none(cls) -> "Terms":
        """No row yet."""
        return cls([], [], [], [], [])

    def row(
        self, columns: npt.ArrayLike, *, lower: float = -INFINITE, upper: float = INFINITE, values: npt.ArrayLike = 1.0
    ) -> int:
        """Add a row over some columns; its number."""
        at = np.asarray(columns, dtype=np.int64)
        number = len(self.lower)
        self.rows.append(np.full(len(at), number, dtype=np.int64))
        self.columns.append(at)
        self.values.append(np.broadcast_to(np.asarray(values, dtype=np.float64), at.shape))
        self.lower.append(lower)
        self.upper.append(upper)
        return number


class Programme:
    """Maximise a sum under the rows."""

    def __init__(self, gains: npt.ArrayLike, terms: Terms, *, upper: npt.ArrayLike = INFINITE) -> None:
        gain = np.asarray(gains, dtype=np.float64)
        count = self._count = len(gain)
        model = highspy.HighsLp()
        model.num_col_, model.num_row_ = count, len(terms.lower)
        model.sense_ = highspy.ObjSense.kMaximize
        model.col_cost_ = gain
        model.col_lower_ = np.zeros(count)
        model.col_upper_ = np.broadcast_to(np.asarray(upper, dtype=np.float64), (count,)).copy()
        model.row_lower_, model.row_upper_ = np.array(terms.lower), np.array(terms.upper)
        rows, columns, values = _joined(terms.rows), _joined(terms.columns), _joined(terms.values)
        order = np.lexsort((rows, columns))
        matrix = model.a_matrix_
        matrix.format_ = highspy.MatrixFormat.kColwise
        matrix.num_col_, matrix.num_row_ = count, len(terms.lower)
        matrix.start_ = np.searchsorted(columns[order], np.arange(count + 1)).astype(np.int32)
        matrix.index_ = rows[order].astype(np.int32)
        matrix.value_ = values[order].astype(np.float64)
        self._solver: Any = highspy.Highs()  # type: ignore[no-untyped-call]
        for name, value in (("output_flag", False), ("threads", 1), ("random_seed", SEED), ("presolve", "off")):
            self._solver.setOptionValue(name, value)
        self._solver.passModel(model)

    def bound_rows(self, rows: Sequence[int] | Ints, *, lower: npt.ArrayLike, upper: npt.ArrayLike) -> None:
        """Change what rows may be."""
        at = np.asarray(rows, dtype=np.int32)
        shape = at.shape
        low, high = (np.broadcast_to(np.asarray(one, dtype=np.float64), shape).copy() for one in (lower, upper))
        self._solver.changeRowsBounds(len(at), at, low, high)

    def change_gains(self, columns: npt.ArrayLike, gains: npt.ArrayLike) -> None:
        """Change what columns bring."""
        at = np.asarray(columns, dtype=np.int32)
        self._solver.changeColsCost(len(at), at, np.broadcast_to(np.asarray(gains, float), at.shape).copy())

    def solve(self) -> tuple[float, Floats]:
        """The greatest sum, and the columns that make it; Raises: Unsolved."""
        if not self._count:
            return 0.0, np.zeros(0)
        self._solver.run()
        status = self._solver.getModelStatus()
        if status != highspy.HighsModelStatus.kOptimal:
            raise Unsolved(self._solver.modelStatusToString(status))
        return self._solver.getInfo().objective_function_value, np.asarray(self._solver.getSolution().col_value)

    def worth(self, rows: Sequence[int] | Ints) -> Floats:
        """What the sum of the last solution would gain at most from one more in each of some rows."""
        if not self._count:
            return np.zeros(len(rows))
        # Below nothing is what less than the lower bound would bring; nobody can have that.
        duals: Floats = np.maximum(np.asarray(self._solver.getSolution().row_dual, dtype=np.float64), 0.0)
        return duals[np.asarray(rows, dtype=np.int64)]


def _joined(parts: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    return np.concatenate(parts) if parts else np.zeros(0)
