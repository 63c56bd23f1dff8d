"""How the data of each command looks to a person; `llorch` shows it the same way.

VIEWS is keyed by command path. Data for lists is `{"models": [row, …]}`, so rows of many pools
can be put together and shown with a column more.
"""

from pool_ctl.views import models, pool, workers
from pool_ctl.views.table import Column, FittedTable, Row, TableView, TextView, View, facts

VIEWS: dict[str, View] = models.VIEWS | workers.VIEWS | pool.VIEWS

__all__ = ["VIEWS", "Column", "FittedTable", "Row", "TableView", "TextView", "View", "facts"]
