"""Checks a bundle with nothing of ours: Python's own tar reader and hashes, and the package `proofbundle` for the
checkpoint, the tree and the proofs. Prints one line of JSON; fails where something does not hold.

    client.py BUNDLE VKEY
"""

import base64
import hashlib
import json
import sys
import tarfile

from proofbundle.checkpoint import verify_checkpoint
from proofbundle.merkle import merkle_tree_hash
from proofbundle.tlogproof import verify_tlog_proof


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def lines(data):
    return [json.loads(line) for line in data.decode().splitlines()]


def check_payload(leaf, payload):
    assert sha256(base64.b64decode(payload["facts"])) == leaf["facts_sha256"]
    for part, field in (("personal", "private_sha256"), ("network", "network_sha256")):
        if part in payload:
            assert sha256(base64.b64decode(payload[part])) == leaf[field]
        else:
            assert field not in leaf or (part == "personal" and "destroyed_by" in payload)


def main(path, vkey):
    with tarfile.open(path) as tar:
        files = {member.name: tar.extractfile(member).read() for member in tar.getmembers()}
    manifest = json.loads(files.pop("manifest.json"))
    assert {name: (len(data), sha256(data)) for name, data in files.items()} == {
        name: (entry["bytes"], entry["sha256"]) for name, entry in manifest["files"].items()
    }
    checkpoint = verify_checkpoint(files["checkpoint"].decode(), vkey)
    assert checkpoint["ok"] and checkpoint["tree_size"] == manifest["tree_size"], checkpoint
    leaves, payloads = lines(files["leaves.ndjson"]), lines(files["payloads.ndjson"])
    assert [leaf["index"] for leaf in leaves] == [payload["index"] for payload in payloads]
    for leaf, payload in zip(leaves, payloads):
        check_payload(json.loads(leaf["leaf"]), payload)
    data = [leaf["leaf"].encode() for leaf in leaves]
    proofs = 0
    if manifest["shape"] == "full":
        assert merkle_tree_hash(data) == checkpoint["root"]
        hashes = b"".join(hashlib.sha256(b"\0" + leaf).digest() for leaf in data)
        tiles = sorted(name for name in files if name.startswith("tile/0/"))
        assert b"".join(files[name] for name in tiles) == hashes
    if manifest["shape"] == "selection":
        for leaf in leaves:
            proof = files[f"proofs/{leaf['index']}.tlog-proof"].decode()
            verdict = verify_tlog_proof(proof, leaf["leaf"].encode(), vkey)
            assert verdict["ok"] and verdict["index"] == leaf["index"], verdict
            assert not verify_tlog_proof(proof, b"another leaf", vkey)["ok"]
            proofs += 1
    print(json.dumps({"events": len(leaves), "proofs": proofs, "shape": manifest["shape"]}))


main(*sys.argv[1:])
