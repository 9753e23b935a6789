"""Embedded services and development exporters for running without containers."""
