//! The arguments.

use std::net::SocketAddr;

use otlake_base::Signal;

/// How to call the program.
pub const USAGE: &str = "\
otlake-load (--grpc IP:PORT | --http IP:PORT) [options]
  --path PATH                    before /v1/traces and the like over HTTP (none)
  --signal traces|metrics|logs   what to send (traces)
  --shape plain|shop             of traces: one request with new ids each time, or a shop's, each
                                 request drawn anew (plain)
  --over S                       of a shop: seconds over which its traces begin, until now (3600)
  --records N                    records in a request (1000)
  --requests N                   requests at the most (unbounded)
  --seconds S                    seconds at the most (10)
  --in-flight N                  requests at once (8)
  --connections N                connections (1)
  --rate N                       records per second (as fast as it goes)
  --seed N                       of the ids (1)
  --trace-ids N                  ids of acknowledged traces in the report (0)
  --keep-going                   count failed requests and say nothing of them";

/// Where and what to send.
pub struct Options {
    pub address: SocketAddr,
    pub grpc: bool,
    pub path: String,
    pub signal: Signal,
    /// Traces of a shop in place of the template's.
    pub is_shop: bool,
    pub over_seconds: u64,
    pub records: usize,
    pub requests: u64,
    pub seconds: f64,
    pub in_flight: usize,
    pub connections: usize,
    pub rate: Option<f64>,
    pub seed: u64,
    pub trace_ids: usize,
    pub keep_going: bool,
}

impl Options {
    /// Reads the arguments; the error is a sentence.
    pub fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
        let mut address = None;
        let mut options = Options {
            address: SocketAddr::from(([127, 0, 0, 1], 4317)),
            grpc: true,
            path: String::new(),
            signal: Signal::Traces,
            is_shop: false,
            over_seconds: 3600,
            records: 1000,
            requests: u64::MAX,
            seconds: 10.0,
            in_flight: 8,
            connections: 1,
            rate: None,
            seed: 1,
            trace_ids: 0,
            keep_going: false,
        };
        while let Some(name) = arguments.next() {
            if name == "--keep-going" {
                options.keep_going = true;
                continue;
            }
            let value = arguments
                .next()
                .ok_or_else(|| format!("{name} takes a value"))?;
            let bad = || format!("{name}: `{value}` does not fit");
            match name.as_str() {
                "--grpc" | "--http" => {
                    options.grpc = name == "--grpc";
                    address = Some(value.parse().map_err(|_| bad())?);
                }
                "--path" => options.path = value,
                "--signal" => options.signal = Signal::from_name(&value).ok_or_else(bad)?,
                "--shape" if value == "plain" || value == "shop" => {
                    options.is_shop = value == "shop"
                }
                "--shape" => return Err(bad()),
                "--over" => options.over_seconds = value.parse().map_err(|_| bad())?,
                "--records" => options.records = value.parse().map_err(|_| bad())?,
                "--requests" => options.requests = value.parse().map_err(|_| bad())?,
                "--seconds" => options.seconds = value.parse().map_err(|_| bad())?,
                "--in-flight" => options.in_flight = value.parse().map_err(|_| bad())?,
                "--connections" => options.connections = value.parse().map_err(|_| bad())?,
                "--rate" => options.rate = Some(value.parse().map_err(|_| bad())?),
                "--seed" => options.seed = value.parse().map_err(|_| bad())?,
                "--trace-ids" => options.trace_ids = value.parse().map_err(|_| bad())?,
                _ => return Err(format!("there is no option {name}")),
            }
        }
        options.address = address.ok_or("name a server with --grpc or --http")?;
        if options.records == 0 || options.in_flight == 0 || options.connections == 0 {
            return Err("--records, --in-flight and --connections are at least 1".into());
        }
        if options.trace_ids > 0 && options.signal != Signal::Traces {
            return Err("--trace-ids goes with traces".into());
        }
        if options.is_shop && (options.signal != Signal::Traces || options.requests == u64::MAX) {
            return Err("--shape shop goes with traces, and with --requests".into());
        }
        options.connections = options.connections.min(options.in_flight);
        Ok(options)
    }
}
