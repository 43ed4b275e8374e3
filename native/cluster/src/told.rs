//! What the handle tells of the group and of replication, as JSON.

use std::sync::Arc;

use otlake_base::Signal;
use otlake_consensus::state::{State, StreamState};
use serde_json::{Map, Value, json};

use crate::cluster::Cluster;

impl Cluster {
    /// What the metadata group knows, as far as this node has heard, as JSON.
    pub fn metadata(&self) -> Value {
        let (status, state) = (self.group.status(), self.group.local());
        json!({
            "group": status.group.unwrap_or_default(),
            "leader": status.leader.as_deref().unwrap_or_default(),
            "term": status.term,
            "voters": status.voters,
            "learners": status.learners,
            "refused": status.refused,
            "failure": status.failure,
            "applied": status.applied,
            "streams": streams(&state),
            "config": settings(&state),
            "services": services(&state),
        })
    }

    /// How the replication of this node's stream stands, as JSON.
    pub fn status(&self) -> Value {
        let status = self.replicator.status();
        let followers = status.followers.iter().flat_map(|follower| {
            follower.signals.iter().map(move |signal| {
                json!({
                    "name": follower.name,
                    "signal": shards_name(*signal),
                    "lagRecords": follower.lag_records,
                    "lagBytes": follower.lag_bytes,
                    "connected": follower.connected,
                })
            })
        });
        let (journal_bytes, journal_records) = self.replicas.figures();
        json!({
            "stream": self.stream().to_string(),
            "followers": followers.collect::<Vec<_>>(),
            "degraded": status.degraded,
            "pending": status.pending,
            "overdue": status.overdue,
            "fenced": status.fenced,
            "files": self.config.files.as_ref().map(|files| json!({
                "joined": *files.joined().borrow(),
                "obstacle": files.obstacle(),
            })),
            "journal": { "bytes": journal_bytes, "records": journal_records },
        })
    }
}

/// A signal as shards and TypeScript name it.
fn shards_name(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "spans",
        Signal::Metrics => "metrics",
        Signal::Logs => "logs",
    }
}

fn streams(state: &State) -> Vec<Value> {
    let name = |member: &Arc<str>| member.split('#').next().unwrap_or_default().to_owned();
    let names = |members: &[Arc<str>]| members.iter().map(name).collect::<Vec<_>>();
    let streams = state.streams.values();
    let streams = streams.map(|record| {
        let (standing, by) = match &record.state {
            StreamState::Open => ("open", ""),
            StreamState::Fenced { by } => ("fenced", &**by),
            StreamState::Sealed { by, .. } => ("sealed", &**by),
        };
        let followers = record.ensembles.last().map(|last| &last.followers);
        json!({
            "stream": record.stream.to_string(),
            "owner": record.owner,
            "epoch": record.epoch,
            "state": standing,
            "by": by,
            "followers": followers.map(|followers| json!({
                "spans": names(&followers.spans),
                "metrics": names(&followers.metrics),
                "logs": names(&followers.logs),
            })),
        })
    });
    streams.collect()
}

fn settings(state: &State) -> Map<String, Value> {
    let settings = state.settings.iter();
    settings
        .map(|(key, setting)| {
            let value = serde_json::from_str(&setting.value).unwrap_or(Value::Null);
            (key.clone(), value)
        })
        .collect()
}

fn services(state: &State) -> Map<String, Value> {
    let services = state.services.iter();
    services
        .map(|(name, instances)| {
            let instances: Map<String, Value> = instances
                .iter()
                .map(|(instance, known)| {
                    let value = serde_json::from_str(&known.value).unwrap_or(Value::Null);
                    (instance.clone(), value)
                })
                .collect();
            (name.clone(), Value::Object(instances))
        })
        .collect()
}
