use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::DataFusionError;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::{StreamExt, stream};
use otlake_base::{Code, Error};

use super::guard::GuardExec;
use super::trouble::{Told, Trouble, Troubles};
use crate::from_datafusion;

type Rows = fn(usize) -> Option<Result<RecordBatch, DataFusionError>>;

/// Gives what a function gives for each number.
#[derive(Debug)]
struct Source {
    rows: Rows,
    properties: Arc<PlanProperties>,
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]))
}

fn batch() -> RecordBatch {
    RecordBatch::try_new(schema(), vec![Arc::new(Int64Array::from(vec![1]))]).unwrap()
}

impl DisplayAs for Source {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Source")
    }
}

impl ExecutionPlan for Source {
    fn name(&self) -> &str {
        "Source"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> datafusion::common::Result<TreeNodeRecursion>,
    ) -> datafusion::common::Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
    ) -> datafusion::common::Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(
        &self,
        _: usize,
        _: Arc<TaskContext>,
    ) -> datafusion::common::Result<SendableRecordBatchStream> {
        let rows = self.rows;
        let rows = stream::unfold(0, move |number| async move {
            rows(number).map(|row| (row, number + 1))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema(), rows)))
    }
}

/// The rows that come, and what ends them.
async fn guarded(rows: Rows) -> (usize, Option<DataFusionError>) {
    let properties = PlanProperties::new(
        EquivalenceProperties::new(schema()),
        Partitioning::UnknownPartitioning(1),
        EmissionType::Incremental,
        Boundedness::Bounded,
    );
    let source = Source {
        rows,
        properties: Arc::new(properties),
    };
    let guard = GuardExec::new(Arc::new(source));
    let mut stream = guard.execute(0, Arc::default()).unwrap();
    let mut count = 0;
    loop {
        match stream.next().await {
            Some(Ok(batch)) => count += batch.num_rows(),
            Some(Err(error)) => {
                assert!(stream.next().await.is_none());
                return (count, Some(error));
            }
            None => return (count, None),
        }
    }
}

#[tokio::test]
async fn i3_a_task_that_panics_ends_with_an_error_and_not_as_if_it_were_done() {
    let (count, error) = guarded(|number| {
        assert!(number < 2, "a defect of an operator");
        Some(Ok(batch()))
    })
    .await;
    assert_eq!(count, 2);
    let told = Told::find(&error.unwrap()).unwrap();
    assert_eq!(told.error.code, Code::QueryFailed);
    assert!(told.error.message.contains("a defect of an operator"));
    let (count, error) = guarded(|number| (number < 3).then(|| Ok(batch()))).await;
    assert_eq!((count, error.is_none()), (3, true));
}

#[tokio::test]
async fn an_error_keeps_its_code_on_its_way_between_nodes() {
    let (_, error) = guarded(|_| {
        let damaged = Error::new(Code::TableCorrupt, "block 3 is not what was written");
        Some(Err(DataFusionError::External(Box::new(damaged))))
    })
    .await;
    // As the library sends it: the text alone, within what shares it.
    let text = match error.unwrap() {
        DataFusionError::External(inner) => inner.to_string(),
        other => panic!("{other}"),
    };
    let arrived = DataFusionError::Shared(Arc::new(DataFusionError::External(text.into())));
    let error = from_datafusion(&arrived);
    assert_eq!(error.code, Code::TableCorrupt);
    assert_eq!(error.message, "block 3 is not what was written");
    let (_, error) = guarded(|_| {
        let full = DataFusionError::ResourcesExhausted("no memory".to_owned());
        Some(Err(full))
    })
    .await;
    assert_eq!(from_datafusion(&error.unwrap()).code, Code::QueryMemory);
}

#[test]
fn the_loss_of_a_node_is_told_from_the_errors_of_a_query() {
    let (n2, n3) = (Arc::<str>::from("n2"), Arc::<str>::from("n3"));
    let broken = tonic::Status::unavailable("the connection broke");
    let lost = Told::from_worker(&n2, DataFusionError::External(Box::new(broken)));
    // A task of n3 has read of n2, and this node of n3.
    let arrived = match lost {
        DataFusionError::External(inner) => DataFusionError::External(inner.to_string().into()),
        other => panic!("{other}"),
    };
    let passed_on = Told::from_worker(&n3, DataFusionError::Shared(Arc::new(arrived)));
    let Trouble::Lost(nodes, error) = Troubles::default().judge(&passed_on) else {
        panic!("a node was lost");
    };
    assert_eq!(nodes.into_iter().collect::<Vec<_>>(), [n2]);
    assert_eq!(error.code, Code::QueryIncomplete);

    let unread = DataFusionError::Plan("what it was sent is no plan to it".to_owned());
    let unread = Told::from_worker(&n3, DataFusionError::Shared(Arc::new(unread)));
    let trouble = Troubles::default().judge(&unread);
    assert!(matches!(trouble, Trouble::Unfit(_)), "{trouble:?}");
    let machinery = DataFusionError::Execution("it waited for its plan".to_owned());
    let machinery = Told::from_worker(&n3, machinery);
    let trouble = Troubles::default().judge(&machinery);
    assert!(matches!(trouble, Trouble::Unfit(_)), "{trouble:?}");
    // What an attempt has lost beside its rows explains what comes of them.
    let troubles = Troubles::default();
    troubles.tell(&Told::lost(&n3, "it is gone").carried());
    let trouble = troubles.judge(&machinery);
    assert!(matches!(trouble, Trouble::Lost(..)), "{trouble:?}");

    let full = DataFusionError::ResourcesExhausted("no memory".to_owned());
    let trouble = Troubles::default().judge(&Told::from_worker(&n3, full));
    let Trouble::Ended(error) = trouble else {
        panic!("another attempt would end alike");
    };
    assert_eq!(error.code, Code::QueryMemory);
}
