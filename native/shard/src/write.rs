//! Sorts, parts, encodes and makes durable.

use std::fmt::Display;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::temporal_conversions::date32_to_datetime;
use otlake_base::checksum::{BlockSums, Summing};
use otlake_base::disk::{Disk, Writer, create_folders, real};
use otlake_base::worker::{self, Parts};
use otlake_base::{Code, DataFile, Error, Result, Table, priority};
use otlake_decode::schema::{file_schema, schema};
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::arrow_writer::{
    ArrowColumnWriter, ArrowWriter, ArrowWriterOptions, compute_leaves,
};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedRowGroupWriter;
use parquet::schema::types::ColumnDescPtr;
use uuid::Uuid;

use crate::chunk::ChunkEncoder;
use crate::encoding::properties;
use crate::gather::gather;
use crate::order::{Order, Partition, sort};
use crate::stats::Stats;

/// Bytes of the buffer between the encoder and the file.
const FILE_BUFFER_BYTES: usize = 1024 * 1024;

/// The priority of the thread that writes what others have sorted and encoded: the highest that a part of
/// it may need.
const WRITING: i32 = priority::FLUSHES_BEHIND;

/// How files are written.
#[derive(Clone, Debug)]
pub struct WriteOptions {
    /// Rows of one row group, at most.
    pub row_group_rows: usize,
    /// Zstandard level, 1 to 22.
    pub zstd_level: i32,
    /// Where they are written.
    pub disk: Arc<dyn Disk>,
    /// Who sorts and encodes.
    pub parts: Parts,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self {
            row_group_rows: otlake_base::limits::ROW_GROUP_ROWS,
            zstd_level: 1,
            disk: real(),
            parts: Parts::new(|| true),
        }
    }
}

/// A durable file that no table refers to yet.
#[derive(Clone, Debug)]
pub struct Written {
    /// What queries need to know of it.
    pub file: DataFile,
    /// Its statistics, as the Delta log spells them.
    pub stats_json: String,
}

pub(crate) fn io(what: &str, path: &Path, error: impl Display) -> Error {
    Error::new(Code::TableIo, format!("{what} {}: {error}", path.display()))
}

/// Writes the rows of `batches`, in the table's schema, to one file for each tenant and day
/// below `root`, the table's folder. When it returns, files and folders are durable.
///
/// # Errors
/// `TABLE_IO`; what was written is removed. `INTERNAL` for a batch of another schema.
pub async fn write(
    table: Table,
    batches: Vec<RecordBatch>,
    root: &Path,
    options: &WriteOptions,
) -> Result<Vec<Written>> {
    let root = root.to_path_buf();
    let options = options.clone();
    let all = move || write_all(table, &batches, &root, &options);
    worker::run("otlake-flush", WRITING, all).await?
}

/// Removes the files that a failed or dropped write leaves.
pub(crate) struct Undo {
    pub disk: Arc<dyn Disk>,
    pub paths: Vec<PathBuf>,
}

impl Undo {
    pub(crate) fn on(disk: &Arc<dyn Disk>) -> Undo {
        Undo {
            disk: Arc::clone(disk),
            paths: Vec::new(),
        }
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        for path in &self.paths {
            // What cannot be removed is swept when the catalog opens.
            let _ = self.disk.remove(path);
        }
    }
}

fn write_all(
    table: Table,
    batches: &[RecordBatch],
    root: &Path,
    options: &WriteOptions,
) -> Result<Vec<Written>> {
    let expected = schema(table);
    for batch in batches {
        let fields = batch.schema();
        let same = fields.fields().len() == expected.fields().len()
            && fields
                .fields()
                .iter()
                .zip(expected.fields())
                .all(|(a, b)| a.name() == b.name() && a.data_type() == b.data_type());
        if !same {
            let message = format!("a batch is not of the schema of `{}`", table.name());
            return Err(Error::new(Code::Internal, message));
        }
    }
    let order = options.parts.run(|| sort(table, batches))?;
    let mut undo = Undo::on(&options.disk);
    let mut written = Vec::with_capacity(order.partitions.len());
    for partition in &order.partitions {
        written.push(write_one(
            table, batches, &order, partition, root, options, &mut undo,
        )?);
    }
    undo.paths.clear();
    Ok(written)
}

/// A partition value as part of a folder's name: what Hive, and hence every reader, escapes.
fn escape(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

fn day_text(day: i32) -> Result<String> {
    date32_to_datetime(day)
        .map(|date| date.format("%Y-%m-%d").to_string())
        .ok_or_else(|| Error::new(Code::Internal, format!("day {day} is out of range")))
}

fn write_one(
    table: Table,
    batches: &[RecordBatch],
    order: &Order,
    partition: &Partition,
    root: &Path,
    options: &WriteOptions,
    undo: &mut Undo,
) -> Result<Written> {
    let (staged, file) = Staged::create(root, &partition.tenant, partition.day, undo)?;
    let rows = &order.rows[partition.rows.clone()];
    let (mut file, sums, stats) = encode(table, batches, rows, file, options, &staged.path)?;
    staged.publish(table, &mut file, sums, &stats, rows.len(), undo)
}

/// A file that has no name in its partition's folder yet.
pub(crate) struct Staged {
    /// Where it is while it is written.
    pub path: PathBuf,
    dir: PathBuf,
    folder: String,
    name: String,
    tenant: String,
    day: i32,
}

impl Staged {
    /// An empty file in the folder of a partition.
    pub(crate) fn create(
        root: &Path,
        tenant: &str,
        day: i32,
        undo: &mut Undo,
    ) -> Result<(Staged, Writer)> {
        let folder = format!("tenant={}/day={}", escape(tenant), day_text(day)?);
        let dir = root.join(&folder);
        let disk = &*undo.disk;
        create_folders(disk, root, &dir).map_err(|error| io("cannot create", &dir, error))?;
        let id = Uuid::from_u128(disk.unique(&dir));
        let path = dir.join(format!(".{id}.tmp"));
        let file = disk
            .create(&path)
            .map_err(|error| io("cannot create", &path, error))?;
        undo.paths.push(path.clone());
        let staged = Staged {
            path,
            dir,
            folder,
            name: format!("{id}.parquet"),
            tenant: tenant.to_owned(),
            day,
        };
        Ok((staged, Writer(file)))
    }

    /// Makes the file durable, under its name.
    pub(crate) fn publish(
        self,
        table: Table,
        file: &mut Writer,
        sums: BlockSums,
        stats: &Stats,
        rows: usize,
        undo: &mut Undo,
    ) -> Result<Written> {
        file.0
            .sync()
            .map_err(|error| io("cannot sync", &self.path, error))?;
        let size = file
            .0
            .length()
            .map_err(|error| io("cannot stat", &self.path, error))?;
        let target = self.dir.join(&self.name);
        undo.paths.push(target.clone());
        undo.disk
            .rename(&self.path, &target)
            .and_then(|()| undo.disk.sync_folder(&self.dir))
            .map_err(|error| io("cannot rename", &self.path, error))?;

        let (min_time, max_time) = stats
            .numbers(table.time_column())
            .unwrap_or((i64::MIN, i64::MAX));
        Ok(Written {
            stats_json: stats.to_json(rows),
            file: DataFile {
                path: format!("{}/{}", self.folder, self.name),
                size,
                rows: rows as u64,
                tenant: self.tenant,
                day: self.day,
                min_time,
                max_time,
                sums: Some(Arc::new(sums)),
            },
        })
    }
}

/// A file that is written through a buffer and summed.
pub(crate) type Buffered = BufWriter<Summing<Writer>>;
/// The writer of a table's files.
pub(crate) type FileWriter = ArrowWriter<Buffered>;

/// A writer of row groups of `rows` rows at most to an empty file.
pub(crate) fn file_writer(
    table: Table,
    file: Writer,
    rows: usize,
    options: &WriteOptions,
    path: &Path,
) -> Result<FileWriter> {
    let schema = file_schema(table);
    let leaves = ArrowSchemaConverter::new()
        .convert(&schema)
        .map_err(|error| io("cannot write", path, error))?;
    let group_rows = options.row_group_rows.max(1);
    let properties = properties(table, &schema, &leaves, group_rows.min(rows), options)?;
    ArrowWriter::try_new_with_options(
        BufWriter::with_capacity(FILE_BUFFER_BYTES, Summing::new(file)),
        Arc::clone(&schema),
        // Without a hint of ours: it would give readers views, on which pyarrow cannot compute.
        ArrowWriterOptions::new()
            .with_properties(properties)
            .with_skip_arrow_metadata(true),
    )
    .map_err(|error| io("cannot write", path, error))
}

/// Encodes row group by row group and, within one, column by column: beside the batches, one
/// gathered column and one encoded row group are in memory.
fn encode(
    table: Table,
    batches: &[RecordBatch],
    rows: &[(usize, usize)],
    file: Writer,
    options: &WriteOptions,
    path: &Path,
) -> Result<(Writer, BlockSums, Stats)> {
    let failed = |error: &dyn Display| io("cannot write", path, error);
    let group_rows = options.row_group_rows.max(1);
    let writer = file_writer(table, file, rows.len(), options, path)?;
    let (mut writer, factory) = writer
        .into_serialized_writer()
        .map_err(|error| failed(&error))?;
    let mut chunks = ChunkEncoder::new().map_err(|error| failed(&error))?;
    let mut stats = Stats::default();
    for (number, rows) in rows.chunks(group_rows).enumerate() {
        let columns = factory
            .create_column_writers(number)
            .map_err(|error| failed(&error))?;
        let properties = Arc::clone(writer.properties());
        let leaves = writer.schema_descr().columns().to_vec();
        let mut group = writer.next_row_group().map_err(|error| failed(&error))?;
        let leaves = leaves.iter().zip(columns);
        encode_group(
            table,
            (batches, rows),
            leaves,
            &properties,
            &mut chunks,
            &mut group,
            &options.parts,
        )
        .map_err(|error| failed(&error))?;
        let group = group.close().map_err(|error| failed(&error))?;
        stats
            .add(table, writer.schema_descr(), std::slice::from_ref(&*group))
            .map_err(|error| failed(&error))?;
    }
    let buffered = writer.into_inner().map_err(|error| failed(&error))?;
    let summing = buffered
        .into_inner()
        .map_err(|error| failed(&error.error()))?;
    let (file, sums) = summing.finish();
    Ok((file, sums, stats))
}

/// Encodes the columns of a row group; `leaves` has a writer for each leaf of the schema.
fn encode_group<'a>(
    table: Table,
    (batches, rows): (&[RecordBatch], &[(usize, usize)]),
    mut leaves: impl Iterator<Item = (&'a ColumnDescPtr, ArrowColumnWriter)>,
    properties: &WriterProperties,
    chunks: &mut ChunkEncoder,
    group: &mut SerializedRowGroupWriter<'_, Buffered>,
    parts: &Parts,
) -> Result<(), ParquetError> {
    let mut leaf = || {
        let leaf = leaves.next();
        leaf.ok_or_else(|| ParquetError::General("a column without a writer".to_owned()))
    };
    for (index, field) in file_schema(table).fields().iter().enumerate() {
        let (descriptor, writer) = leaf()?;
        let encode = || chunks.encode(batches, index, rows, descriptor, properties);
        if let Some(chunk) = parts.run(encode)? {
            group.append_column(&chunk.bytes, chunk.close)?;
            continue;
        }
        let gathered = || compute_leaves(field, &gather(batches, index, rows)?);
        let mut first = Some(writer);
        for values in parts.run(gathered)? {
            let mut column = match first.take() {
                Some(writer) => writer,
                None => leaf()?.1,
            };
            let encode = move || {
                column.write(&values)?;
                column.close()
            };
            parts.run(encode)?.append_to_row_group(group)?;
        }
    }
    Ok(())
}
