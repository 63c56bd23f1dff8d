"""Downloads the registered model `demo`; its events are JSON lines, as of `llorch-pool --json`."""

from __future__ import annotations

import resource

from pool_core.catalog import Catalog
from pool_core.console import Console
from pool_core.download import download
from pool_core.errors import LlorchError
from pool_core.home import Home


def main() -> None:
    home = Home.from_env()
    console = Console(json_lines=True)
    entry = Catalog.load(home).get("demo")
    try:
        work = download(entry, home)
        console.emit(next(work))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        result = console.run(work)
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        console.result(result | {"grown_kib": after - before})
    except LlorchError as error:
        console.error(error)
    except KeyboardInterrupt:
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
