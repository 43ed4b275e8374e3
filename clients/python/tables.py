"""Reads the committed rows of otlake's tables, with no otlake in between."""

import sys

import polars
from deltalake import DeltaTable

spans = sys.argv[1]  # data/tables/spans
rows = DeltaTable(spans).to_pyarrow_table(columns=["service_name", "name"])
frame = polars.scan_delta(spans).group_by("service_name").len().collect()
print(rows.num_rows, frame["len"].sum())
