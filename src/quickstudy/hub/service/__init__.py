"""Adaptation over HTTP: models that any client adapts to its own classes."""
