//! The operator, and which aggregations it takes the place of.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt32Type};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result, Statistics};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode, PhysicalGroupBy};
use datafusion::physical_plan::execution_plan::CardinalityEffect;
use datafusion::physical_plan::metrics::MetricsSet;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, InputOrderMode,
    PlanProperties, ReplaceChildrenOptions, StatisticsArgs,
};
use futures::{StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;

use super::codes::Codes;

/// The name of the column of numbers; nothing finds it by that.
const CODE: &str = "group";

/// The plan, with what it groups by texts grouped by numbers of them first.
pub(crate) fn by_codes(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let coded = plan.transform_up(|node| {
        let Some(aggregate) = node.downcast_ref::<AggregateExec>() else {
            return Ok(Transformed::no(node));
        };
        Ok(match CodedAggregateExec::of(aggregate) {
            Some(coded) => Transformed::yes(Arc::new(coded) as Arc<dyn ExecutionPlan>),
            None => Transformed::no(node),
        })
    })?;
    Ok(coded.data)
}

/// A partial aggregation whose groups are texts, at least in part.
#[derive(Clone)]
pub(super) struct CodedAggregateExec {
    /// It as it was.
    plain: Arc<AggregateExec>,
    /// Which of the group's expressions are texts, and the columns that they are in.
    texts: Vec<(usize, usize)>,
    /// What has been run of it.
    ran: Arc<Mutex<Vec<Arc<AggregateExec>>>>,
}

impl CodedAggregateExec {
    /// None where it can only be done as it is.
    fn of(aggregate: &AggregateExec) -> Option<CodedAggregateExec> {
        let groups = aggregate.group_expr();
        let is_plain = *aggregate.mode() == AggregateMode::Partial
            && groups.is_single()
            && !groups.has_grouping_set()
            && aggregate.limit_options().is_none()
            && aggregate.dynamic_expressions_produced().is_empty()
            && *aggregate.input_order_mode() == InputOrderMode::Linear
            && aggregate
                .required_input_ordering()
                .iter()
                .all(Option::is_none);
        let schema = aggregate.input().schema();
        let text = |(place, (expr, _)): (usize, &(Arc<dyn PhysicalExpr>, String))| {
            let column = expr.downcast_ref::<Column>()?.index();
            let is_text = schema.field(column).data_type() == &DataType::Utf8View;
            is_text.then_some((place, column))
        };
        let texts: Vec<_> = groups.expr().iter().enumerate().filter_map(text).collect();
        (is_plain && !texts.is_empty()).then(|| CodedAggregateExec {
            plain: Arc::new(aggregate.clone()),
            texts,
            ran: Arc::default(),
        })
    }

    fn is_text(&self, place: usize) -> bool {
        self.texts.iter().any(|(text, _)| *text == place)
    }

    /// The same aggregation of other rows; by number, if they have one behind their columns.
    fn over(&self, rows: Taken) -> Result<Arc<AggregateExec>> {
        let schema = Arc::clone(&rows.schema);
        let group = self.plain.group_expr();
        let group = match &rows.numbered {
            None => group.clone(),
            Some(_) => {
                let code = schema.fields().len() - 1;
                let code: Arc<dyn PhysicalExpr> = Arc::new(Column::new(CODE, code));
                let others = group.expr().iter().enumerate();
                let others = others.filter(|(place, _)| !self.is_text(*place));
                let others = others.map(|(_, expr)| expr.clone());
                let exprs = [(code, CODE.to_owned())].into_iter().chain(others);
                PhysicalGroupBy::new_single(exprs.collect())
            }
        };
        let rows: Vec<Arc<dyn PartitionStream>> = vec![Arc::new(rows)];
        let input = StreamingTableExec::try_new(Arc::clone(&schema), rows, None, [], false, None)?;
        let aggregate = Arc::new(AggregateExec::try_new(
            AggregateMode::Partial,
            group,
            self.plain.aggr_expr().to_vec(),
            self.plain.filter_expr().to_vec(),
            Arc::new(input),
            schema,
        )?);
        self.ran.lock().push(Arc::clone(&aggregate));
        Ok(aggregate)
    }

    /// Groups by number as groups by text.
    fn decoded(&self, batch: &RecordBatch, codes: &Codes) -> Result<RecordBatch> {
        let numbers = batch.column(0).as_primitive::<UInt32Type>();
        let mut texts = codes.texts(numbers.values()).into_iter();
        let mut others = batch.columns()[1..].iter().cloned();
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.schema().fields().len());
        for place in 0..self.plain.group_expr().expr().len() {
            match self.is_text(place) {
                true => columns.extend(texts.next().map(|texts| Arc::new(texts) as ArrayRef)),
                false => columns.extend(others.next()),
            }
        }
        columns.extend(others);
        Ok(RecordBatch::try_new(self.schema(), columns)?)
    }
}

/// What is left of the rows.
struct Rows {
    rows: SendableRecordBatchStream,
    /// A batch that was read and has no numbers.
    next: Option<RecordBatch>,
}

/// Numbers, which rows get and groups are told by.
type Shared = Arc<Mutex<Codes>>;
/// Where rows wait for what takes them next.
type Slot = Arc<Mutex<Option<Rows>>>;

/// The rows as one of two operators takes them.
struct Taken {
    schema: SchemaRef,
    slot: Slot,
    /// With numbers of these columns behind the others, as long as there are any.
    numbered: Option<(Vec<usize>, Shared)>,
}

impl fmt::Debug for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Taken")
    }
}

impl PartitionStream for Taken {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let schema = Arc::clone(&self.schema);
        let rows = match (self.slot.lock().take(), &self.numbered) {
            (None, _) => stream::once(async { Err(twice()) }).boxed(),
            (Some(rows), None) => stream::iter(rows.next.map(Ok)).chain(rows.rows).boxed(),
            (Some(rows), Some((columns, codes))) => {
                let numbering = Numbering {
                    schema: Arc::clone(&schema),
                    columns: columns.clone(),
                    codes: Arc::clone(codes),
                    slot: Arc::clone(&self.slot),
                };
                stream::try_unfold(rows, move |rows| {
                    let numbering = numbering.clone();
                    async move { numbering.next(rows).await }
                })
                .boxed()
            }
        };
        Box::pin(RecordBatchStreamAdapter::new(schema, rows))
    }
}

/// What gives rows numbers.
#[derive(Clone)]
struct Numbering {
    schema: SchemaRef,
    columns: Vec<usize>,
    codes: Shared,
    slot: Slot,
}

impl Numbering {
    /// A batch with its numbers; none at the end, or where there are none for the next batch: then the rows
    /// that are left are in the slot.
    async fn next(self, mut rows: Rows) -> Result<Option<(RecordBatch, Rows)>> {
        let Some(batch) = rows.rows.try_next().await? else {
            return Ok(None);
        };
        let texts = self.columns.iter();
        let texts: Vec<_> = texts
            .map(|column| batch.column(*column).as_string_view())
            .collect();
        let numbers = self.codes.lock().number(&texts);
        let Ok(numbers) = numbers else {
            rows.next = Some(batch);
            *self.slot.lock() = Some(rows);
            return Ok(None);
        };
        let numbers: ArrayRef = Arc::new(UInt32Array::from(numbers));
        let columns = batch.columns().iter().cloned().chain([numbers]);
        let batch = RecordBatch::try_new(self.schema, columns.collect())?;
        Ok(Some((batch, rows)))
    }
}

fn twice() -> DataFusionError {
    DataFusionError::Internal("rows of groups are taken once".to_owned())
}

impl fmt::Debug for CodedAggregateExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.plain, f)
    }
}

impl DisplayAs for CodedAggregateExec {
    fn fmt_as(&self, form: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if matches!(
            form,
            DisplayFormatType::Default | DisplayFormatType::Verbose
        ) {
            f.write_str("Coded")?;
        }
        self.plain.fmt_as(form, f)
    }
}

impl ExecutionPlan for CodedAggregateExec {
    fn name(&self) -> &str {
        "CodedAggregateExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.plain.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.plain.children()
    }

    fn apply_expressions(
        &self,
        visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.plain.apply_expressions(visit)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let anew = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        let plain = Arc::clone(&self.plain).replace_children(children, anew)?;
        let coded = plain.downcast_ref().and_then(CodedAggregateExec::of);
        Ok(coded.map_or(plain, |coded| Arc::new(coded)))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let memory = MemoryConsumer::new("GroupCodes").register(context.memory_pool());
        let codes: Shared = Arc::new(Mutex::new(Codes::new(self.texts.len(), memory)));
        let rows = self
            .plain
            .input()
            .execute(partition, Arc::clone(&context))?;
        let schema = self.plain.input().schema();
        let mut fields: Vec<_> = schema.fields().iter().cloned().collect();
        fields.push(Arc::new(Field::new(CODE, DataType::UInt32, false)));
        let slot: Slot = Arc::new(Mutex::new(Some(Rows { rows, next: None })));
        let columns = self.texts.iter().map(|(_, column)| *column);
        let numbered = Taken {
            schema: Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone())),
            slot: Arc::clone(&slot),
            numbered: Some((columns.collect(), Arc::clone(&codes))),
        };
        let coded = self.over(numbered)?.execute(0, Arc::clone(&context))?;
        let this = self.clone();
        let coded = coded.map(move |batch| this.decoded(&batch?, &codes.lock()));
        let this = self.clone();
        let rest = stream::once(async move {
            let is_over = slot.lock().is_none();
            if is_over {
                return Ok(stream::empty().boxed());
            }
            let rest = Taken {
                schema,
                slot,
                numbered: None,
            };
            Ok::<_, DataFusionError>(this.over(rest)?.execute(0, context)?.boxed())
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            self.schema(),
            coded.chain(rest.try_flatten()),
        )))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        let mut all = MetricsSet::new();
        for ran in &*self.ran.lock() {
            for metric in ran.metrics().iter().flat_map(MetricsSet::iter) {
                all.push(Arc::clone(metric));
            }
        }
        Some(all)
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        arguments: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        self.plain.statistics_from_inputs(inputs, arguments)
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        self.plain.cardinality_effect()
    }
}
