"""Fetching models from a Hugging Face hub: resumable, verified, one process per file.

The only importer of huggingface_hub, and only once something must really be fetched.
"""

from pool_core.download.download import download
from pool_core.download.errors import (
    ChangedUpstream,
    DownloadError,
    FileNotInRepo,
    Gated,
    HubUnreachable,
    Interrupted,
    Offline,
    RepoNotFound,
    RevisionNotFound,
    TokenRefused,
)
from pool_core.download.settings import DownloadSettings, Transport

__all__ = [
    "ChangedUpstream",
    "DownloadError",
    "DownloadSettings",
    "FileNotInRepo",
    "Gated",
    "HubUnreachable",
    "Interrupted",
    "Offline",
    "RepoNotFound",
    "RevisionNotFound",
    "TokenRefused",
    "Transport",
    "download",
]
