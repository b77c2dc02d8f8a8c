"""Reads a document from standard input as strictly as pypdf can, and prints what it finds as one line of JSON."""

import io
import json
import re
import sys

import pypdf

reader = pypdf.PdfReader(io.BytesIO(sys.stdin.buffer.read()), strict=True)
catalog = reader.trailer["/Root"]
xmp = catalog["/Metadata"].get_data().decode()


def fonts():
    for page in reader.pages:
        for font in page["/Resources"]["/Font"].values():
            descendants = font.get_object().get("/DescendantFonts", [font])
            for descendant in descendants:
                yield descendant.get_object()["/FontDescriptor"].get_object()


def embedded(descriptor):
    return any(name in descriptor for name in ("/FontFile", "/FontFile2", "/FontFile3"))


def claimed(name):
    found = re.search(rf"{name}>([^<]+)<|{name}=\"([^\"]+)\"", xmp)
    return found and (found.group(1) or found.group(2))


print(
    json.dumps(
        {
            "archival": [claimed("pdfaid:part"), claimed("pdfaid:conformance")],
            "accessible": claimed("pdfuaid:part"),
            "tagged": bool(catalog["/MarkInfo"]["/Marked"]) and "/StructTreeRoot" in catalog,
            "language": catalog["/Lang"],
            "title": reader.metadata.title,
            "all_fonts_embedded": all(embedded(descriptor) for descriptor in fonts()),
            "text": " ".join(" ".join(page.extract_text().split()) for page in reader.pages),
        }
    )
)
