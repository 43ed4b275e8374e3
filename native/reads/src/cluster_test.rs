use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use otlake_base::{Code, Consistency, Position, Session, StreamId, Table};
use otlake_query::{TraceEncoding, TraceForm};

use crate::testing::{EPOCH, Health, Node, Nodes, batches, numbers, once, session};
use crate::{Followed, StreamState};

const STRONG: Consistency = Consistency::Strong;

/// The first column of the first row.
async fn count(node: &Node, sql: &str) -> i64 {
    let batches = batches(node.query(sql, STRONG).await.unwrap()).await;
    batches[0].column(0).as_primitive::<Int64Type>().value(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i7_a_strong_read_at_any_node_sees_what_every_node_has_acknowledged_once() {
    let nodes = Nodes::start(3).await;
    let mut written = 0;
    for round in 0..4 {
        for node in &nodes.nodes {
            node.ingest(written, 25).await;
            written += 25;
        }
        // Some of it is in files, and not every node knows of them yet.
        nodes[round % 3].processor.flush().await.unwrap();
        for node in &nodes.nodes {
            assert_eq!(node.numbers(STRONG).await.unwrap(), once(0..written));
            assert_eq!(
                count(node, "SELECT count(*) FROM spans").await,
                written as i64
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_statement_does_not_need_is_not_missed_in_its_answer() {
    let nodes = Nodes::start(2).await;
    nodes[0].ingest(0, 100).await;
    nodes[1].ingest(100, 100).await;
    nodes[1].ingest_of("other", 200, 10).await;
    let asker = &nodes[0];
    for (sql, expected) in [
        ("SELECT count(*) FROM spans".to_owned(), 210),
        (
            "SELECT count(*) FROM spans WHERE tenant = 'other'".to_owned(),
            10,
        ),
        ("SELECT count(DISTINCT name) FROM spans".to_owned(), 7),
        (
            format!(
                "SELECT count(*) FROM spans WHERE start_time_unix_nano >= {}",
                EPOCH + 150
            ),
            60,
        ),
        (
            format!(
                "SELECT count(*) FROM spans WHERE start_time_unix_nano BETWEEN {} AND {}",
                EPOCH + 95,
                EPOCH + 104
            ),
            10,
        ),
        (
            "SELECT count(*) FROM spans WHERE start_time >= '2026-01-01T00:00:00Z'".to_owned(),
            210,
        ),
        (
            format!("SELECT count(*) FROM spans WHERE trace_id = '{:032x}'", 12),
            10,
        ),
        // Two scans of one table, which want different rows and columns.
        (
            format!(
                "SELECT count(*) FROM (SELECT name FROM spans WHERE trace_id = '{:032x}') a JOIN \
                 (SELECT kind, start_time_unix_nano t FROM spans) b ON b.t = {}",
                12,
                EPOCH + 199
            ),
            10,
        ),
        (
            format!(
                "SELECT (SELECT count(*) FROM spans WHERE start_time_unix_nano < {}) + \
                 (SELECT count(*) FROM spans WHERE duration_ns = 1000)",
                EPOCH + 120
            ),
            330,
        ),
        (
            format!(
                "SELECT count(*) FROM spans WHERE span_id IN (SELECT span_id FROM spans WHERE \
                 start_time_unix_nano > {})",
                EPOCH + 189
            ),
            20,
        ),
    ] {
        assert_eq!(count(asker, &sql).await, expected, "{sql}");
    }
    let all = asker.query("SELECT * FROM spans", STRONG).await.unwrap();
    let rows: usize = batches(all)
        .await
        .iter()
        .map(|batch| batch.num_rows())
        .sum();
    assert_eq!(rows, 210);
    let asked = nodes.net.asked();
    count(asker, "SELECT count(*) FROM information_schema.tables").await;
    count(asker, "SELECT 1").await;
    assert_eq!(nodes.net.asked(), asked);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_is_found_whole_whichever_nodes_have_its_spans() {
    let nodes = Nodes::start(3).await;
    nodes[0].ingest(0, 4).await;
    nodes[1].ingest(4, 3).await;
    nodes[2].ingest(7, 3).await;
    nodes[2].processor.flush().await.unwrap();
    let id = 1_u128.to_be_bytes();
    for node in &nodes.nodes {
        let found = node
            .engine
            .trace(id, None, None, STRONG, false)
            .await
            .unwrap();
        let rows: usize = batches(found)
            .await
            .iter()
            .map(|batch| batch.num_rows())
            .sum();
        assert_eq!(rows, 10);
        // What was answered before is not known to be whole still.
        let form = TraceForm {
            trace_id: id,
            tenant: None,
            times: None,
            encoding: TraceEncoding::Json,
        };
        assert_eq!(node.engine.moment(&STRONG).unwrap(), None);
        assert_eq!(node.engine.known_trace(&form, &STRONG).unwrap(), None);
        assert!(
            node.engine
                .moment(&Consistency::Eventual)
                .unwrap()
                .is_some()
        );
    }
    nodes.net.set("n2", Health::Dead);
    let error = nodes[0]
        .engine
        .trace(id, None, None, STRONG, false)
        .await
        .err();
    assert_eq!(
        error.expect("a part is missing").code,
        Code::QueryIncomplete
    );
    let part = nodes[0]
        .engine
        .trace(id, None, None, STRONG, true)
        .await
        .unwrap();
    assert_eq!(part.missing.len(), 1);
    let rows: usize = batches(part)
        .await
        .iter()
        .map(|batch| batch.num_rows())
        .sum();
    assert_eq!(rows, 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i7_a_node_that_has_left_the_others_does_not_tell_its_own_rows_for_all() {
    let nodes = Nodes::start(2).await;
    for (number, node) in nodes.nodes.iter().enumerate() {
        node.ingest(number as u64 * 10, 10).await;
    }
    let token = Session::from(nodes[0].processor.session());
    nodes[0].reads.leave();
    for level in [STRONG, Consistency::Session(token)] {
        let error = nodes[0].numbers(level).await.unwrap_err();
        assert_eq!(error.code, Code::QueryIncomplete);
    }
    assert!(nodes[0].numbers(Consistency::Eventual).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i7_rows_that_nobody_answers_for_are_an_error_or_are_named() {
    // As long as a busy machine takes for the answer of one that is there.
    let nodes = Nodes::that_wait(3, None, Duration::from_secs(10)).await;
    for (number, node) in nodes.nodes.iter().enumerate() {
        node.ingest(number as u64 * 10, 10).await;
    }
    let stream = nodes[1].processor.session().stream;
    let sql = "SELECT start_time_unix_nano FROM spans";
    for health in [
        Health::Dead,
        Health::Refusing,
        Health::Silent,
        Health::Cut(0),
        Health::Cut(1),
        Health::Cut(2),
    ] {
        nodes.net.set("n2", health);
        let (whole, part) =
            tokio::join!(nodes[0].query(sql, STRONG), nodes[0].ask(sql, STRONG, true));
        let error = whole.err().expect("rows are missing");
        assert_eq!(error.code, Code::QueryIncomplete, "{health:?}");
        assert!(error.message.contains("n2"), "{error}");
        let part = part.unwrap();
        let missing: Vec<_> = part
            .missing
            .iter()
            .map(|lack| (lack.stream, &*lack.node))
            .collect();
        assert_eq!(missing, [(Some(stream), "n2")]);
        assert_eq!(
            numbers(part).await,
            once((0..10).chain(20..30)),
            "{health:?}"
        );
        nodes.net.set("n2", Health::Up);
        assert_eq!(nodes[0].numbers(STRONG).await.unwrap(), once(0..30));
    }
    // Without the list nobody can tell that nothing is missing.
    *nodes.net.unlisted.lock() = true;
    let error = nodes[0]
        .query(sql, STRONG)
        .await
        .err()
        .expect("the list is missing");
    assert_eq!(error.code, Code::QueryIncomplete);
    let part = nodes[0].ask(sql, STRONG, true).await.unwrap();
    assert_eq!((part.missing.len(), part.missing[0].stream), (1, None));
    assert_eq!(numbers(part).await, once(0..30));
    *nodes.net.unlisted.lock() = false;
    // A node that is gone for good, and whose rows are all in files, is not missed.
    nodes[1].processor.flush().await.unwrap();
    nodes.net.set("n2", Health::Dead);
    nodes
        .net
        .streams
        .lock()
        .retain(|open| open.stream != stream);
    assert_eq!(nodes[0].numbers(STRONG).await.unwrap(), once(0..30));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i9_of_a_fenced_stream_the_node_that_recovers_it_answers() {
    let nodes = Nodes::start(3).await;
    nodes[0].ingest(0, 10).await;
    let last = nodes[1].ingest(10, 10).await;
    let set = |state: StreamState| {
        let mut streams = nodes.net.streams.lock();
        let open = streams.iter_mut().find(|open| open.stream == last.stream);
        open.expect("the stream").state = state;
    };
    // Its owner answers still, but may not know what was recovered.
    set(StreamState::Fenced { by: "n3".into() });
    let error = nodes[0]
        .numbers(STRONG)
        .await
        .expect_err("it is recovering");
    assert_eq!(error.code, Code::QueryIncomplete);
    assert!(error.message.contains("n3"), "{error}");
    // Recovered: the rows are at two nodes, and are seen once.
    let batches = nodes[1].processor.live().capture(Table::Spans);
    let live = nodes[2].processor.live();
    for batch in batches {
        let reservation = live.budget().reserve(batch.bytes);
        live.insert((*batch).clone(), reservation);
    }
    live.hold_whole(last.stream);
    for health in [Health::Up, Health::Dead] {
        nodes.net.set("n2", health);
        for node in [&nodes[0], &nodes[2]] {
            assert_eq!(node.numbers(STRONG).await.unwrap(), once(0..20));
        }
    }
    set(StreamState::Sealed {
        by: "n3".into(),
        last: last.sequence,
    });
    nodes[2].processor.flush().await.unwrap();
    assert_eq!(nodes[0].numbers(STRONG).await.unwrap(), once(0..20));
    // In files, it needs nobody.
    nodes.net.set("n3", Health::Refusing);
    let own = nodes[2].processor.session().stream;
    nodes.net.streams.lock().retain(|open| open.stream != own);
    assert_eq!(nodes[0].numbers(STRONG).await.unwrap(), once(0..20));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i7_a_session_reads_what_its_token_names_at_any_node() {
    let nodes = Nodes::start(3).await;
    let mine = nodes[0].ingest(0, 10).await;
    nodes[1].ingest(10, 10).await;
    // At hand, and the token's.
    assert_eq!(nodes[2].numbers(session(mine)).await.unwrap(), once(0..10));
    assert_eq!(nodes[1].numbers(session(mine)).await.unwrap(), once(0..20));
    // What this node covers by itself asks nobody.
    let asked = nodes.net.asked();
    assert_eq!(nodes[0].numbers(session(mine)).await.unwrap(), once(0..10));
    assert_eq!(
        nodes[2].numbers(session(Session::default())).await.unwrap(),
        once([])
    );
    assert_eq!(nodes.net.asked(), asked);

    // Nobody answers for it.
    nodes.net.set("n1", Health::Refusing);
    let error = nodes[2]
        .numbers(session(mine))
        .await
        .expect_err("it is away");
    assert_eq!(error.code, Code::QueryIncomplete);
    let sql = "SELECT start_time_unix_nano FROM spans";
    let part = nodes[2].ask(sql, session(mine), true).await.unwrap();
    assert_eq!(part.missing[0].stream, Some(mine.stream));
    // The answer's token still asks for it.
    assert_eq!(part.session.positions[&mine.stream], mine.sequence);
    nodes.net.set("n1", Health::Up);

    // Nobody ever wrote it.
    let (stream, sequence) = (StreamId(99), 1);
    let unknown = nodes[2]
        .numbers(session(Position { stream, sequence }))
        .await;
    assert_eq!(
        unknown.expect_err("no such stream").code,
        Code::QuerySession
    );
    let sequence = mine.sequence + 1;
    let ahead = nodes[2]
        .numbers(session(Position { sequence, ..mine }))
        .await;
    assert_eq!(ahead.expect_err("not written").code, Code::QueryIncomplete);

    // In files, its node is not needed any more, and the token says so.
    nodes[0].processor.flush().await.unwrap();
    nodes.net.set("n1", Health::Dead);
    nodes
        .net
        .streams
        .lock()
        .retain(|open| open.stream != mine.stream);
    let answer = nodes[2].query(sql, session(mine)).await.unwrap();
    let token = answer.session.clone();
    assert_eq!(numbers(answer).await, once(0..10));
    assert!(token.versions[&Table::Spans] > 0, "{token}");
    assert_eq!(nodes[1].numbers(session(token)).await.unwrap(), once(0..20));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i7_a_session_never_sees_less_than_its_last_read_at_another_node() {
    let nodes = Nodes::start(3).await;
    let sql = "SELECT start_time_unix_nano FROM spans";
    let mut token = Session::default();
    let mut last = BTreeSet::new();
    let mut random = Random(1);
    let mut written = 0;
    for step in 0..60 {
        match random.below(4) {
            0 | 1 => {
                let node = &nodes[random.below(3) as usize];
                node.ingest(written, 5).await;
                written += 5;
            }
            2 if step % 5 == 0 => {
                let node = &nodes[random.below(3) as usize];
                node.processor.flush().await.unwrap();
            }
            _ => {}
        }
        let reader = &nodes[random.below(3) as usize];
        let consistency = match random.below(3) {
            0 => STRONG,
            _ => session(token.clone()),
        };
        let answer = reader.query(sql, consistency).await.unwrap();
        let seen_token = answer.session.clone();
        let seen: BTreeSet<u64> = numbers(answer).await.into_keys().collect();
        assert!(seen.is_superset(&last), "step {step}: {token}");
        // A client sends the last answer's token.
        token = seen_token.to_string().parse().unwrap();
        last = seen;
    }
    assert!(!last.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_eventual_read_asks_nobody_and_sees_the_files() {
    let nodes = Nodes::start(2).await;
    nodes[0].ingest(0, 10).await;
    let eventual = || nodes[1].numbers(Consistency::Eventual);
    assert_eq!(eventual().await.unwrap(), once([]));
    nodes[0].processor.flush().await.unwrap();
    nodes[1]
        .processor
        .tables()
        .handle(Table::Spans)
        .refresh()
        .await
        .unwrap();
    assert_eq!(eventual().await.unwrap(), once(0..10));
    assert_eq!(nodes.net.asked(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn i7_strong_reads_beside_writes_and_flushes_of_all_nodes_miss_and_double_nothing() {
    let nodes = Arc::new(Nodes::start(3).await);
    let begun = Arc::new(AtomicU64::new(0));
    let acknowledged = Arc::new([const { AtomicU64::new(0) }; 3]);
    let mut writers = Vec::new();
    for number in 0..3_usize {
        let (nodes, begun, acknowledged) = (
            Arc::clone(&nodes),
            Arc::clone(&begun),
            Arc::clone(&acknowledged),
        );
        writers.push(tokio::spawn(async move {
            for round in 0..30_u64 {
                // Numbers of their own, so that the reader can tell whose are acknowledged.
                begun.fetch_add(7, Ordering::SeqCst);
                nodes[number]
                    .ingest(number as u64 * 100_000 + round * 7, 7)
                    .await;
                acknowledged[number].store((round + 1) * 7, Ordering::SeqCst);
                if round % 6 == number as u64 {
                    nodes[number].processor.flush().await.unwrap();
                }
            }
        }));
    }
    let mut reads = 0;
    while !writers.iter().all(|writer| writer.is_finished()) || reads < 5 {
        let reader = &nodes[reads % 3];
        let before: Vec<u64> = acknowledged
            .iter()
            .map(|of| of.load(Ordering::SeqCst))
            .collect();
        let seen = reader.numbers(STRONG).await.unwrap();
        let after = begun.load(Ordering::SeqCst);
        assert!(
            seen.values().all(|times| *times == 1),
            "a span is there twice"
        );
        for (number, upto) in before.into_iter().enumerate() {
            let first = number as u64 * 100_000;
            let missed = (first..first + upto).find(|span| !seen.contains_key(span));
            assert_eq!(missed, None, "read {reads}");
        }
        assert!(seen.len() as u64 <= after);
        reads += 1;
    }
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(nodes[0].numbers(STRONG).await.unwrap().len(), 3 * 30 * 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_is_told_every_nodes_batches_once_and_which_node_it_has_lost() {
    let nodes = Nodes::start(3).await;
    let mut follow = nodes[0].reads.follow(Table::Spans, Some("default".into()));
    // Until the other two are followed.
    while nodes.net.begun() < 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut told = 0;
    for node in &nodes.nodes {
        node.ingest_of("other", 500, 5).await;
        node.ingest(told, 10).await;
        told += 10;
    }
    let mut rows = 0;
    while rows < 30 {
        match follow.recv().await.unwrap() {
            Followed::Rows {
                tenant,
                rows: batch,
            } => {
                assert_eq!(&*tenant, "default");
                rows += batch.num_rows();
            }
            other => panic!("{other:?}"),
        }
    }
    // Another node tells of what was told.
    let live = nodes[0].processor.live();
    for batch in nodes[1].processor.live().capture(Table::Spans) {
        let reservation = live.budget().reserve(batch.bytes);
        live.insert((*batch).clone(), reservation);
    }
    nodes[0].ingest(900, 1).await;
    match follow.recv().await.unwrap() {
        Followed::Rows { rows, .. } => assert_eq!(rows.num_rows(), 1),
        other => panic!("{other:?}"),
    }
}

/// A generator of numbers that look random (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}
