//! One table of errors: a stable code, its kind, and the sentence that names the fix.

use std::fmt;

/// What a caller can do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The request is wrong and will be wrong again.
    Invalid,
    /// The caller did not say who it is, or may not do this.
    Denied,
    /// There is no such thing.
    NotFound,
    /// A limit of this request was reached; a smaller request can succeed.
    Exhausted,
    /// A passing fault: the same request can succeed later.
    Unavailable,
    /// Stored bytes are not what was written.
    Corrupt,
    /// The caller, or a time limit, ended the work.
    Cancelled,
    /// A defect of otlake.
    Internal,
}

impl Kind {
    /// The kind's name as TypeScript and the documentation spell it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Invalid => "invalid",
            Kind::Denied => "denied",
            Kind::NotFound => "not_found",
            Kind::Exhausted => "exhausted",
            Kind::Unavailable => "unavailable",
            Kind::Corrupt => "corrupt",
            Kind::Cancelled => "cancelled",
            Kind::Internal => "internal",
        }
    }

    /// The kind whose name this is.
    pub fn from_name(name: &str) -> Option<Kind> {
        Some(match name {
            "invalid" => Kind::Invalid,
            "denied" => Kind::Denied,
            "not_found" => Kind::NotFound,
            "exhausted" => Kind::Exhausted,
            "unavailable" => Kind::Unavailable,
            "corrupt" => Kind::Corrupt,
            "cancelled" => Kind::Cancelled,
            "internal" => Kind::Internal,
            _ => return None,
        })
    }
}

macro_rules! codes {
    ($($name:ident = $text:literal, $kind:ident, $fix:literal;)*) => {
        /// A stable error code, `ROOM_CONDITION`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "the table's own sentence documents each code")]
        pub enum Code { $($name,)* }

        impl Code {
            /// Every code, in the order of the table.
            pub const ALL: &'static [Code] = &[$(Code::$name,)*];

            /// The code as text, for example `LOG_FULL`.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$name => $text,)* }
            }

            /// The code that is written like this.
            pub fn from_name(name: &str) -> Option<Code> {
                match name { $($text => Some(Code::$name),)* _ => None }
            }

            /// What a caller can do about it.
            pub fn kind(self) -> Kind {
                match self { $(Code::$name => Kind::$kind,)* }
            }

            /// The sentence that names the fix.
            pub fn fix(self) -> &'static str {
                match self { $(Code::$name => $fix,)* }
            }
        }
    };
}

codes! {
    CliUsage = "CLI_USAGE", Invalid, "Run the command with --help and correct the arguments.";
    ConfigInvalid = "CONFIG_INVALID", Invalid, "Correct the named key in the configuration file, environment or flag.";
    ConfigUnreadable = "CONFIG_UNREADABLE", Invalid, "Check that the configuration file exists and is YAML.";
    NativeMissing = "NATIVE_MISSING", Internal, "Run `npm run build:native`, or install the platform package for this machine.";
    NodeState = "NODE_STATE", Invalid, "The node is not in a state for this call: open it first, and do not use it after close.";
    NodePortTaken = "NODE_PORT_TAKEN", Invalid, "Another process listens on the address: choose another with the flag, or stop that process.";
    NodeDirectoryLocked = "NODE_DIRECTORY_LOCKED", Invalid, "Another otlake uses the data directory: stop it, or choose another with --data-dir.";
    NodeDirectoryUnusable = "NODE_DIRECTORY_UNUSABLE", Invalid, "Choose a data directory that exists or can be created and is writable, with --data-dir.";
    NodeUnreachable = "NODE_UNREACHABLE", Unavailable, "Start a node with `npx otlake serve`, or name its address with --url.";
    JobUnknown = "JOB_UNKNOWN", Invalid, "Name one of the jobs: compact, retain or vacuum.";
    JobStopped = "JOB_STOPPED", Unavailable, "The node is stopping; what was left is done by a run after the next start.";
    JobElsewhere = "JOB_ELSEWHERE", Unavailable, "Another node of the cluster runs the jobs; nothing has to be done here.";
    HandleClosed = "HANDLE_CLOSED", Invalid, "The handle was closed before this call: open a new one.";
    ClusterUnreachable = "CLUSTER_UNREACHABLE", Unavailable, "Start one of the named nodes, and check the cluster's name, its keys, and the way of UDP and TCP to their ports.";
    ClusterQuorum = "CLUSTER_QUORUM", Unavailable, "Too few nodes that hold copies answer: retry; start the nodes that are missing, or allow a degraded quorum.";
    ClusterFenced = "CLUSTER_FENCED", Unavailable, "Another node took this node's stream over: retry, against another node or when this one has a new stream.";
    PeerUnreachable = "PEER_UNREACHABLE", Unavailable, "The other node could not be reached or went away: check that it runs and that its peer port can be reached, and retry.";
    PeerRefused = "PEER_REFUSED", Denied, "The two nodes do not fit: give them the same cluster name, the same secret, and versions that speak the same protocol.";
    PeerTimeout = "PEER_TIMEOUT", Unavailable, "The other node did not answer in time: retry; what it did all the same is done once.";
    PeerOverloaded = "PEER_OVERLOADED", Unavailable, "Too much is in flight to the other node: retry after a moment.";
    PeerTooLarge = "PEER_TOO_LARGE", Exhausted, "Send smaller messages: one between nodes has a limit.";
    PeerProtocol = "PEER_PROTOCOL", Internal, "What the other node sent is not of this protocol: report the message and both versions.";
    ClusterMessage = "CLUSTER_MESSAGE", Invalid, "The other node speaks another version or sent damaged bytes: run one version on all nodes, or upgrade them in the documented order.";

    HttpNotFound = "HTTP_NOT_FOUND", NotFound, "Open GET / for the paths that this node serves.";
    HttpMethod = "HTTP_METHOD", Invalid, "Use a method that the `allow` header of the answer names.";
    HttpMalformed = "HTTP_MALFORMED", Invalid, "Send the JSON object and the headers that docs/http.md describes.";
    HttpTooLarge = "HTTP_TOO_LARGE", Exhausted, "Send a smaller body, or raise http.max_body_bytes.";
    HttpOverloaded = "HTTP_OVERLOADED", Unavailable, "Too many streams are open: close one, or retry after a moment.";

    OtlpMalformed = "OTLP_MALFORMED", Invalid, "The request is not a well-formed OTLP message: check the exporter and its version.";
    OtlpMediaType = "OTLP_MEDIA_TYPE", Invalid, "Send application/x-protobuf or application/json.";
    OtlpEncoding = "OTLP_ENCODING", Invalid, "Compress with gzip or zstd, or not at all.";
    OtlpTooLarge = "OTLP_TOO_LARGE", Exhausted, "Send smaller batches, or raise receive.max_request_bytes.";
    OtlpUnauthenticated = "OTLP_UNAUTHENTICATED", Denied, "Send `authorization: Bearer <token>` with a token the node's configuration lists.";
    OtlpTenant = "OTLP_TENANT", Invalid, "A tenant is 1 to 64 letters, digits, dots, hyphens or underscores, and starts with a letter or digit.";
    IngestOverloaded = "INGEST_OVERLOADED", Unavailable, "The node is at its memory limit: retry after the given time.";
    IngestTimeout = "INGEST_TIMEOUT", Unavailable, "The disk did not take the request in time: retry; what is stored already is stored once.";
    IngestStopping = "INGEST_STOPPING", Unavailable, "The node is stopping: retry, against another node or when it is back.";

    LogChecksumMismatch = "LOG_CHECKSUM_MISMATCH", Corrupt, "A log record's bytes changed on disk: check the disk; the record is not served.";
    LogFormat = "LOG_FORMAT", Corrupt, "The log segment was written by another version or is damaged: use the version that wrote it.";
    LogFull = "LOG_FULL", Unavailable, "The log is at log.max_bytes because tables cannot be written: free disk space, or raise the limit.";
    LogIo = "LOG_IO", Unavailable, "The disk refused a log write: check its space and health; the client may retry.";
    TableIo = "TABLE_IO", Unavailable, "The table's storage refused a read or write: check its space and health.";
    TableConflict = "TABLE_CONFLICT", Unavailable, "Another writer changed the table: the commit is tried again.";
    BucketUnusable = "BUCKET_UNUSABLE", Invalid, "Give the node a bucket that exists, in a store that refuses to overwrite when it is asked to (`If-None-Match: *`), credentials that may list, read, write and delete in it, and a clock that is right.";
    TableCorrupt = "TABLE_CORRUPT", Corrupt, "A table's log or file is damaged: restore it from a backup.";

    MetadataUnavailable = "METADATA_UNAVAILABLE", Unavailable, "The metadata group has no leader that a majority follows: retry; see that a majority of its voters runs and can be reached.";
    MetadataRefused = "METADATA_REFUSED", Invalid, "What was asked does not fit what the metadata group holds now: read it again, then decide.";
    MetadataInvalid = "METADATA_INVALID", Invalid, "Correct the named field.";
    MetadataFull = "METADATA_FULL", Exhausted, "Remove what is not needed any more from the metadata group, then try again.";
    MetadataForeign = "METADATA_FOREIGN", Invalid, "The node belongs to another cluster, or lost its store: start it with the data directory of this cluster's node, or remove the node and let it join anew with an empty one.";
    MetadataIo = "METADATA_IO", Unavailable, "The disk refused a read or write of the metadata group's store: check its space and health, then start the node again.";
    MetadataCorrupt = "METADATA_CORRUPT", Corrupt, "The metadata group's store is damaged: remove the node from the group, move the folder `metadata` of its data directory away, and let it join anew.";
    MetadataVersion = "METADATA_VERSION", Invalid, "The metadata group was written by a newer otlake: start that version on this node.";

    QueryInvalid = "QUERY_INVALID", Invalid, "Correct the SQL statement.";
    QueryParameters = "QUERY_PARAMETERS", Invalid, "Give one value for each $1, $2, … of the statement.";
    QueryNotReadOnly = "QUERY_NOT_READ_ONLY", Invalid, "Tables are written by OTLP alone: send a SELECT.";
    QueryFormat = "QUERY_FORMAT", Invalid, "Ask for json, ndjson, csv, arrow or parquet; for otlp or otlp-json with all columns of one table.";
    QueryTooManyRows = "QUERY_TOO_MANY_ROWS", Exhausted, "Add a LIMIT or a filter, or raise query.max_rows.";
    QueryMemory = "QUERY_MEMORY", Exhausted, "Narrow the query, or raise query.memory_bytes.";
    QueryTimeout = "QUERY_TIMEOUT", Exhausted, "Narrow the query, or raise query.timeout_ms.";
    QueryCancelled = "QUERY_CANCELLED", Cancelled, "The caller ended the query.";
    QueryOverloaded = "QUERY_OVERLOADED", Unavailable, "Too many queries run at once: retry after a moment.";
    QueryIncomplete = "QUERY_INCOMPLETE", Unavailable, "A node that may hold acknowledged records did not answer: retry, or ask for eventual consistency or a partial answer.";
    QuerySession = "QUERY_SESSION", Invalid, "Send back an otlake-session value exactly as an answer gave it.";
    QueryConsistency = "QUERY_CONSISTENCY", Invalid, "Ask for strong, session or eventual.";
    QueryFailed = "QUERY_FAILED", Internal, "Report the statement and the message.";
    TraceqlSyntax = "TRACEQL_SYNTAX", Invalid, "Correct the query at the place that the message names; docs/traceql.md has the language.";
    TraceqlType = "TRACEQL_TYPE", Invalid, "Compare values of one kind, and give functions what they take; docs/traceql.md has the types.";
    TraceqlRegex = "TRACEQL_REGEX", Invalid, "Correct the regular expression: RE2's syntax, without backreferences and looking around.";
    TraceqlUnsupported = "TRACEQL_UNSUPPORTED", Invalid, "Ask without what the message names; docs/traceql.md has what is there.";
    TraceqlTooLarge = "TRACEQL_TOO_LARGE", Exhausted, "Ask with a smaller query; docs/traceql.md has the limits.";
    TraceId = "TRACE_ID", Invalid, "A trace id is 32 hexadecimal digits, not all zero.";
    TraceNotFound = "TRACE_NOT_FOUND", NotFound, "No span of this trace is stored: check the id and the retention.";
    TraceqlRequest = "TRACEQL_REQUEST", Invalid, "Correct what the message names: a limit, the times, the step or the scope.";
    Internal = "INTERNAL", Internal, "Report the message and what led to it.";
}

/// An error with its code and what happened.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// The stable code.
    pub code: Code,
    /// What happened, for a person; it may change between versions.
    pub message: String,
}

impl Error {
    /// An error of `code` with what happened.
    pub fn new(code: Code, message: impl fmt::Display) -> Self {
        Self {
            code,
            message: message.to_string(),
        }
    }

    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        self.code.kind()
    }
}

/// A result with otlake's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;
