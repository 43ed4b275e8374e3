//! What the server tells of itself (`SqlInfo`), of its types (`XdbcTypeInfo`), and of keys, which
//! there are none of.

use std::sync::LazyLock;

use arrow::datatypes::{DataType, Field, Schema};
use arrow_flight::error::FlightError;
use arrow_flight::sql::metadata::{
    SqlInfoData, SqlInfoDataBuilder, XdbcTypeInfo, XdbcTypeInfoData, XdbcTypeInfoDataBuilder,
};
use arrow_flight::sql::{Nullable, Searchable, SqlInfo, SqlSupportedTransaction, XdbcDataType};

/// Facts of the server, or why they could not be made.
pub(super) static SQL_INFO: LazyLock<Result<SqlInfoData, FlightError>> = LazyLock::new(|| {
    let mut builder = SqlInfoDataBuilder::new();
    builder.append(SqlInfo::FlightSqlServerName, "otlake");
    builder.append(SqlInfo::FlightSqlServerVersion, env!("CARGO_PKG_VERSION"));
    // The version of the Arrow format, not of a library.
    builder.append(SqlInfo::FlightSqlServerArrowVersion, "1.5");
    builder.append(SqlInfo::FlightSqlServerReadOnly, true);
    builder.append(SqlInfo::FlightSqlServerSql, true);
    builder.append(SqlInfo::FlightSqlServerSubstrait, false);
    builder.append(
        SqlInfo::FlightSqlServerTransaction,
        SqlSupportedTransaction::None as i32,
    );
    builder.append(SqlInfo::FlightSqlServerCancel, false);
    builder.append(SqlInfo::SqlIdentifierQuoteChar, "\"");
    builder.append(SqlInfo::SqlDdlCatalog, false);
    builder.append(SqlInfo::SqlDdlSchema, false);
    builder.append(SqlInfo::SqlDdlTable, false);
    builder.build()
});

struct Kind {
    name: &'static str,
    data_type: XdbcDataType,
    size: Option<i32>,
    quote: Option<&'static str>,
    unsigned: Option<bool>,
}

const fn kind(
    name: &'static str,
    data_type: XdbcDataType,
    size: Option<i32>,
    quote: Option<&'static str>,
    unsigned: Option<bool>,
) -> Kind {
    Kind {
        name,
        data_type,
        size,
        quote,
        unsigned,
    }
}

/// The types of the tables' columns.
const KINDS: [Kind; 8] = [
    kind("boolean", XdbcDataType::XdbcBit, Some(1), None, None),
    kind(
        "integer",
        XdbcDataType::XdbcInteger,
        Some(32),
        None,
        Some(false),
    ),
    kind(
        "bigint",
        XdbcDataType::XdbcBigint,
        Some(64),
        None,
        Some(false),
    ),
    kind(
        "double",
        XdbcDataType::XdbcDouble,
        Some(53),
        None,
        Some(false),
    ),
    kind("varchar", XdbcDataType::XdbcVarchar, None, Some("'"), None),
    kind(
        "varbinary",
        XdbcDataType::XdbcVarbinary,
        None,
        Some("'"),
        None,
    ),
    kind("date", XdbcDataType::XdbcDate, Some(10), Some("'"), None),
    kind(
        "timestamp",
        XdbcDataType::XdbcTimestamp,
        Some(26),
        Some("'"),
        None,
    ),
];

/// The types, or why they could not be made.
pub(super) static TYPES: LazyLock<Result<XdbcTypeInfoData, FlightError>> = LazyLock::new(|| {
    let mut builder = XdbcTypeInfoDataBuilder::new();
    for kind in KINDS {
        builder.append(XdbcTypeInfo {
            type_name: kind.name.to_owned(),
            data_type: kind.data_type,
            column_size: kind.size,
            literal_prefix: kind.quote.map(str::to_owned),
            literal_suffix: kind.quote.map(str::to_owned),
            create_params: None,
            nullable: Nullable::NullabilityNullable,
            case_sensitive: kind.quote.is_some(),
            searchable: Searchable::Full,
            unsigned_attribute: kind.unsigned,
            fixed_prec_scale: false,
            auto_increment: None,
            local_type_name: Some(kind.name.to_owned()),
            minimum_scale: None,
            maximum_scale: None,
            sql_data_type: kind.data_type,
            datetime_subcode: None,
            num_prec_radix: kind.unsigned.map(|_| 2),
            interval_precision: None,
        });
    }
    builder.build()
});

/// The columns that Flight SQL gives the answer about keys.
pub(super) fn keys_schema(pair: bool) -> Schema {
    let text = |name: &str, nullable| Field::new(name, DataType::Utf8, nullable);
    if !pair {
        return Schema::new(vec![
            text("catalog_name", true),
            text("db_schema_name", true),
            text("table_name", false),
            text("column_name", false),
            Field::new("key_sequence", DataType::Int32, false),
            text("key_name", true),
        ]);
    }
    Schema::new(vec![
        text("pk_catalog_name", true),
        text("pk_db_schema_name", true),
        text("pk_table_name", false),
        text("pk_column_name", false),
        text("fk_catalog_name", true),
        text("fk_db_schema_name", true),
        text("fk_table_name", false),
        text("fk_column_name", false),
        Field::new("key_sequence", DataType::Int32, false),
        text("fk_key_name", true),
        text("pk_key_name", true),
        Field::new("update_rule", DataType::UInt8, false),
        Field::new("delete_rule", DataType::UInt8, false),
    ])
}
