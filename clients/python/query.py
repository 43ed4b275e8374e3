"""Asks otlake over Arrow Flight SQL; the answer is a pandas or Arrow table, or rows."""

import sys

import adbc_driver_flightsql.dbapi as flight

uri = sys.argv[1]  # grpc://127.0.0.1:4320
# Where tokens are configured: db_kwargs={"adbc.flight.sql.authorization_header": "Bearer …"}
with flight.connect(uri, autocommit=True) as connection, connection.cursor() as cursor:
    cursor.execute("SELECT name FROM spans WHERE service_name = $1", ("hello-python",))
    print(cursor.fetch_arrow_table().to_pylist())
