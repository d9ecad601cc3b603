"""A command's status as JSON: what ``/status`` serves, and how it is asked for.

What answers may be anything that listens there: its bytes are bounded, and checked field by field.
"""

from __future__ import annotations

import re
import time
from typing import Any, Final

import msgspec

from codecs_core.errors import LinkError, LinkTimeout, ProtocolError
from codecs_core.monitor.ledger import Ledger, Status
from codecs_core.transport.address import Address
from codecs_core.transport.connect import dial

__all__ = ["PATH", "fetch", "render"]

PATH: Final = "/status"
_JSON: Final = "application/json"
_LIMIT: Final = 16 << 20
"""How long an answer may be: several times what 64 sessions of 255 channels take."""
_MOST: Final = 2**62
_CHUNK: Final = 1 << 16
_SOON: Final = 0.001
_FIRST_LINE: Final = re.compile(rb"HTTP/1\.[01] (\d{3}) ")


def render(ledger: Ledger) -> tuple[str, bytes]:
    """Return the content type and the JSON of a ledger's status."""
    return _JSON, msgspec.json.encode(ledger.status())


def fetch(address: Address, timeout: float) -> Status:
    """Ask the command that serves its metrics at ``address``; all of it in ``timeout`` seconds.

    Raises `LinkError` where nobody answers, `ProtocolError` where what answers is something else.
    """
    head, _, body = _request(address, timeout).partition(b"\r\n\r\n")
    found = _FIRST_LINE.match(head)
    if found is None or found[1] != b"200":
        said = "not in HTTP" if found is None else f"with status {found[1].decode()}"
        raise ProtocolError(
            f"{address} answers {said}; remedy: the address that a multifd command was given by "
            "--metrics"
        )
    try:
        status = msgspec.json.decode(body, type=Status)
        _check_numbers(msgspec.to_builtins(status))
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ProtocolError(
            f"what {address} answers is no status of this version of multifd: {error}"
        ) from error
    return status


def _check_numbers(value: Any) -> None:
    """Raise `ValueError` for a number that no command counts, and nobody can compute with."""
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            _check_numbers(each)
    elif isinstance(value, int | float) and not 0 <= value < _MOST:
        raise ValueError(f"a count of {value}")


def _request(address: Address, timeout: float) -> bytes:
    give_up = time.monotonic() + timeout
    link = dial(address, timeout)
    try:
        link.set_timeout(receive=timeout, send=timeout)
        link.send([f"GET {PATH} HTTP/1.1\r\nHost: multifd\r\nConnection: close\r\n\r\n".encode()])
        data = bytearray()
        while piece := link.receive_available(_CHUNK):
            data += piece
            if len(data) > _LIMIT:
                raise ProtocolError(f"{address} answers with more than {_LIMIT} bytes")
            # Not 0, which would be for ever.
            link.set_timeout(receive=max(_SOON, give_up - time.monotonic()))
            if time.monotonic() > give_up:
                raise LinkTimeout("it goes on")
        if not data:
            raise LinkError(f"{address} closed the connection without an answer")
        return bytes(data)
    except LinkTimeout:
        raise LinkTimeout(f"{address} has not ended its answer in {timeout:g} s") from None
    finally:
        link.close()
