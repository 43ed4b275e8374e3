//! Live batches as they are read.

use std::fmt::Formatter;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::source::{DataSource, DataSourceExec};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_expr::{EquivalenceProperties, LexOrdering, PhysicalExpr};
use datafusion::physical_plan::execution_plan::SchedulingType;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayFormatType, Partitioning};
use futures::TryStreamExt;

/// Batches in memory, and how many of their rows were handed on.
#[derive(Clone, Debug)]
pub(crate) struct LiveSource {
    batches: MemorySourceConfig,
    /// One for all that the planner makes of it.
    read: Arc<AtomicU64>,
}

impl LiveSource {
    /// A scan of the batches of each partition.
    ///
    /// # Errors
    /// Those of a projection that does not fit.
    pub(crate) fn scan(
        partitions: &[Vec<RecordBatch>],
        schema: SchemaRef,
        projection: Option<Vec<usize>>,
    ) -> Result<Arc<DataSourceExec>> {
        let batches = MemorySourceConfig::try_new(partitions, schema, projection)?;
        Ok(DataSourceExec::from_data_source(LiveSource {
            batches,
            read: Arc::default(),
        }))
    }

    /// All rows.
    pub(crate) fn rows(&self) -> u64 {
        let batches = self.batches.partitions().iter().flatten();
        batches.map(|batch| batch.num_rows() as u64).sum()
    }

    /// Those that were handed on.
    pub(crate) fn read(&self) -> &Arc<AtomicU64> {
        &self.read
    }

    /// What the planner has made of the batches, counted as before.
    fn counted(&self, source: Arc<dyn DataSource>) -> Arc<dyn DataSource> {
        match source.downcast_ref::<MemorySourceConfig>() {
            Some(batches) => Arc::new(LiveSource {
                batches: batches.clone(),
                read: Arc::clone(&self.read),
            }),
            None => source,
        }
    }
}

impl DataSource for LiveSource {
    fn open(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let rows = self.batches.open(partition, context)?;
        let (schema, read) = (rows.schema(), Arc::clone(&self.read));
        let counted = rows.inspect_ok(move |batch| {
            read.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, counted)))
    }

    fn fmt_as(&self, format: DisplayFormatType, f: &mut Formatter<'_>) -> std::fmt::Result {
        self.batches.fmt_as(format, f)
    }

    fn repartitioned(
        &self,
        partitions: usize,
        least_bytes: usize,
        ordering: Option<LexOrdering>,
    ) -> Result<Option<Arc<dyn DataSource>>> {
        let other = self
            .batches
            .repartitioned(partitions, least_bytes, ordering)?;
        Ok(other.map(|other| self.counted(other)))
    }

    fn output_partitioning(&self) -> Partitioning {
        self.batches.output_partitioning()
    }

    fn eq_properties(&self) -> EquivalenceProperties {
        self.batches.eq_properties()
    }

    fn scheduling_type(&self) -> SchedulingType {
        self.batches.scheduling_type()
    }

    fn partition_statistics(&self, partition: Option<usize>) -> Result<Arc<Statistics>> {
        self.batches.partition_statistics(partition)
    }

    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn DataSource>> {
        let other = self.batches.with_fetch(limit)?;
        Some(self.counted(other))
    }

    fn fetch(&self) -> Option<usize> {
        self.batches.fetch()
    }

    fn try_swapping_with_projection(
        &self,
        projection: &ProjectionExprs,
    ) -> Result<Option<Arc<dyn DataSource>>> {
        let other = self.batches.try_swapping_with_projection(projection)?;
        Ok(other.map(|other| self.counted(other)))
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.batches.apply_expressions(f)
    }
}
