"""Statistical evidence for the bit stream: a public battery, and laws of its own.

`layouts` turns masks into a stream of raw bits, on which `battery` runs dieharder.
`packed` counts in packed masks, `laws` turns counts into p-values, `evidence` applies
the laws to masks at several rates, and `controls` breaks the generator on purpose, to
see the laws fail. `report` writes `docs/statistics.md`.
"""
