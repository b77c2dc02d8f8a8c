"""Decodes a film from standard input with FFmpeg's libraries, and prints what it finds as one line of JSON."""

import io
import json
import sys

import av

film = av.open(io.BytesIO(sys.stdin.buffer.read()))
pictures, sounds, size, is_heard, seconds = 0, 0, None, False, 0.0
for packet in film.demux():
    for frame in packet.decode():
        if frame.time is not None:
            seconds = max(seconds, frame.time)
        if packet.stream.type == "video":
            pictures += 1
            size = [frame.width, frame.height]
        elif packet.stream.type == "audio":
            sounds += 1
            is_heard = is_heard or any(any(bytes(plane)) for plane in frame.planes)
print(
    json.dumps(
        {
            "format": film.format.name,
            "codecs": sorted(stream.codec_context.name for stream in film.streams),
            "pictures": pictures,
            "size": size,
            "sounds": sounds,
            "is_heard": is_heard,
            "seconds": seconds,
        }
    )
)
