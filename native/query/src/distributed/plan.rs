//! Whether a query is worth it, and its plan.

use std::sync::Arc;

use datafusion::common::display::{PlanType, StringifiedPlan};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result};
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::explain::ExplainExec;
use datafusion_distributed::{
    DistributedExec, DistributedExt, SessionStateBuilderExt, WorkerResolver, display_plan_ascii,
};
use http::HeaderMap;
use tokio::time::Instant;
use url::Url;

use super::Distribution;
use super::channels::{Resolver, url};
use super::guard::guarded;
use super::limits::{MAX_TASKS, TASK_BUFFER_BYTES};
use super::run::Query;
use super::share::{Counts, Routes, Shares};
use super::trouble::Troubles;
use super::worker::{MEMORY, TIMEOUT};
use crate::engine::yielding;

/// Partitions of a leaf at least, so that nothing above it takes its rows for all there are.
const MIN_PARTITIONS: usize = 2;

/// Told to tables by a session: what they plan is shared among nodes.
pub(crate) struct IsShared;

/// What the plans of a recursive query have: they run again and again, which stages cannot.
const RECURSIVE: [&str; 2] = ["RecursiveQueryExec", "WorkTableExec"];

/// Nodes that take part in a query.
pub(crate) struct Team {
    /// This node, and the others.
    pub(crate) names: Vec<Arc<str>>,
}

/// Bytes of the files that a plan scans; none where there is nothing to share.
fn scanned_bytes(plan: &Arc<dyn ExecutionPlan>) -> Option<u64> {
    let (mut bytes, mut scans, mut recursive) = (0, 0, false);
    let walked = plan.apply(|node| {
        recursive |= RECURSIVE.contains(&node.name());
        let source = node.downcast_ref::<DataSourceExec>();
        let files = source.and_then(|scan| scan.data_source().downcast_ref::<FileScanConfig>());
        if let Some(files) = files {
            scans += 1;
            let files = files.file_groups.iter().flat_map(FileGroup::iter);
            bytes += files.map(|file| file.effective_size()).sum::<u64>();
        }
        Ok(TreeNodeRecursion::Continue)
    });
    (walked.is_ok() && scans > 0 && !recursive).then_some(bytes)
}

impl Distribution {
    /// Whether a local plan is worth being distributed.
    pub(crate) fn is_worth(&self, local: &Arc<dyn ExecutionPlan>) -> bool {
        scanned_bytes(local).is_some_and(|bytes| bytes >= self.distribute_bytes)
    }

    /// This node and those of the others that a query can be shared with; none where this one is alone.
    pub(crate) fn team(&self, without: &std::collections::BTreeSet<Arc<str>>) -> Option<Team> {
        let mut others = self.workers.others();
        others.retain(|node| !without.contains(node) && self.channels.asks(node));
        others.sort_unstable();
        others.truncate(MAX_TASKS - 1);
        if others.is_empty() {
            return None;
        }
        let mut names = vec![self.workers.own()];
        names.extend(others);
        Some(Team { names })
    }

    /// The plan of a query for a team, and the session that it runs in; none where nothing of it can
    /// be shared.
    ///
    /// # Errors
    /// Those of planning.
    pub(crate) async fn plan(
        &self,
        query: &Query<'_>,
        team: &Team,
        troubles: &Arc<Troubles>,
    ) -> Result<Option<(Arc<dyn ExecutionPlan>, SessionState)>> {
        let state = self.session(query, team, troubles)?;
        let plan = state.create_physical_plan(query.logical).await?;
        if !plan.exists(|node| Ok(node.is::<DistributedExec>()))? {
            return Ok(None);
        }
        Ok(Some((guarded(yielding(plan)?)?, state)))
    }

    fn session(
        &self,
        query: &Query<'_>,
        team: &Team,
        troubles: &Arc<Troubles>,
    ) -> Result<SessionState> {
        let urls: Vec<Url> = team
            .names
            .iter()
            .map(|name| url(name))
            .collect::<Result<_>>()?;
        let config = query.state.config().clone();
        let partitions = config.target_partitions().max(MIN_PARTITIONS);
        let config = config
            .with_target_partitions(partitions)
            .with_extension(Arc::new(IsShared))
            .with_distributed_worker_resolver(Fixed(urls.clone()))
            .with_distributed_channel_resolver(Resolver {
                channels: Arc::clone(&self.channels),
                troubles: Some(Arc::clone(troubles)),
            })
            .with_distributed_user_codec_arc(Arc::clone(&self.codec) as _)
            .with_distributed_desired_task_count_handler(Counts {
                workers: urls.len(),
            })
            .with_distributed_scale_up_leaf_node_handler(Shares {
                kept: Arc::clone(&self.kept),
            })
            .with_distributed_route_tasks_handler(Routes { urls })
            // Each task has a share of each child; which ones is the leaves' to know.
            .with_distributed_children_isolator_unions(false)?
            // Every operator of every task takes as many rows at a time as they do here.
            .with_distributed_shuffle_batch_size(query.state.config().batch_size())?
            .with_distributed_worker_connection_buffer_budget_bytes(TASK_BUFFER_BYTES)?
            .with_distributed_passthrough_headers(headers(query))?;
        Ok(SessionStateBuilder::new_from_existing(query.state.clone())
            .with_config(config)
            .with_distributed_planner()
            .build())
    }

    /// An `EXPLAIN` with the plan that its statement would have over many nodes; none where that is
    /// the local one.
    ///
    /// # Errors
    /// Those of planning.
    pub(crate) async fn explained(
        &self,
        query: &Query<'_>,
        local: &Arc<dyn ExecutionPlan>,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let (LogicalPlan::Explain(statement), Some(told)) =
            (query.logical, local.downcast_ref::<ExplainExec>())
        else {
            return Ok(None);
        };
        let Some(team) = self.team(&Default::default()) else {
            return Ok(None);
        };
        let alone = query.state.create_physical_plan(&statement.plan).await?;
        if !self.is_worth(&alone) {
            return Ok(None);
        }
        let query = Query {
            logical: &statement.plan,
            ..*query
        };
        let Some((plan, _)) = self.plan(&query, &team, &Arc::default()).await? else {
            return Ok(None);
        };
        let shown = display_plan_ascii(&*plan, false);
        let plans = told.stringified_plans().iter().map(|each| {
            match each.plan_type == PlanType::FinalPhysicalPlan {
                true => StringifiedPlan::new(PlanType::FinalPhysicalPlan, shown.clone()),
                false => each.clone(),
            }
        });
        let explained = ExplainExec::new(told.schema(), plans.collect(), told.verbose());
        Ok(Some(Arc::new(explained)))
    }
}

/// What every task of a query is told beside its plan.
fn headers(query: &Query<'_>) -> HeaderMap {
    let left = query.deadline.saturating_duration_since(Instant::now());
    let mut headers = HeaderMap::new();
    let left = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
    headers.insert(TIMEOUT, left.into());
    if let Some(bytes) = query.memory_bytes {
        headers.insert(MEMORY, bytes.into());
    }
    headers
}

/// The team of a query, which does not change while it runs.
struct Fixed(Vec<Url>);

impl WorkerResolver for Fixed {
    fn get_urls(&self) -> Result<Vec<Url>, DataFusionError> {
        Ok(self.0.clone())
    }
}
