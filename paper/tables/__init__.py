"""The paper's tables: one file each with `compute(features, seed) -> Data` and `CAPTION`.

The data holds `columns` (names) and `rows` (cells): text, numbers, or None where there is nothing.  Numbers are printed by
`cell`; none is typed.
"""
