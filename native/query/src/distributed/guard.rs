//! The head of a stage's task. What ends the task early ends the query: its errors go with their
//! codes, a panic is one, and so is the deadline. Without it a panic of a task would end the task's rows
//! as if those had been all, because the library drives them in a task of its own.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result, Statistics};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::CardinalityEffect;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties,
    ReplaceChildrenOptions, StatisticsArgs,
};
use datafusion_distributed::{BroadcastExec, NetworkBoundaryExt};
use futures::Stream;
use otlake_base::{Code, Error};
use tokio::time::{Sleep, sleep_until};

use super::trouble::Told;
use super::worker::Task;
use crate::error::from_datafusion;

/// The head of a stage's task.
#[derive(Debug)]
pub(crate) struct GuardExec {
    input: Arc<dyn ExecutionPlan>,
}

impl GuardExec {
    pub(crate) fn new(input: Arc<dyn ExecutionPlan>) -> GuardExec {
        GuardExec { input }
    }
}

/// Puts a guard at the head of each stage; below what spreads a stage's rows, which the library puts
/// there anew, and which tells its own panics.
pub(crate) fn guarded(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let guarded = plan.transform_up(|node| {
        let head = match node.children().as_slice() {
            [head] if node.is_network_boundary() => Arc::clone(head),
            _ => return Ok(Transformed::no(node)),
        };
        let spreads = head.is::<RepartitionExec>() || head.is::<BroadcastExec>();
        let head = match (spreads, head.children().as_slice()) {
            (true, [rows]) => {
                let rows: Arc<dyn ExecutionPlan> = Arc::new(GuardExec::new(Arc::clone(rows)));
                head.replace_children(vec![rows], anew())?
            }
            _ => Arc::new(GuardExec::new(head)),
        };
        Ok(Transformed::yes(node.replace_children(vec![head], anew())?))
    })?;
    Ok(guarded.data)
}

/// What a node says of itself is made anew.
fn anew() -> ReplaceChildrenOptions {
    ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute)
}

impl DisplayAs for GuardExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GuardExec")
    }
}

impl ExecutionPlan for GuardExec {
    fn name(&self) -> &str {
        "GuardExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.is_empty()) {
            (Some(input), true) => Ok(Arc::new(GuardExec::new(input))),
            _ => Err(DataFusionError::Internal(
                "a guard has one input".to_owned(),
            )),
        }
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let task = context.session_config().get_extension::<Task>();
        let begin = || self.input.execute(partition, Arc::clone(&context));
        let rows =
            catch_unwind(AssertUnwindSafe(begin)).unwrap_or_else(|panic| Err(panicked(&*panic)));
        let rows = rows.map_err(|error| told(&error, task.as_deref()))?;
        Ok(Box::pin(Guarded {
            schema: rows.schema(),
            rows: Some(rows),
            deadline: task
                .as_ref()
                .map(|task| Box::pin(sleep_until(task.deadline))),
            task,
        }))
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        match inputs {
            [only] => Ok(Arc::clone(only)),
            _ => self.input.statistics_from_inputs(inputs, args),
        }
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }
}

fn panicked(panic: &(dyn Any + Send)) -> DataFusionError {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    let what = format!(
        "a task's execution panicked: {}",
        text.as_deref().unwrap_or("nothing more is known")
    );
    Told::of(Error::new(Code::QueryFailed, what)).carried()
}

/// An error with its code, and without which node the query may succeed: one that cannot read its
/// files.
fn told(error: &DataFusionError, task: Option<&Task>) -> DataFusionError {
    if let Some(told) = Told::find(error) {
        return told.carried();
    }
    let error = from_datafusion(error);
    let node = match error.code {
        Code::TableIo => task.map(|task| Arc::clone(&task.node)),
        _ => None,
    };
    Told { error, node }.carried()
}

/// Rows of a task.
struct Guarded {
    schema: SchemaRef,
    /// None once they are over.
    rows: Option<SendableRecordBatchStream>,
    deadline: Option<Pin<Box<Sleep>>>,
    task: Option<Arc<Task>>,
}

impl Stream for Guarded {
    type Item = Result<RecordBatch>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let Some(rows) = &mut this.rows else {
            return Poll::Ready(None);
        };
        let is_late = |deadline: &mut Pin<Box<Sleep>>| deadline.as_mut().poll(context).is_ready();
        if this.deadline.as_mut().is_some_and(is_late) {
            this.rows = None;
            let error = Error::new(Code::QueryTimeout, "the query's time was over in a task");
            return Poll::Ready(Some(Err(Told::of(error).carried())));
        }
        let polled = catch_unwind(AssertUnwindSafe(|| rows.as_mut().poll_next(context)));
        let polled = polled.unwrap_or_else(|panic| Poll::Ready(Some(Err(panicked(&*panic)))));
        if let Poll::Ready(None | Some(Err(_))) = &polled {
            this.rows = None;
        }
        polled.map(|next| next.map(|next| next.map_err(|error| told(&error, this.task.as_deref()))))
    }
}

impl RecordBatchStream for Guarded {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}
