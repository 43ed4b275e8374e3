"""Reads otlake's tables with deltalake, DuckDB, pyarrow and Polars, and asks otlake itself.

Usage: read.py TABLES_FOLDER HTTP_ADDRESS SERVICE [totals]

For each line on stdin it prints one JSON object: reader -> table -> the number of the service's
rows and a hash over every column of them, and for spans the reader's own totals. `otlake` is the
node's SQL over its committed files. `held` opened each table at the start, and reads that version.
With `totals` it prints those alone, and otlake's once more after all the others (`after`): what
they found of a table that grows lies between the two.
"""

import datetime
import hashlib
import io
import json
import pathlib
import sys
import urllib.request

import duckdb
import duckdb_extension_delta
import polars
import pyarrow
import pyarrow.compute
import pyarrow.dataset
from deltalake import DeltaTable, QueryBuilder

folder, http, service, *only = sys.argv[1:]

TABLES = [
    "spans",
    "logs",
    "metrics_gauge",
    "metrics_sum",
    "metrics_histogram",
    "metrics_exponential_histogram",
]
WHERE = f"WHERE service_name = '{service}'"
TOTALS = "count(*) AS n, sum(duration_ns) AS duration, count(DISTINCT trace_id) AS traces"


def path(table):
    return f"{folder}/{table}"


def of_service(dataset):
    return dataset.to_table(filter=pyarrow.compute.field("service_name") == service)


class Otlake:
    def sql(self, statement):
        body = {"query": statement, "format": "arrow", "consistency": "eventual"}
        request = urllib.request.Request(
            f"http://{http}/api/v1/sql",
            json.dumps(body).encode(),
            {"content-type": "application/json"},
        )
        with urllib.request.urlopen(request) as response:
            return pyarrow.ipc.open_stream(io.BytesIO(response.read())).read_all()

    def rows(self, table):
        return self.sql(f"SELECT * FROM {table} {WHERE}")

    def totals(self):
        return self.sql(f"SELECT {TOTALS} FROM spans {WHERE}")


class DeltaLake:
    def rows(self, table):
        return of_service(DeltaTable(path(table)).to_pyarrow_dataset())

    def totals(self):
        query = QueryBuilder().register("spans", DeltaTable(path("spans")))
        return pyarrow.table(query.execute(f"SELECT {TOTALS} FROM spans {WHERE}"))


class DuckDb:
    def __init__(self):
        self.connection = duckdb.connect()
        # What `INSTALL delta` would download.
        package = pathlib.Path(duckdb_extension_delta.__path__[0])
        extension = package / f"extensions/v{duckdb.__version__}/delta.duckdb_extension"
        self.connection.execute(f"LOAD '{extension}'")

    def rows(self, table):
        source = f"delta_scan('{path(table)}')"
        return self.connection.sql(f"SELECT * FROM {source} {WHERE}").to_arrow_table()

    def totals(self):
        source = f"delta_scan('{path('spans')}')"
        return self.connection.sql(f"SELECT {TOTALS} FROM {source} {WHERE}").to_arrow_table()


class PyArrow:
    """The committed files as plain Parquet."""

    partitions = pyarrow.dataset.partitioning(
        pyarrow.schema([("tenant", pyarrow.string()), ("day", pyarrow.date32())]), flavor="hive"
    )

    def rows(self, table):
        files = DeltaTable(path(table)).file_uris()
        return of_service(
            pyarrow.dataset.dataset(
                files, partitioning=self.partitions, partition_base_dir=path(table)
            )
        )

    def totals(self):
        rows = self.rows("spans")
        # Distinct values of fixed-size binary are not counted by every version.
        traces = pyarrow.compute.cast(rows["trace_id"], pyarrow.binary())
        return pyarrow.table(
            {
                "n": [rows.num_rows],
                "duration": [pyarrow.compute.sum(rows["duration_ns"]).as_py()],
                "traces": [pyarrow.compute.count_distinct(traces).as_py()],
            }
        )


class Polars:
    def lazy(self, table):
        rows = polars.scan_delta(path(table))
        return rows.filter(polars.col("service_name") == service)

    def rows(self, table):
        return self.lazy(table).collect().to_arrow()

    def totals(self):
        totals = self.lazy("spans").select(
            n=polars.len(),
            duration=polars.col("duration_ns").sum(),
            traces=polars.col("trace_id").n_unique(),
        )
        return totals.collect().to_arrow()


class Held:
    def __init__(self):
        self.opened = {table: DeltaTable(path(table)) for table in TABLES}

    def rows(self, table):
        return of_service(self.opened[table].to_pyarrow_dataset())

    def totals(self):
        query = QueryBuilder().register("spans", self.opened["spans"])
        return pyarrow.table(query.execute(f"SELECT {TOTALS} FROM spans {WHERE}"))


READERS = {
    "otlake": Otlake(),
    "deltalake": DeltaLake(),
    "duckdb": DuckDb(),
    "pyarrow": PyArrow(),
    "polars": Polars(),
    "held": Held(),
}


def plain(value):
    """A value as JSON, the same from every reader."""
    if isinstance(value, datetime.datetime):
        return round(value.timestamp() * 1e6)
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    return value


def found(rows):
    texts = sorted(json.dumps(plain(row), sort_keys=True) for row in rows.to_pylist())
    return {"rows": len(texts), "hash": hashlib.sha256("\n".join(texts).encode()).hexdigest()}


def totals(reader):
    # No rows have no sum.
    return {name: int(value or 0) for name, value in reader.totals().to_pylist()[0].items()}


def answer(reader):
    tables = {table: found(reader.rows(table)) for table in TABLES}
    return {**tables, "totals": totals(reader)}


def answers():
    if not only:
        return {name: answer(reader) for name, reader in READERS.items()}
    found = {name: totals(reader) for name, reader in READERS.items()}
    return {**found, "after": totals(READERS["otlake"])}


print("ready", flush=True)
for _ in sys.stdin:
    print(json.dumps(answers()), flush=True)
