"""Trainers: networks on real data with jdrop's dropout; README.md is the map."""
