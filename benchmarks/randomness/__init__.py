"""Statistical evidence for the bit stream: laws of its own, and public batteries.

`laws` turns packed masks into p-values, `evidence` applies it to masks of many keys at
several rates, `controls` breaks the draw on purpose to see the laws fail, and
`batteries` feeds masks to dieharder and TestU01. `python -m benchmarks.randomness` runs
them and writes the tables of `docs/statistics.md`.
"""
