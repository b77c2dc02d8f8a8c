"""Reads figures with pyarrow and with DuckDB, and prints the rows that each finds as one line of JSON.

    client.py parquet FILE      one file
    client.py arrow FILE        a stream of Arrow
    client.py partitions DIR    a folder of files in Hive's partitions, in any order
"""

import json
import sys

import duckdb
import pyarrow.dataset
import pyarrow.ipc
import pyarrow.parquet


def rows_of(relation):
    # Moments as texts of UTC: as anything else DuckDB hands them to Python by a library of time zones.
    duckdb.execute("set TimeZone = 'UTC'")
    zoned = [str(kind) == "TIMESTAMP WITH TIME ZONE" for kind in relation.types]
    cells = [f'"{name}"::varchar as "{name}"' if is_zoned else f'"{name}"' for name, is_zoned in zip(relation.columns, zoned)]
    relation = relation.project(", ".join(cells))
    return [dict(zip(relation.columns, row)) for row in relation.fetchall()]


def descriptions(schema):
    return {field.name: field.metadata[b"description"].decode() for field in schema if field.metadata}


def read(form, path):
    if form == "parquet":
        return pyarrow.parquet.read_table(path), duckdb.read_parquet(path)
    if form == "arrow":
        with pyarrow.ipc.open_stream(path) as stream:
            table = stream.read_all()
        return table, duckdb.from_arrow(table)
    months = pyarrow.dataset.partitioning(pyarrow.schema([("month", pyarrow.string())]), flavor="hive")
    table = pyarrow.dataset.dataset(path, partitioning=months).to_table()
    return table, duckdb.read_parquet(path + "/*/*.parquet", hive_partitioning=True)


table, relation = read(*sys.argv[1:])
table.validate(full=True)
print(
    json.dumps(
        {
            "pyarrow": table.to_pylist(),
            "duckdb": rows_of(relation),
            "types": {name: str(kind) for name, kind in zip(relation.columns, relation.types)},
            "descriptions": descriptions(table.schema),
            "about": {name.decode(): text.decode() for name, text in (table.schema.metadata or {}).items()},
        },
        default=str,
    )
)
