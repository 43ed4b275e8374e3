//! Leaves and guards as bytes. A share of files is the scan as DataFusion writes it, without its files,
//! and those beside it: by their path below the table's folder, which may be elsewhere on the other node,
//! with the checksums by which it reads them (I6).

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{
    FileGroup, FileScanConfig, FileScanConfigBuilder, ParquetFileReaderFactory, ParquetSource,
};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::physical_plan::{
    PhysicalExtensionCodec, PhysicalPlanDecodeContext, PhysicalProtoConverterExtension,
};
use datafusion_proto::protobuf::PhysicalPlanNode;
use object_store::path::Path as StorePath;
use otlake_base::checksum::BlockSums;
use otlake_base::{Code, Consistency, DataFile, Error, TableSource};
use prost::Message as _;

use super::guard::GuardExec;
use super::leaf::{Kept, TaskScan};
use super::trouble::Told;
use crate::groups::by_codes;
use crate::table::{external, partitioned, store_path};

/// A node of a plan.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Node {
    #[prost(oneof = "NodeKind", tags = "1, 2, 3")]
    pub(crate) kind: Option<NodeKind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum NodeKind {
    #[prost(message, tag = "1")]
    Files(Files),
    #[prost(message, tag = "2")]
    Live(Live),
    #[prost(message, tag = "3")]
    Guard(Guard),
}

/// A scan of a share of a table's files.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Files {
    #[prost(string, tag = "1")]
    table: String,
    /// The scan, without its files.
    #[prost(bytes = "vec", tag = "2")]
    scan: Vec<u8>,
    #[prost(message, repeated, tag = "3")]
    files: Vec<File>,
    #[prost(message, repeated, tag = "4")]
    groups: Vec<Group>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct File {
    #[prost(string, tag = "1")]
    path: String,
    #[prost(uint64, tag = "2")]
    size: u64,
    #[prost(string, tag = "3")]
    tenant: String,
    #[prost(sint32, tag = "4")]
    day: i32,
    /// As the table's log has them; none where another writer wrote the file.
    #[prost(string, optional, tag = "5")]
    sums: Option<String>,
}

/// What one partition reads.
#[derive(Clone, PartialEq, prost::Message)]
struct Group {
    #[prost(message, repeated, tag = "1")]
    pieces: Vec<Piece>,
}

/// Of the file with this number, the row groups that begin between these bytes.
#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Piece {
    #[prost(uint32, tag = "1")]
    file: u32,
    #[prost(uint64, tag = "2")]
    start: u64,
    #[prost(uint64, tag = "3")]
    end: u64,
}

/// Rows that stay on the node that sends this to itself.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Live {
    #[prost(string, tag = "1")]
    node: String,
    #[prost(uint64, tag = "2")]
    number: u64,
}

/// The head of a task.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct Guard {}

/// Writes and reads the nodes of ours.
pub(crate) struct Codec {
    pub(crate) node: Arc<str>,
    pub(crate) kept: Arc<Kept>,
    pub(crate) reader: Arc<dyn ParquetFileReaderFactory>,
    pub(crate) sources: Vec<Arc<dyn TableSource>>,
}

impl std::fmt::Debug for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Codec")
    }
}

impl PhysicalExtensionCodec for Codec {
    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        buffer: &mut Vec<u8>,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        let kind = if node.is::<GuardExec>() {
            NodeKind::Guard(Guard {})
        } else if let Some(scan) = node.downcast_ref::<TaskScan>() {
            match scan.kept() {
                Some(number) => NodeKind::Live(Live {
                    node: self.node.to_string(),
                    number,
                }),
                None => NodeKind::Files(self.files(scan.scan(), converter)?),
            }
        } else {
            return Err(unknown(format!("{} is none of ours", node.name())));
        };
        Node { kind: Some(kind) }
            .encode(buffer)
            .map_err(|error| unknown(error.to_string()))
    }

    fn try_decode(
        &self,
        buffer: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        context: &TaskContext,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let node = Node::decode(buffer).map_err(|error| unknown(error.to_string()))?;
        match (node.kind, inputs) {
            (Some(NodeKind::Guard(Guard {})), [input]) => {
                Ok(Arc::new(GuardExec::new(by_codes(Arc::clone(input))?)))
            }
            (Some(NodeKind::Live(live)), []) => {
                let kept = (*live.node == *self.node).then(|| self.kept.get(live.number));
                kept.flatten().ok_or_else(|| {
                    let what = "live rows of another node, or of a query that is over";
                    Told::of(Error::new(Code::QueryFailed, what)).carried()
                })
            }
            (Some(NodeKind::Files(files)), []) => self.scan(&files, context, converter),
            _ => Err(unknown("a node of a plan is none that is known".to_owned())),
        }
    }
}

impl Codec {
    fn files(
        &self,
        scan: &Arc<dyn ExecutionPlan>,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Files> {
        let config = file_scan(&**scan)?;
        let (table, root) = self.table_of(config)?;
        let mut numbers: HashMap<&StorePath, u32> = HashMap::new();
        let (mut files, mut groups) = (Vec::new(), Vec::new());
        for group in &config.file_groups {
            let mut pieces = Vec::new();
            for piece in group.iter() {
                let location = piece.path();
                let file = match numbers.get(location) {
                    Some(number) => *number,
                    None => {
                        let number = u32::try_from(files.len())
                            .map_err(|_| unknown("a task has too many files".to_owned()))?;
                        files.push(told(piece, &root)?);
                        numbers.insert(location, number);
                        number
                    }
                };
                let (start, end) = piece.range();
                pieces.push(Piece { file, start, end });
            }
            groups.push(Group { pieces });
        }
        let empty = vec![FileGroup::new(Vec::new()); groups.len()];
        let bare = FileScanConfigBuilder::from(config.clone()).with_file_groups(empty);
        let bare: Arc<dyn ExecutionPlan> = DataSourceExec::from_data_source(bare.build());
        let scan = converter.execution_plan_to_proto(&bare, self)?;
        Ok(Files {
            table: table.to_owned(),
            scan: scan.encode_to_vec(),
            files,
            groups,
        })
    }

    /// The table that a scan is of, and its folder; any where it has no files.
    fn table_of(&self, config: &FileScanConfig) -> Result<(&'static str, StorePath)> {
        let first = config.file_groups.iter().flat_map(FileGroup::iter).next();
        for source in &self.sources {
            let root = self.root(source)?;
            if first.is_none_or(|file| file.path().prefix_matches(&root)) {
                return Ok((source.table().name(), root));
            }
        }
        Err(unknown("a file is of no table".to_owned()))
    }

    fn root(&self, source: &Arc<dyn TableSource>) -> Result<StorePath> {
        let capture = source.capture(&Consistency::Eventual).map_err(external)?;
        store_path(&capture.root)
    }

    fn scan(
        &self,
        sent: &Files,
        context: &TaskContext,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut sources = self.sources.iter();
        let source = sources.find(|source| source.table().name() == sent.table);
        let source =
            source.ok_or_else(|| unknown(format!("there is no table `{}`", sent.table)))?;
        let root = self.root(source)?;
        let node = PhysicalPlanNode::decode(&*sent.scan);
        let node = node.map_err(|error| unknown(error.to_string()))?;
        let context = PhysicalPlanDecodeContext::new(context, self);
        let bare = converter.proto_to_execution_plan(&node, &context)?;
        let config = file_scan(&*bare)?;
        let parquet = config.file_source().downcast_ref::<ParquetSource>();
        let parquet = parquet.ok_or_else(|| unknown("a scan is of no Parquet files".to_owned()))?;
        let parquet = parquet
            .clone()
            .with_parquet_file_reader_factory(Arc::clone(&self.reader));
        let files: Vec<PartitionedFile> = sent
            .files
            .iter()
            .map(|file| read(file, &root))
            .collect::<Result<_>>()?;
        let group = |group: &Group| -> Result<FileGroup> {
            let piece = |piece: &Piece| {
                let file = files.get(piece.file as usize);
                let file = file.ok_or_else(|| unknown("a piece is of no file".to_owned()))?;
                let whole = (0, file.object_meta.size);
                Ok(match (piece.start, piece.end) {
                    range if range == whole => file.clone(),
                    (start, end) => file.clone().with_range(start as i64, end as i64),
                })
            };
            let pieces: Result<Vec<_>> = group.pieces.iter().map(piece).collect();
            Ok(FileGroup::new(pieces?))
        };
        let groups = sent.groups.iter().map(group).collect::<Result<_>>()?;
        let config = FileScanConfigBuilder::from(config.clone())
            .with_source(Arc::new(parquet))
            .with_file_groups(groups)
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }
}

fn file_scan(plan: &dyn ExecutionPlan) -> Result<&FileScanConfig> {
    plan.downcast_ref::<DataSourceExec>()
        .and_then(|scan| scan.data_source().downcast_ref::<FileScanConfig>())
        .ok_or_else(|| unknown(format!("{} is no scan of files", plan.name())))
}

fn told(piece: &PartitionedFile, root: &StorePath) -> Result<File> {
    let path = piece.path().as_ref();
    let below = path
        .strip_prefix(root.as_ref())
        .and_then(|path| path.strip_prefix('/'));
    let below = below.ok_or_else(|| unknown(format!("/{path} is not below /{root}")))?;
    let (tenant, day) = match piece.partition_values.as_slice() {
        [
            ScalarValue::Utf8View(Some(tenant)),
            ScalarValue::Date32(Some(day)),
        ] => (tenant.clone(), *day),
        _ => return Err(unknown(format!("/{path} has no partition"))),
    };
    Ok(File {
        path: below.to_owned(),
        size: piece.object_meta.size,
        tenant,
        day,
        sums: piece
            .extension::<Arc<BlockSums>>()
            .map(|sums| sums.to_text()),
    })
}

fn read(file: &File, root: &StorePath) -> Result<PartitionedFile> {
    let sums = file.sums.as_deref().map(|text| {
        let sums = BlockSums::from_text(text).map(Arc::new);
        sums.ok_or_else(|| unknown(format!("the checksums of {} are none", file.path)))
    });
    let file = DataFile {
        path: file.path.clone(),
        size: file.size,
        rows: 0,
        tenant: file.tenant.clone(),
        day: file.day,
        min_time: i64::MIN,
        max_time: i64::MAX,
        sums: sums.transpose()?,
    };
    partitioned(root, &file)
}

fn unknown(what: String) -> DataFusionError {
    DataFusionError::Internal(format!("a distributed plan: {what}"))
}
