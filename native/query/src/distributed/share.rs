//! A leaf's share for each task: of files by bytes, of live batches all for the first.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::common::Result;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig, FileScanConfigBuilder};
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use datafusion_distributed::{
    DesiredTaskCountEvent, DesiredTaskCountEventResponse, DesiredTaskCountHandler,
    DistributedLeafExec, RouteTasksEvent, RouteTasksEventResponse, RouteTasksHandler,
    ScaleUpLeafNodeEvent, ScaleUpLeafNodeEventResponse, ScaleUpLeafNodeHandler,
};
use url::Url;

use super::leaf::{Kept, TaskScan};
use super::limits::MIN_PIECE_BYTES;
use crate::progress::LiveSource;

/// What a leaf reads.
enum Leaf<'a> {
    Files(&'a FileScanConfig),
    Memory,
}

fn leaf(plan: &Arc<dyn ExecutionPlan>) -> Option<Leaf<'_>> {
    let source = plan.downcast_ref::<DataSourceExec>()?.data_source();
    match source.downcast_ref::<FileScanConfig>() {
        Some(files) => Some(Leaf::Files(files)),
        None if source.is::<LiveSource>() || source.is::<MemorySourceConfig>() => {
            Some(Leaf::Memory)
        }
        None => None,
    }
}

/// How many tasks a leaf is for.
pub(crate) struct Counts {
    pub(crate) workers: usize,
}

#[async_trait]
impl DesiredTaskCountHandler for Counts {
    async fn handle(
        &self,
        event: DesiredTaskCountEvent<'_>,
    ) -> Option<Result<DesiredTaskCountEventResponse>> {
        let leaf = leaf(event.plan)?;
        // What is above a single partition may count on it to be all rows: it stays in one task.
        if event.plan.output_partitioning().partition_count() < 2 {
            return Some(Ok(DesiredTaskCountEventResponse::maximum(1)));
        }
        let tasks = match leaf {
            Leaf::Files(_) => self.workers,
            // Rows in memory are all the first task's, however many tasks the stage has for others.
            Leaf::Memory => 1,
        };
        Some(Ok(DesiredTaskCountEventResponse::desired(tasks)))
    }
}

/// Gives each task its share.
pub(crate) struct Shares {
    pub(crate) kept: Arc<Kept>,
}

impl ScaleUpLeafNodeHandler for Shares {
    fn handle(&self, event: ScaleUpLeafNodeEvent) -> Option<Result<ScaleUpLeafNodeEventResponse>> {
        let (plan, tasks) = (event.plan, event.task_count);
        let partitions = plan.output_partitioning().partition_count();
        let shares = match leaf(plan)? {
            Leaf::Files(config) => of_files(config, tasks, partitions),
            Leaf::Memory => match self.of_memory(plan, tasks, partitions) {
                Ok(shares) => shares,
                Err(error) => return Some(Err(error)),
            },
        };
        let shared = DistributedLeafExec::try_new(Arc::clone(plan), shares);
        Some(shared.map(|shared| ScaleUpLeafNodeEventResponse::new(Arc::new(shared))))
    }
}

impl Shares {
    fn of_memory(
        &self,
        plan: &Arc<dyn ExecutionPlan>,
        tasks: usize,
        partitions: usize,
    ) -> Result<Vec<Arc<dyn ExecutionPlan>>> {
        let all = TaskScan::of_live(Arc::clone(plan), &self.kept);
        let mut shares: Vec<Arc<dyn ExecutionPlan>> = vec![Arc::new(all)];
        for _ in 1..tasks {
            let nothing = vec![Vec::new(); partitions];
            shares.push(MemorySourceConfig::try_new_exec(
                &nothing,
                plan.schema(),
                None,
            )?);
        }
        Ok(shares)
    }
}

fn of_files(
    config: &FileScanConfig,
    tasks: usize,
    partitions: usize,
) -> Vec<Arc<dyn ExecutionPlan>> {
    let statistics = config.statistics().to_inexact();
    let share = |groups| -> Arc<dyn ExecutionPlan> {
        let config = FileScanConfigBuilder::from(config.clone())
            .with_statistics(statistics.clone())
            .with_file_groups(groups);
        let scan = DataSourceExec::from_data_source(config.build());
        Arc::new(TaskScan::of_files(scan))
    };
    let shares = pieces(&config.file_groups, tasks, partitions);
    shares.into_iter().map(share).collect()
}

/// The files' pieces, in `partitions` groups for each of `tasks` tasks, about as many bytes in each.
/// Every byte of a file is in one piece, and every row group begins at one byte.
pub(crate) fn pieces(groups: &[FileGroup], tasks: usize, partitions: usize) -> Vec<Vec<FileGroup>> {
    let bins = (tasks * partitions).max(1);
    let files = || groups.iter().flat_map(FileGroup::iter);
    let total: u64 = files().map(PartitionedFile::effective_size).sum();
    let wanted = total.div_ceil(bins as u64).max(MIN_PIECE_BYTES);
    let mut pieces: Vec<PartitionedFile> = Vec::new();
    for file in files() {
        let (start, end) = file.range();
        let count = end.saturating_sub(start).div_ceil(wanted);
        if count <= 1 {
            pieces.push(file.clone());
            continue;
        }
        let cut = |number: u64| start + (end - start) * number / count;
        for number in 0..count {
            let (from, to) = (cut(number), cut(number + 1));
            pieces.push(file.clone().with_range(from as i64, to as i64));
        }
    }
    // The largest first, each to where least is; the same files give the same shares.
    pieces.sort_by(|a, b| {
        let size = b.effective_size().cmp(&a.effective_size());
        let place = || a.path().cmp(b.path()).then(a.range().cmp(&b.range()));
        size.then_with(place)
    });
    let mut filled: Vec<(u64, Vec<PartitionedFile>)> = vec![(0, Vec::new()); bins];
    for piece in pieces {
        let least = filled.iter_mut().min_by_key(|(bytes, _)| *bytes);
        if let Some((bytes, pieces)) = least {
            *bytes += piece.effective_size();
            pieces.push(piece);
        }
    }
    let mut shares: Vec<Vec<FileGroup>> = vec![Vec::new(); tasks.max(1)];
    for (bin, (_, pieces)) in filled.into_iter().enumerate() {
        shares[bin % tasks.max(1)].push(FileGroup::new(pieces));
    }
    shares
}

/// Who does which task: the first is the coordinator's own.
pub(crate) struct Routes {
    /// The coordinator's URL, and the others'.
    pub(crate) urls: Vec<Url>,
}

impl RouteTasksHandler for Routes {
    fn handle(&self, event: RouteTasksEvent) -> Option<Result<RouteTasksEventResponse>> {
        let urls = self.urls.iter().cycle().take(event.task_count);
        Some(Ok(RouteTasksEventResponse::new(urls.cloned().collect())))
    }
}
