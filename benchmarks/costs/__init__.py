"""The parts of `python -m benchmarks.speed`: one file, one idea.

- `contestants`, `torch_peer`: the dropouts that are compared.
- `timing`: the clock.
- `regimes`: the states of memory, and a process for each.
- `sections`: the process that measures. It runs `faults`, `operations` (over the
  arrays of `plan`), `calls`, `train_step`, `memory` with `peak`, `growth`, `scaling`
  and `inspection`.
- `program`, `counting`: what is read off compiled programs and counted exactly.
- `machine`: hardware and versions.
- `targets`: the verdicts.
- `report`: the page of Markdown, from `timed_tables`, `exact_tables` and `cells`.
- `figures`: what `python -m benchmarks.plots` draws, from `line_figures`,
  `bar_figures` and `palette`.
"""
