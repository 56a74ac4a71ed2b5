"""A figure, its bar, and the table of them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One measured value. ``bar`` is what it shall reach, as text such as "<= 1.10", or "" for none."""

    what: str
    value: float
    unit: str
    bar: str = ""

    def reached(self) -> str:
        """Return "yes" or "NO" where there is a bar, else nothing."""
        if not self.bar:
            return ""
        sign, limit = self.bar.split()
        good = self.value <= float(limit) if sign == "<=" else self.value >= float(limit)
        return "yes" if good else "NO"


def table(figures: list[Figure]) -> str:
    """Return the figures as a table for people."""
    width = max(len(figure.what) for figure in figures)
    lines = [f"{'what':{width}}  {'measured':>10}  {'unit':14} {'bar':>9}  reached"]
    for figure in figures:
        value = f"{figure.value:,.2f}" if figure.value < 100 else f"{figure.value:,.0f}"
        lines.append(
            f"{figure.what:{width}}  {value:>10}  {figure.unit:14} {figure.bar:>9}  {figure.reached()}"
        )
    return "\n".join(lines)
