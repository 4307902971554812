"""One function per kind of figure, `(ax, values...) -> ax`; none of them computes a statistic."""
