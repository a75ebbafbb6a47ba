"""One health check of gRPC (grpc.health.v1, HTTP/2) over a plain socket or TLS, without gRPC: loading that takes 0.2 s.

It asks a server of this machine whether it serves, so it verifies no certificate: it sends nothing secret, and must not
fail when the certificate files change under the server. It goes through no proxy. `health.py` says whom to ask.
"""

import socket
import struct
import time

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY = 0, 1, 3, 4, 6, 7
_END_STREAM, _END_HEADERS, _ACK, _PADDED = 1, 4, 1, 8
_MAX_FRAME_BYTES = 16_384
_NOT_FOUND = b"5"

STATUSES = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
SERVING = 1


class ProbeError(Exception):
    """The server gives no status; the text says why."""


class _OtherProtocolError(Exception):
    """The other side ends the connection before it says anything in HTTP/2: TLS may be what it speaks, or not."""


def probe(host: str, port: int, service: str, *, timeout_seconds: float, has_tls: bool) -> int:
    """Returns the status of a service, a number of `STATUSES`.

    Args:
        service: its name in grpc.health.v1; "" is the server.
        has_tls: what to try first; where the server speaks the other one, that is tried next.

    Raises:
        ProbeError: no server answers there, or it does not know the service.
    """
    deadline = time.monotonic() + timeout_seconds
    try:
        for use_tls in (has_tls, not has_tls):
            try:
                return _ask(host, port, service, deadline, use_tls=use_tls)
            except _OtherProtocolError:
                continue
    except TimeoutError:
        raise ProbeError(f"does not answer within {timeout_seconds:g} s") from None
    except OSError as error:
        raise ProbeError(f"does not answer: {error.strerror or error}") from None
    raise ProbeError(
        "does not answer: it hangs up on HTTP/2, with TLS and without; it is no gRPC server, or has as many connections"
        " as its limit of open files allows"
    )


def _ask(host: str, port: int, service: str, deadline: float, *, use_tls: bool) -> int:
    with socket.create_connection((host, port), timeout=_remaining(deadline)) as connection:
        connection.settimeout(_remaining(deadline))
        stream = _secure(connection) if use_tls else connection
        try:
            stream.sendall(_to_request(service, f"{host}:{port}", use_tls=use_tls))
            return _read_status(stream, service, deadline)
        except (BrokenPipeError, ConnectionResetError):
            raise _OtherProtocolError from None


def _secure(connection: socket.socket) -> socket.socket:
    import ssl  # only here: it takes as long to load as all else

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    try:
        return context.wrap_socket(connection)
    except (ssl.SSLError, ConnectionResetError, BrokenPipeError):
        raise _OtherProtocolError from None


def _remaining(deadline: float) -> float:
    return max(deadline - time.monotonic(), 0.001)


def _to_request(service: str, authority: str, *, use_tls: bool) -> bytes:
    """Returns all that is written: the preface, the settings, the call and its one message."""
    headers = {
        ":method": "POST",
        ":scheme": "https" if use_tls else "http",
        ":path": "/grpc.health.v1.Health/Check",
        ":authority": authority,
        "te": "trailers",
        "content-type": "application/grpc",
        "user-agent": "parley-health",
    }
    block = b"".join(b"\0" + _to_text(name) + _to_text(value) for name, value in headers.items())  # HPACK literals
    name = service.encode()
    message = b"\x0a" + bytes([len(name)]) + name if name else b""
    return b"".join(
        (
            _PREFACE,
            _to_frame(_SETTINGS, 0, 0, b""),
            _to_frame(_HEADERS, _END_HEADERS, 1, block),
            _to_frame(_DATA, _END_STREAM, 1, b"\0" + struct.pack(">I", len(message)) + message),
        )
    )


def _to_text(text: str) -> bytes:
    """Returns a string of HPACK, not compressed; those here are shorter than 127 bytes."""
    data = text.encode()[:126]
    return bytes([len(data)]) + data


def _to_frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def _read_status(stream: socket.socket, service: str, deadline: float) -> int:
    received = b""
    is_first = True
    while True:
        header = _read_exactly(stream, 9, deadline, is_first=is_first)
        size, kind, flags = int.from_bytes(header[:3], "big"), header[3], header[4]
        if is_first and (kind != _SETTINGS or size > _MAX_FRAME_BYTES):
            raise _OtherProtocolError
        is_first = False
        payload = _read_exactly(stream, size, deadline)
        if kind == _PING and not flags & _ACK:
            stream.sendall(_to_frame(_PING, _ACK, 0, payload))
        elif kind == _DATA:
            received += payload[1 : size - payload[0]] if flags & _PADDED else payload
            if len(received) >= 5 and len(received) >= 5 + int.from_bytes(received[1:5], "big"):
                return _to_status(received[5:])
        elif kind == _HEADERS and flags & _END_STREAM:
            # grpcio writes the name uncompressed; whatever else is there is a refusal all the same.
            code = payload.partition(b"grpc-status")[2][1:].removeprefix(b"\x01")[:1]
            text = f"does not know the service {service!r}" if code == _NOT_FOUND else "refuses the health check"
            raise ProbeError(text)
        elif kind in (_RST_STREAM, _GOAWAY):
            raise ProbeError("is ending")


def _to_status(message: bytes) -> int:
    """Reads HealthCheckResponse, whose one field is the status; left out it is 0."""
    return message[1] if message[:1] == b"\x08" and len(message) > 1 else 0


def _read_exactly(stream: socket.socket, size: int, deadline: float, *, is_first: bool = False) -> bytes:
    data = b""
    while len(data) < size:
        stream.settimeout(_remaining(deadline))
        chunk = stream.recv(size - len(data))
        if not chunk:
            if is_first:
                raise _OtherProtocolError
            raise ProbeError("ends the connection")
        data += chunk
    return data
