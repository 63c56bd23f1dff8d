"""SSH connections to pools: the only importer of paramiko."""

import logging

# paramiko logs tracebacks of things we report in one line; without a handler it writes to stderr.
_logger = logging.getLogger("paramiko")
_logger.addHandler(logging.NullHandler())
_logger.propagate = False
