//! Flight SQL's commands.

use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::writer::IpcWriteOptions;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::server::{FlightSqlService, PeekableFlightDataStream};
use arrow_flight::sql::{
    ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest,
    ActionCreatePreparedStatementResult, CommandGetCatalogs, CommandGetCrossReference,
    CommandGetDbSchemas, CommandGetExportedKeys, CommandGetImportedKeys, CommandGetPrimaryKeys,
    CommandGetSqlInfo, CommandGetTableTypes, CommandGetTables, CommandGetXdbcTypeInfo,
    CommandPreparedStatementQuery, CommandPreparedStatementUpdate, CommandStatementIngest,
    CommandStatementQuery, CommandStatementUpdate, DoPutPreparedStatementResult, ProstMessageExt,
    SqlInfo, TicketStatementQuery,
};
use arrow_flight::{
    Action, FlightData, FlightDescriptor, FlightEndpoint, FlightInfo, HandshakeRequest,
    HandshakeResponse, IpcMessage, SchemaAsIpc, Ticket,
};
use datafusion::common::ScalarValue;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use otlake_base::{Clock, Code, Error};
use prost::Message;
use serde_json::{Value, json};
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use super::Token;
use super::access::{self, status};
use super::facts::{SQL_INFO, TYPES, keys_schema};
use super::kept::Kept;
use super::prepared::Statements;
use crate::engine::{CATALOG, QueryEngine, QueryRequest, SCHEMA, named};
use crate::pieces::pieces;
use crate::plain;
use crate::statement::Parameters;

const TABLE_TYPE: &str = "TABLE";
/// Rows of one message, at most.
const MESSAGE_ROWS: usize = 8192;
/// Bytes of their values, at most, unless a single row has more; clients take 4 MiB by default.
const MESSAGE_BYTES: usize = 2 * 1024 * 1024;
/// The schema that tells of the others.
const INFORMATION_SCHEMA: &str = "information_schema";

type Batches = Pin<Box<dyn Stream<Item = Result<RecordBatch, FlightError>> + Send>>;
type DoGet = Response<<Service as FlightService>::DoGetStream>;
type Answer<T> = Result<T, Status>;

/// Serves Flight SQL from an engine.
#[derive(Clone)]
pub(super) struct Service {
    engine: Arc<QueryEngine>,
    tokens: Arc<[Token]>,
    statements: Arc<Statements>,
}

impl Service {
    pub(super) fn new(
        engine: Arc<QueryEngine>,
        tokens: Vec<Token>,
        clock: Arc<dyn Clock>,
    ) -> otlake_base::Result<Self> {
        if let Some(error) = SQL_INFO.as_ref().err().or(TYPES.as_ref().err()) {
            return Err(Error::new(Code::Internal, error));
        }
        Ok(Self {
            engine,
            tokens: tokens.into(),
            statements: Arc::new(Statements::new(clock)),
        })
    }

    fn tenant(&self, metadata: &MetadataMap) -> Answer<Option<String>> {
        access::tenant(metadata, &self.tokens)
    }

    fn request(&self, sql: String, metadata: &MetadataMap) -> Answer<QueryRequest> {
        Ok(QueryRequest {
            sql,
            tenant: self.tenant(metadata)?,
            consistency: access::consistency(metadata)?,
            partial: access::partial(metadata),
            ..Default::default()
        })
    }

    async fn answer(&self, request: QueryRequest, values: Vec<ScalarValue>) -> Answer<DoGet> {
        let result = self
            .engine
            .run("flight", request, Parameters::Scalars(values))
            .await
            .map_err(|error| status(&error))?;
        let schema = plain::schema(&result.schema);
        let to = Arc::clone(&schema);
        let batches = result.stream.flat_map(move |batch| {
            let batches = match batch {
                Ok(batch) => pieces(&batch, MESSAGE_ROWS, MESSAGE_BYTES)
                    .iter()
                    .map(|piece| plain::batch(piece, &to).map_err(FlightError::from))
                    .collect(),
                Err(error) => vec![Err(FlightError::Tonic(Box::new(status(&error))))],
            };
            stream::iter(batches)
        });
        let data = encoded(schema, Box::pin(batches)).boxed();
        let mut response: DoGet = Response::new(Box::pin(Kept::new(data, self.engine.timeout())));
        let headers = response.metadata_mut();
        if let Ok(token) = result.session.to_string().parse() {
            headers.insert("otlake-session", token);
        }
        if !result.missing.is_empty()
            && let Ok(missing) = named(&result.missing).parse()
        {
            headers.insert("otlake-partial", missing);
        }
        Ok(response)
    }

    /// What `GetFlightInfo` says of a command that has its answer at hand.
    fn known(
        &self,
        command: &impl ProstMessageExt,
        schema: &Schema,
        request: Request<FlightDescriptor>,
    ) -> Answer<Response<FlightInfo>> {
        self.tenant(request.metadata())?;
        info(command, schema, request.into_inner())
    }

    fn one(&self, request: &Request<Ticket>, batch: Answer<RecordBatch>) -> Answer<DoGet> {
        self.tenant(request.metadata())?;
        let batch = batch?;
        Ok(send(batch.schema(), Box::pin(stream::iter([Ok(batch)]))))
    }

    fn tables(&self, command: CommandGetTables) -> Answer<RecordBatch> {
        let mut builder = command.into_builder();
        for source in self.engine.sources() {
            let schema = plain::schema(&source.schema());
            builder
                .append(CATALOG, SCHEMA, source.table().name(), TABLE_TYPE, &schema)
                .map_err(flight)?;
        }
        builder.build().map_err(flight)
    }
}

fn send(schema: SchemaRef, batches: Batches) -> DoGet {
    Response::new(Box::pin(encoded(schema, batches)))
}

fn encoded(
    schema: SchemaRef,
    batches: Batches,
) -> impl Stream<Item = Answer<FlightData>> + Send + 'static {
    FlightDataEncoderBuilder::new()
        .with_schema(schema)
        .build(batches)
        .map_err(flight)
}

fn info(
    command: &impl ProstMessageExt,
    schema: &Schema,
    descriptor: FlightDescriptor,
) -> Answer<Response<FlightInfo>> {
    let ticket = Ticket::new(command.as_any().encode_to_vec());
    let info = FlightInfo::new()
        .try_with_schema(schema)
        .map_err(arrow)?
        .with_endpoint(FlightEndpoint::new().with_ticket(ticket))
        .with_descriptor(descriptor);
    Ok(Response::new(info))
}

fn arrow(error: ArrowError) -> Status {
    Status::internal(error.to_string())
}

fn flight(error: FlightError) -> Status {
    match error {
        FlightError::Tonic(status) => *status,
        other => Status::internal(other.to_string()),
    }
}

fn read_only<T>() -> Answer<T> {
    Err(status(&Error::new(
        Code::QueryNotReadOnly,
        "the tables are written by OTLP alone",
    )))
}

fn ipc(schema: &Schema) -> Answer<bytes::Bytes> {
    let options = IpcWriteOptions::default();
    let IpcMessage(bytes) = SchemaAsIpc::new(schema, &options)
        .try_into()
        .map_err(arrow)?;
    Ok(bytes)
}

fn no_keys(pair: bool) -> Answer<RecordBatch> {
    Ok(RecordBatch::new_empty(Arc::new(keys_schema(pair))))
}

fn catalogs(command: CommandGetCatalogs) -> Answer<RecordBatch> {
    let mut builder = command.into_builder();
    builder.append(CATALOG);
    builder.build().map_err(flight)
}

fn schemas(command: CommandGetDbSchemas) -> Answer<RecordBatch> {
    let mut builder = command.into_builder();
    builder.append(CATALOG, SCHEMA);
    builder.append(CATALOG, INFORMATION_SCHEMA);
    builder.build().map_err(flight)
}

fn table_types(command: CommandGetTableTypes) -> Answer<RecordBatch> {
    let mut builder = command.into_builder();
    builder.append(TABLE_TYPE);
    builder.build().map_err(flight)
}

fn sql_info(command: CommandGetSqlInfo) -> Answer<RecordBatch> {
    let facts = SQL_INFO.as_ref().map_err(broken)?;
    command.into_builder(facts).build().map_err(flight)
}

fn types(command: CommandGetXdbcTypeInfo) -> Answer<RecordBatch> {
    let types = TYPES.as_ref().map_err(broken)?;
    command.into_builder(types).build().map_err(flight)
}

fn broken(error: &FlightError) -> Status {
    Status::internal(error.to_string())
}

/// Commands whose answer is one batch that is made at once. `async_trait` does not see into a
/// macro, hence what it would have written.
macro_rules! at_once {
    ($($info:ident, $get:ident, $command:ty, $batch:expr;)*) => {$(
        fn $info<'a, 'b>(
            &'a self,
            command: $command,
            request: Request<FlightDescriptor>,
        ) -> Pin<Box<dyn Future<Output = Answer<Response<FlightInfo>>> + Send + 'b>>
        where
            'a: 'b,
            Self: 'b,
        {
            let make: fn(&Service, $command) -> Answer<RecordBatch> = $batch;
            let answer = make(self, command.clone())
                .and_then(|batch| self.known(&command, &batch.schema(), request));
            Box::pin(ready(answer))
        }

        fn $get<'a, 'b>(
            &'a self,
            command: $command,
            request: Request<Ticket>,
        ) -> Pin<Box<dyn Future<Output = Answer<DoGet>> + Send + 'b>>
        where
            'a: 'b,
            Self: 'b,
        {
            let make: fn(&Service, $command) -> Answer<RecordBatch> = $batch;
            let answer = self.one(&request, make(self, command));
            Box::pin(ready(answer))
        }
    )*};
}

#[tonic::async_trait]
impl FlightSqlService for Service {
    type FlightService = Service;

    async fn do_handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Answer<Response<Pin<Box<dyn Stream<Item = Answer<HandshakeResponse>> + Send>>>> {
        self.tenant(request.metadata())?;
        // The token is what the caller sends from here on; there is no session.
        let token = access::token(request.metadata()).unwrap_or_default();
        let answer = HandshakeResponse {
            protocol_version: 0,
            payload: token.clone().into(),
        };
        let mut response: Response<Pin<Box<dyn Stream<Item = _> + Send>>> =
            Response::new(Box::pin(stream::iter([Ok(answer)])));
        if let Ok(value) = format!("Bearer {token}").parse() {
            response.metadata_mut().insert("authorization", value);
        }
        Ok(response)
    }

    async fn get_flight_info_statement(
        &self,
        query: CommandStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Answer<Response<FlightInfo>> {
        if query.transaction_id.is_some() {
            return Err(Status::unimplemented("there are no transactions"));
        }
        let metadata = request.metadata();
        let asked = self.request(query.query.clone(), metadata)?;
        let (schema, _) = self
            .engine
            .describe(&asked, None)
            .await
            .map_err(|error| status(&error))?;
        let text = |name: &str| metadata.get(name).and_then(|value| value.to_str().ok());
        let handle = json!({
            "sql": query.query,
            "consistency": text("otlake-consistency"),
            "session": text("otlake-session"),
            "partial": asked.partial,
        });
        let ticket = TicketStatementQuery {
            statement_handle: handle.to_string().into(),
        };
        info(&ticket, &plain::schema(&schema), request.into_inner())
    }

    async fn do_get_statement(
        &self,
        ticket: TicketStatementQuery,
        request: Request<Ticket>,
    ) -> Answer<DoGet> {
        let handle: Value = serde_json::from_slice(&ticket.statement_handle)
            .map_err(|_| Status::invalid_argument("the ticket is not of this server"))?;
        let text = |name: &str| handle.get(name).and_then(Value::as_str);
        let sql = text("sql").unwrap_or_default().to_owned();
        let mut asked = self.request(sql, request.metadata())?;
        asked.consistency = otlake_base::Consistency::parse(text("consistency"), text("session"))
            .map_err(|error| status(&error))?;
        asked.partial |= handle.get("partial").and_then(Value::as_bool) == Some(true);
        self.answer(asked, Vec::new()).await
    }

    async fn do_action_create_prepared_statement(
        &self,
        query: ActionCreatePreparedStatementRequest,
        request: Request<Action>,
    ) -> Answer<ActionCreatePreparedStatementResult> {
        if query.transaction_id.is_some() {
            return Err(Status::unimplemented("there are no transactions"));
        }
        let asked = self.request(query.query, request.metadata())?;
        let (schema, parameters) = self
            .engine
            .describe(&asked, None)
            .await
            .map_err(|error| status(&error))?;
        let parameters: Vec<Field> = parameters
            .into_iter()
            .enumerate()
            .map(|(index, field)| {
                let data_type = field.map_or(DataType::Null, |field| field.data_type().clone());
                Field::new(format!("${}", index + 1), data_type, true)
            })
            .collect();
        let parameters = plain::schema(&Arc::new(Schema::new(parameters)));
        let handle = self.statements.create(asked.sql, asked.tenant);
        Ok(ActionCreatePreparedStatementResult {
            prepared_statement_handle: handle.into(),
            dataset_schema: ipc(&plain::schema(&schema))?,
            parameter_schema: ipc(&parameters)?,
        })
    }

    async fn do_action_close_prepared_statement(
        &self,
        query: ActionClosePreparedStatementRequest,
        request: Request<Action>,
    ) -> Answer<()> {
        let tenant = self.tenant(request.metadata())?;
        self.statements
            .close(&query.prepared_statement_handle, &tenant);
        Ok(())
    }

    async fn do_put_prepared_statement_query(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<PeekableFlightDataStream>,
    ) -> Answer<DoPutPreparedStatementResult> {
        let tenant = self.tenant(request.metadata())?;
        let data = request.into_inner().map_err(FlightError::from);
        let mut batches = FlightRecordBatchStream::new_from_flight_data(data);
        let mut values = Vec::new();
        while let Some(batch) = batches.try_next().await.map_err(flight)? {
            if !values.is_empty() || batch.num_rows() > 1 {
                return Err(Status::invalid_argument(
                    "QUERY_PARAMETERS: a query takes one row of parameters",
                ));
            }
            if batch.num_rows() == 0 {
                continue;
            }
            for column in batch.columns() {
                let value = ScalarValue::try_from_array(column, 0)
                    .map_err(|error| Status::invalid_argument(error.to_string()))?;
                values.push(value);
            }
        }
        let handle = query.prepared_statement_handle;
        self.statements
            .with(&handle, &tenant, |statement| statement.parameters = values)?;
        Ok(DoPutPreparedStatementResult {
            prepared_statement_handle: Some(handle),
        })
    }

    async fn get_flight_info_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Answer<Response<FlightInfo>> {
        let tenant = self.tenant(request.metadata())?;
        let (sql, values) =
            self.statements
                .with(&query.prepared_statement_handle, &tenant, |statement| {
                    (statement.sql.clone(), statement.parameters.clone())
                })?;
        let asked = self.request(sql, request.metadata())?;
        let bound = (!values.is_empty()).then_some(values);
        let (schema, _) = self
            .engine
            .describe(&asked, bound)
            .await
            .map_err(|error| status(&error))?;
        info(&query, &plain::schema(&schema), request.into_inner())
    }

    async fn do_get_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<Ticket>,
    ) -> Answer<DoGet> {
        let tenant = self.tenant(request.metadata())?;
        let (sql, values) =
            self.statements
                .with(&query.prepared_statement_handle, &tenant, |statement| {
                    (statement.sql.clone(), statement.parameters.clone())
                })?;
        let asked = self.request(sql, request.metadata())?;
        self.answer(asked, values).await
    }

    at_once! {
        get_flight_info_catalogs, do_get_catalogs, CommandGetCatalogs, |_, c| catalogs(c);
        get_flight_info_schemas, do_get_schemas, CommandGetDbSchemas, |_, c| schemas(c);
        get_flight_info_tables, do_get_tables, CommandGetTables, |s, c| s.tables(c);
        get_flight_info_table_types, do_get_table_types, CommandGetTableTypes, |_, c| table_types(c);
        get_flight_info_sql_info, do_get_sql_info, CommandGetSqlInfo, |_, c| sql_info(c);
        get_flight_info_xdbc_type_info, do_get_xdbc_type_info, CommandGetXdbcTypeInfo, |_, c| types(c);
        get_flight_info_primary_keys, do_get_primary_keys, CommandGetPrimaryKeys, |_, _| no_keys(false);
        get_flight_info_exported_keys, do_get_exported_keys, CommandGetExportedKeys, |_, _| no_keys(true);
        get_flight_info_imported_keys, do_get_imported_keys, CommandGetImportedKeys, |_, _| no_keys(true);
        get_flight_info_cross_reference, do_get_cross_reference, CommandGetCrossReference, |_, _| no_keys(true);
    }

    async fn do_put_statement_update(
        &self,
        _command: CommandStatementUpdate,
        _request: Request<PeekableFlightDataStream>,
    ) -> Answer<i64> {
        read_only()
    }

    async fn do_put_statement_ingest(
        &self,
        _command: CommandStatementIngest,
        _request: Request<PeekableFlightDataStream>,
    ) -> Answer<i64> {
        read_only()
    }

    async fn do_put_prepared_statement_update(
        &self,
        _command: CommandPreparedStatementUpdate,
        _request: Request<PeekableFlightDataStream>,
    ) -> Answer<i64> {
        read_only()
    }

    async fn register_sql_info(&self, _id: i32, _result: &SqlInfo) {}
}
