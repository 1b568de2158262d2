"""Readers of what a run leaves, and a writer of weights, in NumPy and the standard library alone: nothing here shares code with hwc."""
import csv
import json
import os
import struct

import numpy as np

DTYPES = {"F64": "<f8", "F32": "<f4", "I64": "<i8", "I32": "<i4", "U32": "<u4", "U8": "u1", "I8": "i1", "BOOL": "?"}


def safetensors(path):
    """{name: array}, in the file's order. Format: 8 bytes of header length, a JSON header, raw little-endian tensors."""
    with open(path, "rb") as f:
        length, = struct.unpack("<Q", f.read(8))
        header = json.loads(f.read(length))
        body = f.read()
    header.pop("__metadata__", None)
    out = {}
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, end = entry["data_offsets"]
        out[name] = np.frombuffer(body[begin:end], DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return out


def write_safetensors(path, tensors):
    """As the safetensors package writes a PyTorch state dict: tensors in any order, a format in the metadata."""
    header, body = {"__metadata__": {"format": "pt"}}, b""
    for name, array in tensors.items():
        array = np.ascontiguousarray(array)
        dtype = next(code for code, kind in DTYPES.items() if np.dtype(kind) == array.dtype)
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [len(body), len(body) + array.nbytes]}
        body += array.tobytes()
    text = json.dumps(header).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + body)


def npy(path):
    return np.load(path, allow_pickle=False)


def value(path):
    """A saved value, whichever of the two formats it was saved in: `path` has no suffix."""
    return safetensors(path + ".safetensors") if os.path.exists(path + ".safetensors") else npy(path + ".npy")


def table(path):
    """{column: list of floats (strings where not a number)}"""
    with open(path, newline="") as f:
        rows = list(csv.DictReader(f))

    def number(text):
        try:
            return float(text)
        except ValueError:
            return text
    return {name: [number(row[name]) for row in rows] for name in (rows[0] if rows else [])}
