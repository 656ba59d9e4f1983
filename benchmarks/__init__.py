"""Figures that README and docs quote; each is made again by `python -m benchmarks.NAME`."""
