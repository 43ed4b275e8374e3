"""Asks otlake over ADBC's Flight SQL driver and prints what came back as JSON.

Usage: flight.py URI ask|echo|token|refused [TOKEN]
"""

import json
import sys

import adbc_driver_flightsql.dbapi as flight
from adbc_driver_flightsql import DatabaseOptions

uri, part, *token = sys.argv[1:]


def connect():
    options = {DatabaseOptions.AUTHORIZATION_HEADER.value: f"Bearer {token[0]}"} if token else {}
    return flight.connect(uri, db_kwargs=options, autocommit=True)


def refused(cursor, statement, parameters=None):
    """What the driver says of a statement that cannot work."""
    try:
        cursor.execute(statement, parameters)
        cursor.fetchall()
    except flight.Error as error:
        return {"kind": type(error).__name__, "message": str(error)}
    return None


def ask(connection, cursor):
    objects = connection.adbc_get_objects(depth="tables").read_all().to_pylist()
    tables = [
        [catalog["catalog_name"], schema["db_schema_name"], table["table_name"], table["table_type"]]
        for catalog in objects
        for schema in catalog["catalog_db_schemas"]
        for table in schema["db_schema_tables"]
    ]
    columns = {field.name: str(field.type) for field in connection.adbc_get_table_schema("spans")}
    cursor.execute("SELECT service_name, count(*) AS n FROM spans GROUP BY 1 ORDER BY 1")
    groups = [list(row) for row in cursor.fetchall()]

    # A prepared statement, once for each set of values.
    statement = """SELECT count(*) FROM spans WHERE service_name = $1
        AND attr_int(attributes, 'number') >= $2 AND duration_ns < $3 AND trace_id <> $4"""
    parameters = cursor.adbc_prepare(statement)
    prepared = []
    for number in (0, 50, 1000):
        values = ("service-0", number, 1001.5, bytes(16))
        prepared.append(cursor.execute(statement, values).fetchone()[0])

    # A big result, as a stream of batches.
    cursor.execute("SELECT * FROM spans")
    rows, total, batches, distinct = 0, 0, 0, set()
    for batch in cursor.fetch_record_batch():
        batches += 1
        rows += batch.num_rows
        total += sum(batch.column("duration_ns").to_pylist())
        distinct.update(batch.column("span_id").to_pylist())

    errors = {
        "syntax": refused(cursor, "SELEC 1"),
        "table": refused(cursor, "SELECT * FROM nothing"),
        "write": refused(cursor, "DELETE FROM spans"),
        "runtime": refused(cursor, "SELECT CAST(name AS BIGINT) FROM spans"),
        "missing": refused(cursor, "SELECT $1 + 1"),
    }
    cursor.execute("SELECT 1")
    return {
        "vendor": connection.adbc_get_info()["vendor_name"],
        "types": connection.adbc_get_table_types(),
        "tables": tables,
        "columns": columns,
        "groups": groups,
        "parameters": [str(field.type) for field in parameters],
        "prepared": prepared,
        "big": {"rows": rows, "duration": total, "batches": batches, "ids": len(distinct)},
        "errors": errors,
        "after": cursor.fetchone()[0],
    }


if part == "refused":
    try:
        with connect() as connection, connection.cursor() as cursor:
            answer = refused(cursor, "SELECT 1")
    except flight.Error as error:
        answer = {"kind": type(error).__name__, "message": str(error)}
else:
    with connect() as connection, connection.cursor() as cursor:
        if part == "ask":
            answer = ask(connection, cursor)
        elif part == "echo":
            values = ("naïve", True, 0.1, None)
            cursor.execute("SELECT $1 AS t, $2 AS b, $3 AS d, $4 AS n", values)
            answer = list(cursor.fetchone())
        else:
            cursor.execute("SELECT count(*) FROM spans")
            answer = cursor.fetchone()[0]
print(json.dumps(answer))
