"""Trainers: real networks on real data with jdrop's dropout.

`python -m examples.train --help` is the way in. One file, one idea:

- `train`: the command line and the order of events.
- `data`, `tfds_data`: images and labels, from scikit-learn and tensorflow-datasets.
- `architecture`: what the networks are made of.
- `models_linen`, `models_nnx`: the same networks in Flax's two module systems.
- `loop`: the training step, an epoch as one scan, evaluation.
- `record`: the files of a run.
- `report`: the table of layers, the progress bar, the summary.
"""
