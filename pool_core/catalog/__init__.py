"""What models there are, and where their files are on this machine."""

from pool_core.catalog.catalog import Catalog, shipped_folder
from pool_core.catalog.entry import POOL, SHIPPED, ModelEntry
from pool_core.catalog.errors import ChecksumMismatch, ModelNotDownloaded
from pool_core.catalog.file_lock import Locked
from pool_core.catalog.model_store import ModelState, ModelStatus, ModelStore
from pool_core.catalog.store import CatalogStore, make_registration

__all__ = [
    "POOL",
    "SHIPPED",
    "Catalog",
    "CatalogStore",
    "ChecksumMismatch",
    "Locked",
    "ModelEntry",
    "ModelNotDownloaded",
    "ModelState",
    "ModelStatus",
    "ModelStore",
    "make_registration",
    "shipped_folder",
]
