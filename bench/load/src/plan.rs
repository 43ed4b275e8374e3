//! The services of a shop and their operations: which calls which, how long each takes, and how often it
//! fails.

use crate::random::{Random, mix};

/// Services by how deep they stand: each calls those of later layers alone, so that a trace ends.
const LAYERS: [&[&str]; 5] = [
    &["gateway"],
    &["storefront", "mobile-api", "partner-api"],
    &[
        "cart",
        "checkout",
        "catalogue",
        "search",
        "recommendation",
        "account",
        "orders",
    ],
    &[
        "payment",
        "shipping",
        "pricing",
        "inventory",
        "notification",
        "currency",
        "ads",
        "review",
    ],
    &["ledger"],
];
/// Services in all.
pub const SERVICES: usize = 20;
const NOUNS: [&str; 15] = [
    "items",
    "offers",
    "quotes",
    "sessions",
    "addresses",
    "prices",
    "stock",
    "invoices",
    "parcels",
    "ratings",
    "banners",
    "rates",
    "events",
    "accounts",
    "reports",
];
/// How many databases there are.
pub const DATABASES: u64 = 3;
const METHODS: [&str; 5] = ["GET", "GET", "GET", "POST", "PUT"];

/// What a service does.
pub struct Operation {
    pub service: usize,
    pub method: &'static str,
    pub route: String,
    pub name: String,
    pub median_ns: f64,
    /// Of a million, how often it fails by itself.
    pub fails: u64,
    /// Operations that it may call.
    pub calls: Vec<usize>,
    /// Which database it asks, by number, and for what.
    pub asks: Vec<(usize, &'static str)>,
}

/// All of them.
pub struct Plan {
    pub services: Vec<&'static str>,
    pub operations: Vec<Operation>,
    /// Operations that traces begin with.
    pub roots: usize,
}

impl Plan {
    /// The same for the same seed.
    pub fn new(seed: u64) -> Plan {
        let mut random = Random::new(mix(seed ^ 0x5340_5053));
        let services: Vec<&'static str> = LAYERS.concat();
        let mut layer_ends = Vec::new();
        for layer in LAYERS {
            layer_ends.push(layer_ends.last().unwrap_or(&0) + layer.len());
        }
        let count = services.len() * NOUNS.len();
        let mut operations = Vec::with_capacity(count);
        for (service, name) in services.iter().enumerate() {
            let deeper = layer_ends.iter().find(|end| service < **end);
            let first = deeper.map_or(count, |end| end * NOUNS.len());
            for noun in NOUNS {
                let method = METHODS[random.below(METHODS.len() as u64) as usize];
                let route = format!("/{name}/{noun}/{{id}}");
                let calls = if first < count { random.below(5) } else { 0 };
                let calls =
                    (0..calls).map(|_| first + random.below((count - first) as u64) as usize);
                let calls = calls.collect();
                let asks = (0..random.below(3)).map(|_| (random.below(DATABASES) as usize, noun));
                let asks = asks.collect();
                operations.push(Operation {
                    service,
                    method,
                    name: format!("{method} {route}"),
                    route,
                    // From 0.1 to 20 ms.
                    median_ns: 100_000.0 * 200_f64.powf(random.unit()),
                    // Most hardly ever, some in a hundred.
                    fails: 200 + (30_000.0 * random.unit().powi(4)) as u64,
                    calls,
                    asks,
                });
            }
        }
        let roots = layer_ends[1] * NOUNS.len();
        Plan {
            services,
            operations,
            roots,
        }
    }
}
