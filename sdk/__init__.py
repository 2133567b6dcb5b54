"""What services and their callers need: `Service` to answer calls, `Client` to make them, and the errors of both.

This package imports none of the others, so a program that offers or calls a service loads it alone.
"""

from . import errors, metadata, strategy
from .client import Client
from .service import Service

__all__ = ["Client", "Service", "errors", "metadata", "strategy"]
