//! Policies as they are asked, and what a span has to say to each.

use std::collections::HashSet;

use otlake_base::sampling_metrics::{LATE, NONE};
use otlake_base::{Code, Error, Result, limits};
use otlake_derive::attribute;
use regex::{Regex, RegexBuilder};

use crate::spans::Spans;
use crate::trace_state::{NEVER, randomness_of, sampling, threshold_of};
use crate::{Condition, Measured, Policy, Rated, Scope, Test};

/// What counters use in place of a policy's name.
const RESERVED: [&str; 2] = [NONE, LATE];

/// All policies.
pub(crate) struct Rules {
    /// What spans are asked, each once however many policies ask it: a bit of [`Evidence::met`].
    questions: Vec<Question>,
    pub(crate) policies: Vec<Rule>,
}

/// One policy.
pub(crate) struct Rule {
    pub(crate) name: String,
    /// The questions that have to be met.
    pub(crate) needs: u64,
    /// What it rejects of traces that meet them, but for the rate.
    pub(crate) threshold: u64,
    pub(crate) rate: Option<(Rated, f64)>,
}

/// What a span is asked, or a trace as a whole.
enum Question {
    Status(Vec<i32>),
    SpanLatency(u64),
    TraceLatency(u64),
    Attribute {
        key: String,
        scope: Scope,
        test: Compiled,
    },
}

enum Compiled {
    Present,
    OneOf(HashSet<String>),
    Matches(Regex),
}

impl Compiled {
    fn accepts(&self, value: &str) -> bool {
        match self {
            Compiled::Present => true,
            Compiled::OneOf(values) => values.contains(value),
            Compiled::Matches(pattern) => pattern.is_match(value),
        }
    }
}

fn invalid(policy: &str, what: impl std::fmt::Display) -> Error {
    let text = format!("`sampling.policies`: the policy `{policy}` {what}");
    Error::new(Code::ConfigInvalid, text)
}

impl Rules {
    /// # Errors
    /// `CONFIG_INVALID`, with the policy and what to correct in it.
    pub(crate) fn of(policies: &[Policy]) -> Result<Rules> {
        if policies.len() > limits::SAMPLING_MAX_POLICIES {
            let (has, most) = (policies.len(), limits::SAMPLING_MAX_POLICIES);
            let text = format!("`sampling.policies`: has {has}; give {most} at most");
            return Err(Error::new(Code::ConfigInvalid, text));
        }
        let mut rules = Rules {
            questions: Vec::new(),
            policies: Vec::new(),
        };
        for policy in policies {
            let is_taken = |rule: &Rule| rule.name == policy.name;
            if rules.policies.iter().any(is_taken) {
                return Err(invalid(
                    &policy.name,
                    "is there twice; give each its own name",
                ));
            }
            if policy.name.is_empty() || RESERVED.contains(&policy.name.as_str()) {
                let what = "cannot have this name; give it another";
                return Err(invalid(&policy.name, what));
            }
            let rule = rules.rule(policy)?;
            rules.policies.push(rule);
        }
        Ok(rules)
    }

    fn rule(&mut self, policy: &Policy) -> Result<Rule> {
        let name = &policy.name;
        let mut rule = Rule {
            name: name.clone(),
            needs: 0,
            threshold: 0,
            rate: None,
        };
        if policy.conditions.is_empty() {
            return Err(invalid(name, "has no condition; give it one"));
        }
        for condition in &policy.conditions {
            let question = match condition {
                Condition::Status(codes) if codes.is_empty() => {
                    return Err(invalid(name, "names no status; name `error`, say"));
                }
                Condition::Status(codes) => Question::Status(codes.clone()),
                Condition::Latency { of, at_least_ns } => match of {
                    Measured::Trace => Question::TraceLatency(*at_least_ns),
                    Measured::Span => Question::SpanLatency(*at_least_ns),
                },
                Condition::Attribute { key, scope, test } => Question::Attribute {
                    key: checked_key(name, key)?,
                    scope: *scope,
                    test: compiled(name, test)?,
                },
                Condition::Probability(probability) => {
                    if !(2f64.powi(-56)..=1.0).contains(probability) {
                        let what = format!(
                            "has the probability {probability}; give one above 0, and 1 at most"
                        );
                        return Err(invalid(name, what));
                    }
                    rule.threshold = rule.threshold.max(threshold_of(*probability));
                    continue;
                }
                Condition::Rate { of, per_second } => {
                    if !(per_second.is_finite() && *per_second > 0.0) {
                        let what = format!("has the rate {per_second}; give one above 0");
                        return Err(invalid(name, what));
                    }
                    if rule.rate.replace((*of, *per_second)).is_some() {
                        return Err(invalid(name, "has two rates; leave one out"));
                    }
                    continue;
                }
            };
            rule.needs |= 1 << self.asked(name, question)?;
        }
        Ok(rule)
    }

    fn asked(&mut self, policy: &str, question: Question) -> Result<usize> {
        let most = limits::SAMPLING_MAX_CONDITIONS;
        if self.questions.len() == most {
            let what = format!("has one of more than {most} conditions; leave some out");
            return Err(invalid(policy, what));
        }
        self.questions.push(question);
        Ok(self.questions.len() - 1)
    }

    /// Takes in what one span of a trace says.
    pub(crate) fn take<'a>(
        &self,
        spans: &Spans<'a>,
        row: usize,
        evidence: &mut Evidence,
        resources: &mut Resources<'a>,
    ) {
        evidence.spans += 1;
        evidence.start = evidence.start.min(spans.start(row));
        evidence.end = evidence.end.max(spans.end(row));
        if evidence.explicit.is_none() {
            evidence.explicit = sampling(spans.trace_state(row)).randomness;
        }
        for (bit, question) in self.questions.iter().enumerate() {
            if evidence.met & (1 << bit) != 0 {
                continue;
            }
            let is_met = match question {
                Question::Status(codes) => codes.contains(&spans.status(row)),
                Question::SpanLatency(at_least) => spans.duration(row) >= *at_least,
                Question::TraceLatency(_) => false,
                Question::Attribute { key, scope, test } => {
                    let own = || has(spans.attributes(row), key, test);
                    let of_resource = |resources: &mut Resources<'a>| {
                        let json = spans.resource(row);
                        resources.answer(bit, json, || has(json, key, test))
                    };
                    match scope {
                        Scope::Span => own(),
                        Scope::Resource => of_resource(resources),
                        Scope::Any => own() || of_resource(resources),
                    }
                }
            };
            evidence.met |= u64::from(is_met) << bit;
        }
    }

    /// The questions that a trace meets with all that is known of it.
    pub(crate) fn met(&self, evidence: &Evidence) -> u64 {
        let lasted = evidence.end.saturating_sub(evidence.start);
        let lasted = u64::try_from(lasted).unwrap_or(0);
        let mut met = evidence.met;
        for (bit, question) in self.questions.iter().enumerate() {
            if let Question::TraceLatency(at_least) = question {
                met |= u64::from(lasted >= *at_least) << bit;
            }
        }
        met
    }
}

/// What the last resource has answered: the spans of one resource come in a run, and its text is one.
#[derive(Default)]
pub(crate) struct Resources<'a> {
    json: &'a str,
    asked: u64,
    met: u64,
}

impl<'a> Resources<'a> {
    fn answer(&mut self, bit: usize, json: &'a str, ask: impl FnOnce() -> bool) -> bool {
        if !std::ptr::eq(self.json, json) {
            (self.json, self.asked, self.met) = (json, 0, 0);
        }
        if self.asked & (1 << bit) == 0 {
            self.asked |= 1 << bit;
            self.met |= u64::from(ask()) << bit;
        }
        self.met & (1 << bit) != 0
    }
}

/// Whether the first value that the object has by this key, and that is not empty, passes.
fn has(json: &str, key: &str, test: &Compiled) -> bool {
    let mut values = attribute::entries(json).filter(|(of, _)| *of == key);
    let value = values.find_map(|(_, value)| attribute::label(value));
    value.is_some_and(|value| test.accepts(&value))
}

/// Attributes are found as they stand in JSON: a key that JSON escapes would not be.
fn checked_key(policy: &str, key: &str) -> Result<String> {
    let is_plain = |char: char| !char.is_control() && char != '"' && char != '\\';
    if key.is_empty() || !key.chars().all(is_plain) {
        let what = format!(
            "asks for the attribute {key:?}; name one without quotes, backslashes or control characters"
        );
        return Err(invalid(policy, what));
    }
    Ok(key.to_owned())
}

fn compiled(policy: &str, test: &Test) -> Result<Compiled> {
    Ok(match test {
        Test::Present => Compiled::Present,
        Test::OneOf(values) if values.is_empty() => {
            let what = "names no value of its attribute; name some, or leave `values` out";
            return Err(invalid(policy, what));
        }
        Test::OneOf(values) => Compiled::OneOf(values.iter().cloned().collect()),
        Test::Matches(pattern) => {
            let built = RegexBuilder::new(pattern)
                .size_limit(limits::SAMPLING_REGEX_BYTES)
                .build();
            Compiled::Matches(built.map_err(|error| {
                let what = format!(
                    "has a regular expression to correct (RE2's syntax, without backreferences and looking around): {error}"
                );
                invalid(policy, what)
            })?)
        }
    })
}

/// What is known of a trace.
#[derive(Clone, Debug)]
pub(crate) struct Evidence {
    trace_id: [u8; 16],
    pub(crate) met: u64,
    start: i64,
    end: i64,
    pub(crate) spans: u64,
    explicit: Option<u64>,
}

impl Evidence {
    pub(crate) fn of(trace_id: [u8; 16]) -> Evidence {
        Evidence {
            trace_id,
            met: 0,
            start: i64::MAX,
            end: i64::MIN,
            spans: 0,
            explicit: None,
        }
    }

    /// As the first span that has it says, else by the trace's id.
    pub(crate) fn randomness(&self) -> u64 {
        let randomness = self.explicit;
        randomness.unwrap_or_else(|| randomness_of(&self.trace_id))
    }
}

const _: () = assert!(limits::SAMPLING_MAX_CONDITIONS <= u64::BITS as usize);
const _: () = assert!(NEVER < u64::MAX);
