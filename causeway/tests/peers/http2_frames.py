"""Sends frames of HTTP/2 as they are told, right or wrong, by hyperframe and hpack:

    http2_frames.py HOST:PORT '[[TYPE, STREAM, FLAGS, CONTENT], …]'

CONTENT is a list of fields for HEADERS, as they go into CONTINUATION too, or text, a character
a byte. A number in front of a frame sends it so often. `split` as the type sends the fields in
several frames, HEADERS and CONTINUATION.

Prints how it was answered: the status, `RST_STREAM CODE`, `GOAWAY CODE` or `closed`.
"""

import json
import socket
import sys

from hpack import Decoder, Encoder
from hyperframe import frame as frames

PATIENCE = 20
CODES = (
    "NO_ERROR PROTOCOL_ERROR INTERNAL_ERROR FLOW_CONTROL_ERROR SETTINGS_TIMEOUT STREAM_CLOSED FRAME_SIZE_ERROR "
    "REFUSED_STREAM CANCEL COMPRESSION_ERROR CONNECT_ERROR ENHANCE_YOUR_CALM INADEQUATE_SECURITY HTTP_1_1_REQUIRED"
).split()
TYPES = {"HEADERS": frames.HeadersFrame, "CONTINUATION": frames.ContinuationFrame, "DATA": frames.DataFrame}
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def raw(text):
    return text.encode("latin-1")


def block(encoder, content):
    if isinstance(content, str):
        return raw(content)
    return encoder.encode([(raw(name), raw(value)) for name, value in content], huffman=False)


def serialized(encoder, told):
    times, told = (told[0], told[1:]) if isinstance(told[0], int) else (1, told)
    kind, stream, flags, content = told
    data = block(encoder, content)
    if kind == "split":
        size = min(len(data) // 2, 16384)
        first, *more = (data[at : at + size] for at in range(0, len(data), size))
        split = [frames.HeadersFrame(stream, first, flags=flags)]
        split += [frames.ContinuationFrame(stream, piece) for piece in more]
        split[-1].flags.add("END_HEADERS")
        return b"".join(frame.serialize() for frame in split)
    return TYPES[kind](stream, data, flags=flags).serialize() * times


def arriving(connection):
    """The frames of the other side, until it closes."""
    data = b""
    while True:
        while len(data) >= 9 and len(data) >= 9 + int.from_bytes(data[:3], "big"):
            frame, length = frames.Frame.parse_frame_header(memoryview(data[:9]))
            frame.parse_body(memoryview(data[9 : 9 + length]))
            data = data[9 + length :]
            yield frame
        try:
            more = connection.recv(65536)
        except ConnectionResetError:
            return
        if not more:
            return
        data += more


def outcome(connection):
    decoder = Decoder()
    status = None
    for frame in arriving(connection):
        if isinstance(frame, frames.GoAwayFrame) and frame.error_code:
            return f"GOAWAY {CODES[frame.error_code]}"
        if isinstance(frame, frames.RstStreamFrame):
            return status or f"RST_STREAM {CODES[frame.error_code]}"
        if isinstance(frame, frames.HeadersFrame):
            status = status or dict(decoder.decode(frame.data))[":status"]
        if "END_STREAM" in frame.flags:
            return status
    return "closed"


host, port = sys.argv[1].rsplit(":", 1)
encoder = Encoder()
with socket.create_connection((host, int(port)), PATIENCE) as connection:
    sent = [PREFACE, frames.SettingsFrame(0).serialize()]
    sent += [serialized(encoder, told) for told in json.loads(sys.argv[2])]
    try:
        connection.sendall(b"".join(sent))
    except (BrokenPipeError, ConnectionResetError):
        # It may have heard enough before all is sent.
        pass
    print(outcome(connection))
