//! Policies of tail sampling, as TypeScript gives them.

use napi_derive::napi;
use otlake_base::{Code, Error, Result};
use otlake_processor::{Condition, Measured, Policy, Rated, SampleConfig, Scope, Test};

const NANOS_PER_MS: f64 = 1e6;

/// Which traces are written to files.
#[napi(object, use_nullable = true)]
pub struct SamplingRecord {
    /// What keeps traces; without any, everything is kept.
    pub policies: Vec<PolicyRecord>,
    /// How long spans wait for the others of their traces, in milliseconds.
    pub decision_wait_ms: f64,
    /// Decisions that are remembered.
    pub max_decisions: f64,
}

/// One policy.
#[napi(object, use_nullable = true)]
pub struct PolicyRecord {
    /// What counters call it.
    pub name: String,
    /// All have to hold.
    pub conditions: Vec<ConditionRecord>,
}

/// One condition; of a field that is not of its kind null.
#[napi(object, use_nullable = true)]
pub struct ConditionRecord {
    /// `status`, `latency`, `attribute`, `rate` or `probability`.
    pub kind: String,
    /// OTLP's status codes.
    pub codes: Option<Vec<i32>>,
    /// Of a latency `trace` or `span`; of an attribute `any`, `span` or `resource`; of a rate `traces`
    /// or `spans`.
    pub of: Option<String>,
    /// A latency, in milliseconds.
    pub at_least_ms: Option<f64>,
    /// An attribute's key.
    pub key: Option<String>,
    /// Values that it may have.
    pub values: Option<Vec<String>>,
    /// A regular expression that its value has to match.
    pub matches: Option<String>,
    /// A rate.
    pub per_second: Option<f64>,
    /// A share, above 0 and up to 1.
    pub probability: Option<f64>,
}

impl SamplingRecord {
    /// The same as the processor has it.
    ///
    /// # Errors
    /// `CONFIG_INVALID` for a condition that is incomplete.
    pub fn config(&self) -> Result<SampleConfig> {
        let policies = self.policies.iter();
        Ok(SampleConfig {
            policies: policies.map(PolicyRecord::policy).collect::<Result<_>>()?,
            decision_wait_ms: self.decision_wait_ms as u64,
            max_decisions: self.max_decisions as usize,
        })
    }
}

impl PolicyRecord {
    fn policy(&self) -> Result<Policy> {
        let conditions = self.conditions.iter().map(|of| of.condition(&self.name));
        Ok(Policy {
            name: self.name.clone(),
            conditions: conditions.collect::<Result<_>>()?,
        })
    }
}

impl ConditionRecord {
    fn condition(&self, policy: &str) -> Result<Condition> {
        self.read().ok_or_else(|| {
            let text = format!(
                "`sampling.policies`: the policy `{policy}` has an incomplete `{}`; docs/sampling.md has what belongs to it",
                self.kind
            );
            Error::new(Code::ConfigInvalid, text)
        })
    }

    fn read(&self) -> Option<Condition> {
        Some(match (self.kind.as_str(), self.of.as_deref()) {
            ("status", _) => Condition::Status(self.codes.clone()?),
            ("latency", Some(of)) => Condition::Latency {
                of: match of {
                    "trace" => Measured::Trace,
                    "span" => Measured::Span,
                    _ => return None,
                },
                at_least_ns: (self.at_least_ms? * NANOS_PER_MS) as u64,
            },
            ("attribute", Some(of)) => Condition::Attribute {
                key: self.key.clone()?,
                scope: match of {
                    "any" => Scope::Any,
                    "span" => Scope::Span,
                    "resource" => Scope::Resource,
                    _ => return None,
                },
                test: match (&self.values, &self.matches) {
                    (None, None) => Test::Present,
                    (Some(values), None) => Test::OneOf(values.clone()),
                    (None, Some(pattern)) => Test::Matches(pattern.clone()),
                    (Some(_), Some(_)) => return None,
                },
            },
            ("rate", Some(of)) => Condition::Rate {
                of: match of {
                    "traces" => Rated::Traces,
                    "spans" => Rated::Spans,
                    _ => return None,
                },
                per_second: self.per_second?,
            },
            ("probability", _) => Condition::Probability(self.probability?),
            _ => return None,
        })
    }
}
