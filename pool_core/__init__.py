"""Shared library: catalog, downloader, spawner, backends, events, errors, settings."""

__version__ = "0.1.0"
