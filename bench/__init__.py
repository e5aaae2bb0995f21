"""Measurements of Fundwatch, each beside a named peer where there is one; figures lie in `results/`."""
