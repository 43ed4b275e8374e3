//! The three OTLP signals and the seven tables that hold them.

/// A kind of OTLP request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Signal {
    /// `ExportTraceServiceRequest`.
    Traces = 1,
    /// `ExportMetricsServiceRequest`.
    Metrics = 2,
    /// `ExportLogsServiceRequest`.
    Logs = 3,
}

impl Signal {
    /// Every signal.
    pub const ALL: [Signal; 3] = [Signal::Traces, Signal::Metrics, Signal::Logs];

    /// The name in paths, labels and settings.
    pub fn name(self) -> &'static str {
        match self {
            Signal::Traces => "traces",
            Signal::Metrics => "metrics",
            Signal::Logs => "logs",
        }
    }

    /// What one of its records is called in OTLP's partial success messages.
    pub fn records(self) -> &'static str {
        match self {
            Signal::Traces => "spans",
            Signal::Metrics => "data points",
            Signal::Logs => "log records",
        }
    }

    /// The signal whose name this is.
    pub fn from_name(name: &str) -> Option<Signal> {
        Signal::ALL.into_iter().find(|signal| signal.name() == name)
    }

    /// The signal with this number on disk.
    pub fn from_u8(number: u8) -> Option<Signal> {
        Signal::ALL
            .into_iter()
            .find(|signal| *signal as u8 == number)
    }

    /// An index from 0, for arrays by signal.
    pub fn index(self) -> usize {
        self as usize - 1
    }

    /// The tables that hold this signal.
    pub fn tables(self) -> &'static [Table] {
        match self {
            Signal::Traces => &[Table::Spans],
            Signal::Metrics => &[
                Table::MetricsGauge,
                Table::MetricsSum,
                Table::MetricsHistogram,
                Table::MetricsExponentialHistogram,
                Table::MetricsSummary,
            ],
            Signal::Logs => &[Table::Logs],
        }
    }
}

/// A table of the lake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "each is named as it is")]
pub enum Table {
    Spans,
    Logs,
    MetricsGauge,
    MetricsSum,
    MetricsHistogram,
    MetricsExponentialHistogram,
    MetricsSummary,
}

impl Table {
    /// Every table.
    pub const ALL: [Table; 7] = [
        Table::Spans,
        Table::Logs,
        Table::MetricsGauge,
        Table::MetricsSum,
        Table::MetricsHistogram,
        Table::MetricsExponentialHistogram,
        Table::MetricsSummary,
    ];

    /// The tables that hold what is derived from spans, too, in the order in which they are written.
    pub const DERIVED: [Table; 2] = [Table::MetricsSum, Table::MetricsHistogram];

    /// The name in SQL and of the folder.
    pub fn name(self) -> &'static str {
        match self {
            Table::Spans => "spans",
            Table::Logs => "logs",
            Table::MetricsGauge => "metrics_gauge",
            Table::MetricsSum => "metrics_sum",
            Table::MetricsHistogram => "metrics_histogram",
            Table::MetricsExponentialHistogram => "metrics_exponential_histogram",
            Table::MetricsSummary => "metrics_summary",
        }
    }

    /// The table whose name this is.
    pub fn from_name(name: &str) -> Option<Table> {
        Table::ALL.into_iter().find(|table| table.name() == name)
    }

    /// The signal that this table holds (part of).
    pub fn signal(self) -> Signal {
        match self {
            Table::Spans => Signal::Traces,
            Table::Logs => Signal::Logs,
            _ => Signal::Metrics,
        }
    }

    /// The column, `Int64` nanoseconds since 1970 UTC, that orders the table in time and
    /// gives each row its `day`.
    pub fn time_column(self) -> &'static str {
        match self {
            Table::Spans => "start_time_unix_nano",
            _ => "time_unix_nano",
        }
    }
}
