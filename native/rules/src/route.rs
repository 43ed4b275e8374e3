//! Rows that become another tenant's.
//!
//! The column `tenant` is whose a row is: rules that follow see it, and when all have been applied the rows of
//! each tenant are put into a batch of their own, in the order that they had.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, Scalar, StringViewArray};
use arrow::buffer::BooleanBuffer;
use arrow::compute::filter_record_batch;
use arrow::compute::kernels::zip::zip;
use arrow::error::ArrowError;
use otlake_base::{Table, TableRows, validate_tenant};
use otlake_decode::schema::schema;

use crate::texts::Rows;

const TENANT: &str = "tenant";

/// Where rows go.
#[derive(Debug)]
pub struct Route {
    tenant: Scalar<StringViewArray>,
    name: String,
    /// The number of the table's column.
    at: usize,
}

impl Route {
    /// Of rows of a table to a tenant.
    ///
    /// # Errors
    /// What is wrong with the tenant's name.
    pub fn new(tenant: &str, table: Table) -> Result<Route, String> {
        validate_tenant(tenant)
            .map_err(|error| format!("`route`: {}. {}", error.message, error.code.fix()))?;
        let at = schema(table).index_of(TENANT);
        Ok(Route {
            tenant: Scalar::new(StringViewArray::from_iter_values([tenant])),
            name: tenant.to_owned(),
            at: at.map_err(|error| error.to_string())?,
        })
    }

    /// These rows as the tenant's, and how many of them were not.
    ///
    /// # Errors
    /// Arrow's.
    pub fn apply(
        &self,
        batch: &RecordBatch,
        rows: &Rows,
    ) -> Result<(RecordBatch, u64), ArrowError> {
        let tenants = batch.column(self.at);
        let of = tenants.as_string_view();
        let moves = |row: usize| rows.value(row) && of.value(row) != self.name;
        let moving = BooleanBuffer::collect_bool(batch.num_rows(), moves);
        let count = moving.count_set_bits() as u64;
        if count == 0 {
            return Ok((batch.clone(), 0));
        }
        let mut columns = batch.columns().to_vec();
        columns[self.at] = zip(&BooleanArray::new(moving, None), &self.tenant, tenants)?;
        Ok((RecordBatch::try_new(batch.schema(), columns)?, count))
    }
}

/// The rows of each tenant, in the order in which the tenants come first. They go on sharing their text.
pub fn by_tenant(table: Table, rows: RecordBatch) -> Vec<TableRows> {
    let column: ArrayRef = rows
        .column_by_name(TENANT)
        .map(Arc::clone)
        .expect("every table has its tenants");
    let of = column.as_string_view();
    let mut tenants: Vec<&str> = Vec::new();
    for row in 0..of.len() {
        let tenant = of.value(row);
        if !tenants.contains(&tenant) {
            tenants.push(tenant);
        }
    }
    let is_alone = tenants.len() == 1;
    let part = |tenant: &str| {
        let rows = match is_alone {
            true => rows.clone(),
            false => {
                let is_of = |row: usize| of.value(row) == tenant;
                let mask = BooleanBuffer::collect_bool(of.len(), is_of);
                let mask = BooleanArray::new(mask, None);
                filter_record_batch(&rows, &mask).expect("a mask of as many rows")
            }
        };
        TableRows {
            table,
            tenant: tenant.into(),
            rows,
        }
    };
    tenants.into_iter().map(part).collect()
}
