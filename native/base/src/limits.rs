//! Every limit, as a named constant. Those a user can set are defaults; TypeScript's
//! configuration repeats none of them: it asks for them through the binding.

/// Nesting of an OTLP value (arrays and maps within attributes and bodies): what lies deeper
/// becomes an empty value. No setting goes beyond it.
pub const MAX_VALUE_DEPTH: usize = 32;
/// Attributes of one record, event, link, exemplar, resource or scope.
pub const MAX_ATTRIBUTES: usize = 1024;
/// An attribute's key, in bytes.
pub const MAX_ATTRIBUTE_KEY_BYTES: usize = 1024;
/// A text or bytes within an attribute's value, in bytes.
pub const MAX_ATTRIBUTE_VALUE_BYTES: usize = 1024 * 1024;
/// Events of one span.
pub const MAX_EVENTS: usize = 1024;
/// Links of one span.
pub const MAX_LINKS: usize = 1024;
/// One request after decompression, in bytes (I5).
pub const MAX_REQUEST_BYTES: usize = 64 * 1024 * 1024;
/// Records of one request, with the events, links and exemplars in them (I5).
pub const MAX_REQUEST_RECORDS: usize = 1_000_000;
/// Bucket counts and bounds of one request (I5): as many as a request of the greatest size holds
/// in OTLP's widest form, so that its narrowest cannot take eight times the memory.
pub const MAX_REQUEST_BUCKETS: usize = MAX_REQUEST_BYTES / 8;
/// Text of one request's rows, in bytes (I5): JSON writes some of what stands as a byte or two on
/// the wire as six. A request beyond it is refused at the record that crosses it.
pub const MAX_REQUEST_TEXT_BYTES: usize = 4 * MAX_REQUEST_BYTES;
/// Days of the rows that one request gives a table (I5): each becomes a file.
pub const MAX_REQUEST_DAYS: usize = 128;
/// Longest tenant name, in bytes.
pub const MAX_TENANT_BYTES: usize = 64;
/// One log segment, in bytes: taking one of 128 MiB off a disk keeps others from it for 30 ms, and whoever
/// waits for an acknowledgement, too.
pub const LOG_SEGMENT_BYTES: u64 = 8 * 1024 * 1024;
/// All log segments together, in bytes; at it, appends are refused (I10).
pub const LOG_MAX_BYTES: u64 = 4 * 1024 * 1024 * 1024;
/// Records that one group commit may take.
pub const LOG_GROUP_RECORDS: usize = 1024;
/// Bytes that one group commit may take, beyond its first record.
pub const LOG_GROUP_BYTES: usize = 8 * 1024 * 1024;
/// One segment of the replica journal, in bytes.
pub const REPLICA_SEGMENT_BYTES: u64 = 64 * 1024 * 1024;
/// All segments of the replica journal together, in bytes; at it, copies are refused (I10).
pub const REPLICA_MAX_BYTES: u64 = 8 * 1024 * 1024 * 1024;
/// Records of other nodes that one node may hold (I5).
pub const REPLICA_MAX_RECORDS: usize = 4_000_000;
/// Bytes that may be under way from one node to one of its followers (I5).
pub const REPLICA_WINDOW_BYTES: usize = 16 * 1024 * 1024;
/// Bytes of records that a node keeps in memory for followers that lag (I5).
pub const REPLICA_CACHE_BYTES: usize = 64 * 1024 * 1024;
/// Live batches of all signals in memory, in bytes; at it, requests are refused (I5).
pub const LIVE_MAX_BYTES: usize = 288 * 1024 * 1024;
/// Slices of requests in flight to their owners on other nodes, in bytes; at it, requests are refused
/// (I5).
pub const ROUTE_MAX_BYTES: usize = 128 * 1024 * 1024;
/// How long an identical request is known for a resend, in milliseconds: longer than SDKs and
/// Collectors go on retrying by default (60 s and 300 s).
pub const DEDUPE_WINDOW_MS: u64 = 600_000;
/// Requests of one signal that are known for that: 24 bytes each on disk, about 60 in memory.
pub const DEDUPE_REQUESTS: usize = 262_144;
/// A signal's live batches are sealed at this many bytes.
pub const FLUSH_BYTES: usize = 96 * 1024 * 1024;
/// A signal's live batches are sealed at this many rows.
pub const FLUSH_ROWS: usize = 262_144;
/// A signal's live batches are sealed when their rows are of this many tenants and days, summed
/// over its tables (I5): each becomes a file.
pub const FLUSH_PARTITIONS: usize = 512;
/// A signal's live batches are sealed when the oldest is this old, in milliseconds.
pub const FLUSH_INTERVAL_MS: u64 = 10_000;
/// What a derived point covers, in milliseconds.
pub const DERIVE_INTERVAL_MS: u64 = 15_000;
/// Derived series of one tenant (I5); spans beyond it count in one series.
pub const DERIVE_MAX_SERIES: usize = 10_000;
/// How long a derived series that is not seen counts as one, in milliseconds.
pub const DERIVE_SERIES_IDLE_MS: u64 = 900_000;
/// How long half of an edge between services waits for the other, in milliseconds.
pub const DERIVE_EDGE_WAIT_MS: u64 = 10_000;
/// Halves of edges that wait (I5); beyond it the oldest are let go of.
pub const DERIVE_MAX_WAITING: usize = 200_000;
/// Derived points that are encoded at once.
pub const DERIVE_REQUEST_POINTS: usize = 50_000;
/// Attributes that can be labels of derived series (I5).
pub const DERIVE_MAX_DIMENSIONS: usize = 16;
/// Bounds of a derived histogram (I5).
pub const DERIVE_MAX_BOUNDS: usize = 64;
/// How long spans wait in memory for the others of their traces before tail sampling decides, in
/// milliseconds.
pub const SAMPLING_DECISION_WAIT_MS: u64 = 10_000;
/// Decisions of tail sampling that are remembered for late spans (I5): 24 bytes each on disk, about
/// 100 in memory.
pub const SAMPLING_MAX_DECISIONS: usize = 262_144;
/// Policies of tail sampling (I5).
pub const SAMPLING_MAX_POLICIES: usize = 32;
/// Conditions of all of them that spans are asked (I5).
pub const SAMPLING_MAX_CONDITIONS: usize = 64;
/// A compiled regular expression of a policy, in bytes (I5).
pub const SAMPLING_REGEX_BYTES: usize = 1024 * 1024;
/// Rules that rows go through on their way in (I5).
pub const PROCESSING_RULES: usize = 64;
/// Tenants that such rules route rows to, all together (I5): a request's rows are of as many and of its
/// sender, and each of their days becomes a file.
pub const PROCESSING_TENANTS: usize = 16;
/// Columns and attributes that one such rule changes (I5).
pub const PROCESSING_CHANGES: usize = 64;
/// An SQL expression of such a rule, in bytes (I5).
pub const PROCESSING_EXPRESSION_BYTES: usize = 16 * 1024;
/// How often an expression that fails is tried on parts of one batch, to find the rows that it fails on
/// (I5); the rows of parts that are not told apart by then stay as they are.
pub const PROCESSING_TRIES: usize = 256;
/// Rows of one Parquet row group.
pub const ROW_GROUP_ROWS: usize = 131_072;
/// Merging copies files whose row groups have this many rows on average; smaller ones it encodes
/// anew.
pub const COPY_GROUP_ROWS: usize = ROW_GROUP_ROWS / 4;
/// Rows that one query may return.
pub const QUERY_MAX_ROWS: usize = 10_000_000;
/// Memory that all queries together may hold, in bytes.
pub const QUERY_MEMORY_BYTES: usize = 1024 * 1024 * 1024;
/// Time that one query may take, in milliseconds.
pub const QUERY_TIMEOUT_MS: u64 = 60_000;
/// Queries that run at once.
pub const QUERY_CONCURRENCY: usize = 64;
/// Queries that wait for others to end; a further one is refused at once.
pub const QUERY_QUEUE: usize = 256;
/// Bloom filters of trace ids that are kept in memory, in bytes: those of some 260 million spans in
/// traces of ten as they are, of twice as many folded to half their size.
pub const TRACE_FILTERS_BYTES: usize = 64 * 1024 * 1024;
/// Rows of traces that were looked up before, kept in memory, in bytes.
pub const TRACE_ROWS_BYTES: usize = 48 * 1024 * 1024;
/// What tells which pages of row groups may have a trace, once a trace was looked up there, kept in memory, in
/// bytes: of some 80 million spans in traces of ten that lie near each other.
pub const TRACE_MARKS_BYTES: usize = 16 * 1024 * 1024;
/// Traces as they were answered, which are answered so again as long as no span comes and no file
/// changes, kept in memory, in bytes.
pub const TRACE_ANSWERS_BYTES: usize = 16 * 1024 * 1024;
/// Footers of files and their page indexes that are kept in memory, in bytes: those of some 100
/// million spans.
pub const FOOTERS_BYTES: usize = 96 * 1024 * 1024;
/// How long a query waits for others to end, in milliseconds.
pub const QUERY_QUEUE_MS: u64 = 5_000;
/// Files that a query has to scan before it is shared among nodes, in bytes.
pub const QUERY_DISTRIBUTE_BYTES: u64 = 256 * 1024 * 1024;
/// Spansets, `{ … }`, of one TraceQL query (I5).
pub const TRACEQL_CONDITIONS: usize = 63;
/// Spansets within each other in a TraceQL query (I5).
pub const TRACEQL_DEPTH: usize = 32;
/// A regular expression of a TraceQL query once it is compiled, in bytes (I5).
pub const TRACEQL_REGEX_BYTES: usize = 1024 * 1024;
/// Traces that one search shows.
pub const TRACEQL_SEARCH_TRACES: usize = 10_000;
/// Spans of a spanset that one search shows.
pub const TRACEQL_SEARCH_SPANS: usize = 10_000;
/// Traces in which what a TraceQL query needs was found somewhere (I5).
pub const TRACEQL_TRACES: usize = 4_000_000;
/// Traces whose spans are looked at at once, where a query needs whole traces (I5).
pub const TRACEQL_CHUNK_TRACES: usize = 16_384;
/// Spans that are looked at at once, where a query needs whole traces (I5).
pub const TRACEQL_SPANS: usize = 4_000_000;
/// How far before and behind the spans that match a trace's other spans are looked for, in
/// milliseconds.
pub const TRACEQL_TRACE_AROUND_MS: u64 = 3_600_000;
/// Rows of files of the newest part that is searched first; each older part has twice as many.
pub const TRACEQL_WINDOW_ROWS: u64 = 524_288;
/// Keys of attributes, or values of one, that one answer tells.
pub const TRACEQL_TAGS: usize = 100_000;
/// Series of one TraceQL query (I5).
pub const TRACEQL_SERIES: usize = 10_000;
/// Steps of one TraceQL query over a range (I5).
pub const TRACEQL_STEPS: usize = 11_000;
/// Values of all series of one TraceQL query (I5).
pub const TRACEQL_SAMPLES: usize = 2_000_000;
/// Exemplars of one TraceQL query.
pub const TRACEQL_EXEMPLARS: usize = 1_000;
/// Values of attributes that `compare` tells apart (I5).
pub const TRACEQL_COMPARED: usize = 500_000;
/// Live batches that a slow `tail` may fall behind before some are skipped.
pub const TAIL_BATCHES: usize = 256;
/// Bytes of those batches, for all tails together; a batch beyond it is skipped (I5).
pub const TAIL_BYTES: usize = 32 * 1024 * 1024;
/// How long the node that commits for all waits for further files of a table, in milliseconds.
pub const COMMIT_GATHER_MS: u64 = 1_000;
/// Writers whose files one commit of that node adds, at most (I5).
pub const COMMIT_GATHER_WRITERS: usize = 256;
/// How long a node waits for the answer to files that it has handed over, in milliseconds; then it
/// commits them by itself.
pub const COMMIT_ANSWER_MS: u64 = 5_000;
/// Parts of a session token (I5): streams, and tables.
pub const SESSION_PARTS: usize = 256;
/// Parts of a session token that comes with a request to store: its acknowledgement adds one for
/// each node that stored some of it.
pub const SESSION_WRITE_PARTS: usize = 128;
/// How long a read at `session` waits for what its token names, in milliseconds.
pub const SESSION_WAIT_MS: u64 = 2_000;
/// How long a read waits for another node's live rows, in milliseconds.
pub const LIVE_ANSWER_MS: u64 = 5_000;
/// Bytes of other nodes' live rows that one read may gather of a table (I5).
pub const GATHER_BYTES: usize = 256 * 1024 * 1024;
/// Bytes of other nodes' live rows that all reads together may hold (I5).
pub const GATHERED_BYTES: usize = 512 * 1024 * 1024;
/// Answers with live rows to other nodes that a node makes at once, those that follow it included
/// (I5).
pub const LIVE_EXCHANGES: usize = 256;
/// Bytes of values of one message of live rows from node to node, unless a single row has more.
pub const LIVE_MESSAGE_BYTES: usize = 1024 * 1024;
/// How long a request waits for its acknowledgement before the client is told to try again, in
/// milliseconds.
pub const ACK_TIMEOUT_MS: u64 = 60_000;
/// Bytes of one part of a file that is uploaded to a bucket; a smaller file is one request.
pub const BUCKET_PART_BYTES: usize = 8 * 1024 * 1024;
/// Parts of one file that are under way to a bucket at once (I5).
pub const BUCKET_PARTS_AT_ONCE: usize = 2;
/// Bytes of a file on its way from or to a bucket that are held in memory; a larger one is in a
/// file of the data folder (I5).
pub const BUCKET_SPOOL_BYTES: usize = 1024 * 1024;
/// Folders of a bucket that are remembered as made (I5).
pub const BUCKET_FOLDERS: usize = 4_096;
/// Bytes of a file that one message between nodes carries, where they keep the tables' files (I5).
pub const FILES_CHUNK_BYTES: usize = 4 * 1024 * 1024;
/// A file of at most this many bytes goes to another node with the question whether it takes it.
pub const FILES_INLINE_BYTES: usize = 1024 * 1024;
/// Files that a node takes from others at once for what they write; a further one waits (I5).
pub const FILES_TAKES: usize = 16;
/// Files that a node fetches from others at once because it should have a copy (I5).
pub const FILES_REPAIRS: usize = 2;
/// Bytes that a node fetches in a second because it should have a copy, at most.
pub const FILES_REPAIR_BYTES_PER_SECOND: u64 = 64 * 1024 * 1024;
/// Files that wait to be fetched; those beyond are offered again (I5).
pub const FILES_WAITING: usize = 65_536;
/// Names of files that one message between nodes tells (I5).
pub const FILES_NAMES: usize = 4_096;
/// Deleted files that are remembered, so that a node that was away does not bring them back (I5).
pub const FILES_DELETED: usize = 65_536;
/// What copies are checked by, kept in memory for so many files (I5).
pub const FILES_SHEETS: usize = 4_096;
/// The greatest file of a table's log that is taken where the nodes keep the files, in bytes: it is
/// in memory on its way (I5).
pub const FILES_LOG_BYTES: usize = 256 * 1024 * 1024;
/// A file of this many bytes is not merged any more.
pub const COMPACT_TARGET_BYTES: u64 = 128 * 1024 * 1024;
/// A file of this many rows is not merged any more.
pub const COMPACT_TARGET_ROWS: u64 = 16 * 1024 * 1024;
/// Small files of a tenant's day from which on merging them waits for nobody: more come than are merged.
pub const COMPACT_BEHIND_FILES: usize = 256;
/// Bytes of files that one run of compaction merges, over all tables; another run goes on.
pub const COMPACT_RUN_BYTES: u64 = 2 * 1024 * 1024 * 1024;
/// Memory that a job may hold beside the live batches, in bytes.
pub const JOB_MEMORY_BYTES: usize = 128 * 1024 * 1024;
/// Bytes that a job reads and writes in a second, at most.
pub const JOB_BYTES_PER_SECOND: u64 = 64 * 1024 * 1024;
/// How long a file stays after it was removed from its table, in milliseconds.
pub const VACUUM_AFTER_MS: u64 = 3_600_000;

/// What of a record is kept at most; what goes beyond is cut off and counted (docs/validation.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordLimits {
    /// Attributes of one record, event, link, exemplar, resource or scope.
    pub attributes: usize,
    /// An attribute's key, in bytes.
    pub attribute_key_bytes: usize,
    /// A text or bytes within an attribute's value, in bytes.
    pub attribute_value_bytes: usize,
    /// Arrays and maps within each other; at most `MAX_VALUE_DEPTH`.
    pub value_depth: usize,
    /// Events of one span.
    pub events: usize,
    /// Links of one span.
    pub links: usize,
}

impl RecordLimits {
    /// No limit but the depth, which bounds the stack: what a replay uses for what no limit
    /// had changed.
    pub const NONE: RecordLimits = RecordLimits {
        attributes: usize::MAX,
        attribute_key_bytes: usize::MAX,
        attribute_value_bytes: usize::MAX,
        value_depth: MAX_VALUE_DEPTH,
        events: usize::MAX,
        links: usize::MAX,
    };
}

impl Default for RecordLimits {
    fn default() -> Self {
        RecordLimits {
            attributes: MAX_ATTRIBUTES,
            attribute_key_bytes: MAX_ATTRIBUTE_KEY_BYTES,
            attribute_value_bytes: MAX_ATTRIBUTE_VALUE_BYTES,
            value_depth: MAX_VALUE_DEPTH,
            events: MAX_EVENTS,
            links: MAX_LINKS,
        }
    }
}
