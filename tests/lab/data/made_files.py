"""Small files in the formats of the real data sets."""

import gzip
import hashlib
import io
import struct
import tarfile
import zipfile
from dataclasses import replace

import numpy as np
from PIL import Image

from tenfold.lab.data import _catalogue
from tenfold.lab.data._files import Digest


def idx(array):
    """An IDX file of unsigned bytes, gzipped."""
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return gzip.compress(header + array.astype(np.uint8).tobytes())


def mnist(count=3, prefix="t10k"):
    """Name -> gzipped IDX file, of `count` digits."""
    images = np.arange(count * 784).reshape(count, 28, 28) % 256
    labels = np.arange(count) % 10
    return {
        f"{prefix}-images-idx3-ubyte.gz": idx(images),
        f"{prefix}-labels-idx1-ubyte.gz": idx(labels),
    }


def tar(members):
    """A .tar.gz of name -> bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def zipped(members):
    """A zip of name -> bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def jpeg(value, size=(32, 32)):
    """A JPEG of one grey."""
    buffer = io.BytesIO()
    Image.new("RGB", size, (value,) * 3).save(buffer, "JPEG")
    return buffer.getvalue()


def stay(record, lines=(), weight="-1"):
    """One patient's file of the PhysioNet challenge."""
    fixed = {"RecordID": record, "Age": 54, "Gender": 0, "Height": -1, "ICUType": 4}
    head = [f"00:00,{name},{value}" for name, value in fixed.items()]
    return "\n".join(["Time,Parameter,Value", *head, f"00:00,Weight,{weight}", *lines, ""]).encode()


def outcomes(deaths):
    """Its outcomes file, of record -> 0 or 1."""
    head = "RecordID,SAPS-I,SOFA,Length_of_stay,Survival,In-hospital_death"
    lines = [f"{record},6,1,5,-1,{died}" for record, died in deaths.items()]
    return "\n".join([head, *lines, ""]).encode()


def lay(folder, files):
    """Writes name -> bytes in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)


def publish(name, files):
    """The catalogue's files of data set `name`, with the hashes of `files` where those are."""

    def hashed(each):
        if each.name not in files or not each.published:
            return each
        data = files[each.name]
        content = gzip.decompress(data) if each.published.of == "content" else data
        value = hashlib.md5(content, usedforsecurity=False).hexdigest()
        return replace(each, published=Digest("md5", value, each.published.of))

    return tuple(hashed(each) for each in _catalogue.entry(name).files)
