//! DataFusion's errors as otlake's codes.

use arrow::error::ArrowError;
use datafusion::common::{DataFusionError, SchemaError};
use datafusion::parquet::errors::ParquetError;
use otlake_base::{Code, Error};

use crate::distributed::Told;

/// Names that a hint lists at most.
const HINT_NAMES: usize = 3;

/// The code and message of an error from planning or running a query.
pub fn from_datafusion(error: &DataFusionError) -> Error {
    match error {
        DataFusionError::Shared(inner) => from_datafusion(inner),
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => {
            from_datafusion(inner)
        }
        DataFusionError::Collection(errors) => match errors.first() {
            Some(first) => from_datafusion(first),
            None => Error::new(Code::QueryFailed, error),
        },
        DataFusionError::External(inner) => match inner.downcast_ref::<Error>() {
            Some(own) => own.clone(),
            None => match inner.downcast_ref::<DataFusionError>() {
                Some(inner) => from_datafusion(inner),
                None => match Told::read(&inner.to_string()) {
                    Some(told) => told.error,
                    None => Error::new(Code::QueryFailed, inner),
                },
            },
        },
        DataFusionError::ArrowError(inner, _) => from_arrow(inner),
        DataFusionError::ParquetError(inner) => from_parquet(inner),
        DataFusionError::ObjectStore(_) | DataFusionError::IoError(_) => {
            Error::new(Code::TableIo, error)
        }
        DataFusionError::ResourcesExhausted(message) => Error::new(Code::QueryMemory, message),
        DataFusionError::SchemaError(inner, _) => {
            Error::new(Code::QueryInvalid, schema_message(inner))
        }
        DataFusionError::SQL(inner, _) => Error::new(Code::QueryInvalid, inner),
        DataFusionError::Plan(_)
        | DataFusionError::NotImplemented(_)
        | DataFusionError::Configuration(_)
        | DataFusionError::Execution(_) => Error::new(Code::QueryInvalid, error.message()),
        _ => Error::new(Code::QueryFailed, error.strip_backtrace()),
    }
}

/// The same for an Arrow error, which can wrap one of ours.
pub(crate) fn from_arrow(error: &ArrowError) -> Error {
    match error {
        ArrowError::ExternalError(inner) => match inner.downcast_ref::<DataFusionError>() {
            Some(inner) => from_datafusion(inner),
            None => match inner.downcast_ref::<Error>() {
                Some(own) => own.clone(),
                None => Error::new(Code::QueryFailed, inner),
            },
        },
        ArrowError::ParquetError(message) => Error::new(Code::TableIo, message),
        ArrowError::IoError(message, _) => Error::new(Code::TableIo, message),
        ArrowError::CastError(_)
        | ArrowError::ParseError(_)
        | ArrowError::DivideByZero
        | ArrowError::ArithmeticOverflow(_)
        | ArrowError::InvalidArgumentError(_)
        | ArrowError::ComputeError(_) => Error::new(Code::QueryInvalid, error),
        _ => Error::new(Code::QueryFailed, error),
    }
}

fn from_parquet(error: &ParquetError) -> Error {
    let ParquetError::External(inner) = error else {
        return Error::new(Code::TableIo, error);
    };
    match inner.downcast_ref::<DataFusionError>() {
        Some(inner) => from_datafusion(inner),
        None => match inner.downcast_ref::<Error>() {
            Some(own) => own.clone(),
            None => Error::new(Code::TableIo, error),
        },
    }
}

/// DataFusion lists every column; a few near names tell more.
fn schema_message(error: &SchemaError) -> String {
    let SchemaError::FieldNotFound {
        field,
        valid_fields,
    } = error
    else {
        return error.to_string();
    };
    let near = near(
        field.name(),
        valid_fields.iter().map(|column| column.name()),
    );
    match near.is_empty() {
        true => format!("there is no column `{}`", field.flat_name()),
        false => format!(
            "there is no column `{}`; near names are {}",
            field.flat_name(),
            near.join(", ")
        ),
    }
}

/// The names nearest to `name`, the nearest first.
pub(crate) fn near<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let name = name.to_lowercase();
    let mut ranked: Vec<(usize, &str)> = candidates
        .map(|candidate| {
            let lower = candidate.to_lowercase();
            let distance = if lower.contains(&name) || name.contains(&lower) {
                1
            } else {
                distance(&name, &lower)
            };
            (distance, candidate)
        })
        .filter(|(distance, candidate)| *distance <= candidate.len().max(name.len()) / 2)
        .collect();
    ranked.sort_unstable();
    ranked.dedup();
    ranked.truncate(HINT_NAMES);
    ranked.into_iter().map(|(_, candidate)| candidate).collect()
}

/// Levenshtein's distance in characters.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, from) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, to) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}
