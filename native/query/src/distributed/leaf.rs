//! A leaf of one task, as it is sent to the node that does it; live batches that stay.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::metrics::MetricsSet;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, StatisticsArgs,
};
use parking_lot::Mutex;

/// Leaves of the coordinator's own tasks, which stay where they are: what is sent of one is its
/// number.
#[derive(Default)]
pub(crate) struct Kept {
    next: AtomicU64,
    plans: Mutex<HashMap<u64, Arc<dyn ExecutionPlan>>>,
}

impl Kept {
    /// Keeps a leaf as long as what this gives.
    pub(crate) fn keep(self: &Arc<Self>, plan: Arc<dyn ExecutionPlan>) -> Arc<KeptPlan> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.plans.lock().insert(number, plan);
        Arc::new(KeptPlan {
            number,
            kept: Arc::clone(self),
        })
    }

    /// The leaf with a number; none once its query is over.
    pub(crate) fn get(&self, number: u64) -> Option<Arc<dyn ExecutionPlan>> {
        self.plans.lock().get(&number).cloned()
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.plans.lock().len()
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kept")
    }
}

/// A leaf that is kept.
#[derive(Debug)]
pub(crate) struct KeptPlan {
    number: u64,
    kept: Arc<Kept>,
}

impl Drop for KeptPlan {
    fn drop(&mut self) {
        self.kept.plans.lock().remove(&self.number);
    }
}

/// A leaf of one task.
#[derive(Debug)]
pub(crate) struct TaskScan {
    scan: Arc<dyn ExecutionPlan>,
    /// Where the rows do not leave this node.
    kept: Option<Arc<KeptPlan>>,
}

impl TaskScan {
    /// A share of files.
    pub(crate) fn of_files(scan: Arc<dyn ExecutionPlan>) -> TaskScan {
        TaskScan { scan, kept: None }
    }

    /// Live rows.
    pub(crate) fn of_live(scan: Arc<dyn ExecutionPlan>, kept: &Arc<Kept>) -> TaskScan {
        let kept = Some(kept.keep(Arc::clone(&scan)));
        TaskScan { scan, kept }
    }

    pub(crate) fn scan(&self) -> &Arc<dyn ExecutionPlan> {
        &self.scan
    }

    /// The number by which its rows are found here.
    pub(crate) fn kept(&self) -> Option<u64> {
        self.kept.as_ref().map(|kept| kept.number)
    }
}

impl DisplayAs for TaskScan {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.scan.fmt_as(format, f)
    }
}

impl ExecutionPlan for TaskScan {
    fn name(&self) -> &str {
        "TaskScan"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.scan.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.scan.apply_expressions(f)
    }

    fn with_new_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        self.scan.execute(partition, context)
    }

    fn metrics(&self) -> Option<MetricsSet> {
        self.scan.metrics()
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        self.scan.statistics_from_inputs(inputs, args)
    }
}
