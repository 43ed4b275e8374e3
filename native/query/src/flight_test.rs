use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use arrow_flight::FlightInfo;
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::sql::{CommandGetDbSchemas, CommandGetTables, CommandGetXdbcTypeInfo, SqlInfo};
use futures::TryStreamExt;
use otlake_base::SystemClock;
use ring::digest::{SHA256, digest};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};

use crate::flight::Bounds;
use crate::sample_test::lake;
use crate::{FlightConfig, FlightServer, Token};

/// How long what a test waits for may take beside others.
const PATIENCE: Duration = Duration::from_secs(60);

type Client = FlightSqlServiceClient<Channel>;

async fn server(folder: &TempDir, tokens: Vec<Token>) -> (FlightServer, Client) {
    let config = FlightConfig {
        address: ([127, 0, 0, 1], 0).into(),
        tokens,
    };
    let server = FlightServer::start(config, lake(folder), Arc::new(SystemClock))
        .await
        .unwrap();
    let endpoint = Endpoint::from_shared(format!("http://{}", server.addr())).unwrap();
    let client = FlightSqlServiceClient::new(endpoint.connect().await.unwrap());
    (server, client)
}

async fn fetch(client: &mut Client, info: FlightInfo) -> Vec<RecordBatch> {
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let stream = client.do_get(ticket).await.unwrap();
    stream.try_collect().await.unwrap()
}

fn rows(batches: &[RecordBatch]) -> usize {
    batches.iter().map(RecordBatch::num_rows).sum()
}

fn tokens() -> Vec<Token> {
    let hash = digest(&SHA256, b"secret");
    vec![Token {
        sha256: hash.as_ref().try_into().unwrap(),
        tenant: "b".to_owned(),
    }]
}

#[tokio::test]
async fn answers_statements_in_plain_types() {
    let folder = TempDir::new().unwrap();
    let (server, mut client) = server(&folder, Vec::new()).await;
    client.set_header("x-scope-orgid", "a");
    let info = client
        .execute("SELECT * FROM spans".to_owned(), None)
        .await
        .unwrap();
    let batches = fetch(&mut client, info).await;
    assert_eq!(rows(&batches), 60);
    assert_eq!(batches[0]["name"].data_type(), &DataType::Utf8);
    client.set_header("otlake-consistency", "eventual");
    let info = client
        .execute("SELECT name FROM spans".to_owned(), None)
        .await
        .unwrap();
    assert_eq!(rows(&fetch(&mut client, info).await), 50);
    server.stop(Duration::from_millis(100)).await;
}

#[tokio::test]
async fn runs_prepared_statements_with_parameters() {
    let folder = TempDir::new().unwrap();
    let (_server, mut client) = server(&folder, Vec::new()).await;
    let sql = "SELECT count(*) FROM spans WHERE tenant = $1";
    let mut prepared = client.prepare(sql.to_owned(), None).await.unwrap();
    assert_eq!(prepared.parameter_schema().unwrap().fields().len(), 1);
    for (tenant, count) in [("a", 60), ("b", 12)] {
        let schema = Arc::new(Schema::new(vec![Field::new("$1", DataType::Utf8, true)]));
        let values = RecordBatch::try_new(schema, vec![Arc::new(StringArray::from(vec![tenant]))]);
        prepared.set_parameters(values.unwrap()).unwrap();
        let info = prepared.execute().await.unwrap();
        let batches = fetch(&mut client, info).await;
        let found = batches[0].column(0).as_primitive::<Int64Type>().value(0);
        assert_eq!(found, count);
    }
    let info = prepared.execute().await.unwrap();
    prepared.close().await.unwrap();
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    assert!(client.do_get(ticket).await.is_err());
}

#[tokio::test]
async fn announces_the_columns_that_bound_values_give() {
    let folder = TempDir::new().unwrap();
    let (_server, mut client) = server(&folder, Vec::new()).await;
    let sql = "SELECT $1 AS given, name FROM spans LIMIT 1";
    let mut prepared = client.prepare(sql.to_owned(), None).await.unwrap();
    let schema = Arc::new(Schema::new(vec![Field::new("$1", DataType::Utf8, true)]));
    let values = RecordBatch::try_new(schema, vec![Arc::new(StringArray::from(vec!["tea"]))]);
    prepared.set_parameters(values.unwrap()).unwrap();
    let info = prepared.execute().await.unwrap();
    let announced = info.clone().try_decode_schema().unwrap();
    let batches = fetch(&mut client, info).await;
    assert_eq!(announced, *batches[0].schema());
    assert_eq!(batches[0]["given"].as_string::<i32>().value(0), "tea");
}

#[tokio::test]
async fn tells_of_its_tables() {
    let folder = TempDir::new().unwrap();
    let (_server, mut client) = server(&folder, Vec::new()).await;
    let info = client.get_catalogs().await.unwrap();
    let batches = fetch(&mut client, info).await;
    assert_eq!(batches[0].column(0).as_string::<i32>().value(0), "otlake");
    let info = client
        .get_db_schemas(CommandGetDbSchemas::default())
        .await
        .unwrap();
    assert_eq!(rows(&fetch(&mut client, info).await), 2);
    for include_schema in [false, true] {
        let command = CommandGetTables {
            catalog: Some("otlake".to_owned()),
            db_schema_filter_pattern: Some("public".to_owned()),
            include_schema,
            ..Default::default()
        };
        let info = client.get_tables(command).await.unwrap();
        let batches = fetch(&mut client, info).await;
        assert_eq!(
            batches[0]["table_name"].as_string::<i32>().value(0),
            "spans"
        );
        assert_eq!(batches[0].num_columns(), 4 + usize::from(include_schema));
    }
    let info = client.get_table_types().await.unwrap();
    assert_eq!(rows(&fetch(&mut client, info).await), 1);
    let info = client
        .get_sql_info(vec![SqlInfo::FlightSqlServerName])
        .await
        .unwrap();
    assert_eq!(rows(&fetch(&mut client, info).await), 1);
    let info = client
        .get_xdbc_type_info(CommandGetXdbcTypeInfo::default())
        .await
        .unwrap();
    assert_eq!(rows(&fetch(&mut client, info).await), 8);
    let info = client.get_primary_keys(Default::default()).await.unwrap();
    assert_eq!(rows(&fetch(&mut client, info).await), 0);
}

#[tokio::test]
async fn lets_in_whom_it_knows_and_shows_them_their_own() {
    let folder = TempDir::new().unwrap();
    let (_server, mut client) = server(&folder, tokens()).await;
    client.set_header("x-scope-orgid", "a");
    let sql = "SELECT name FROM spans";
    let error = client.execute(sql.to_owned(), None).await.unwrap_err();
    assert!(
        error.to_string().contains("OTLP_UNAUTHENTICATED"),
        "{error}"
    );
    assert!(client.get_catalogs().await.is_err());
    assert!(client.handshake("any", "wrong").await.is_err());
    client.handshake("any", "secret").await.unwrap();
    let info = client.execute(sql.to_owned(), None).await.unwrap();
    assert_eq!(rows(&fetch(&mut client, info).await), 12);
}

#[tokio::test]
async fn refuses_writes_and_wrong_statements_with_a_code() {
    let folder = TempDir::new().unwrap();
    let (_server, mut client) = server(&folder, Vec::new()).await;
    let sql = "DELETE FROM spans".to_owned();
    let error = client.execute_update(sql.clone(), None).await.unwrap_err();
    assert!(error.to_string().contains("QUERY_NOT_READ_ONLY"), "{error}");
    let error = client.execute(sql, None).await.unwrap_err();
    assert!(error.to_string().contains("QUERY_NOT_READ_ONLY"), "{error}");
    let error = client
        .execute("SELECT x".to_owned(), None)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("QUERY_INVALID"), "{error}");
}

#[tokio::test]
async fn i5_connections_are_bounded_and_silent_ones_are_closed() {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let folder = TempDir::new().unwrap();
    let config = FlightConfig {
        address: ([127, 0, 0, 1], 0).into(),
        tokens: Vec::new(),
    };
    let bounds = Bounds {
        connections: 3,
        handshake: Duration::from_secs(2),
    };
    let server =
        FlightServer::start_with(config, lake(&folder), Arc::new(SystemClock), bounds).await;
    let server = server.unwrap();
    let closed = async |mut stream: TcpStream| {
        let mut all = Vec::new();
        let read = timeout(PATIENCE, stream.read_to_end(&mut all)).await;
        // Reset or ended: either way it is closed.
        drop(read.expect("the server closes the connection"));
    };
    let connect = async |first: &[u8]| {
        let mut stream = TcpStream::connect(server.addr()).await.unwrap();
        stream.write_all(first).await.unwrap();
        stream
    };
    let mut kept = Vec::new();
    for first in [&b""[..], b"PRI", PREFACE] {
        kept.push(connect(first).await);
    }
    let beyond = TcpStream::connect(server.addr()).await.unwrap();
    closed(beyond).await;
    for stream in kept {
        closed(stream).await;
    }
    // Their places are free, as soon as the server has seen their ends, and a client that greets keeps
    // its own.
    let endpoint = Endpoint::from_shared(format!("http://{}", server.addr())).unwrap();
    let greeted = timeout(PATIENCE, async {
        loop {
            if let Ok(channel) = endpoint.connect().await {
                let mut client = FlightSqlServiceClient::new(channel);
                if client.get_catalogs().await.is_ok() {
                    break client;
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let mut client = greeted.await.expect("a place is free");
    tokio::time::sleep(2 * bounds.handshake).await;
    assert!(client.get_catalogs().await.is_ok());
}
