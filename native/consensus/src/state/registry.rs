//! The cluster's configuration, and the services' instances.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{State, full};
use crate::command::{Answer, Refusal};
use crate::limits::{MAX_INSTANCES, MAX_SETTINGS};

/// A value of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// JSON text.
    pub value: Arc<str>,
    /// Grows with each change, and is never given again, not after a removal either.
    pub version: u64,
}

/// An instance of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// What it says of itself, JSON text.
    pub value: Arc<str>,
    /// When it is forgotten unless it is renewed, in the group's time, in milliseconds.
    pub expires_ms: u64,
}

impl State {
    pub(super) fn configure(
        &mut self,
        key: &str,
        value: Option<&str>,
        expect: Option<u64>,
    ) -> Result<Answer, Refusal> {
        let version = self.settings.get(key).map_or(0, |setting| setting.version);
        if expect.is_some_and(|expect| expect != version) {
            return Err(Refusal::VersionConflict { version });
        }
        let Some(value) = value else {
            if version != 0 {
                Arc::make_mut(&mut self.settings).remove(key);
            }
            return Ok(Answer::Configured { version: 0 });
        };
        if version == 0 && self.settings.len() >= MAX_SETTINGS {
            return Err(full("configuration keys", MAX_SETTINGS));
        }
        self.revision += 1;
        let setting = Setting {
            value: Arc::from(value),
            version: self.revision,
        };
        Arc::make_mut(&mut self.settings).insert(key.to_owned(), setting);
        Ok(Answer::Configured {
            version: self.revision,
        })
    }

    pub(super) fn announce(
        &mut self,
        service: &str,
        instance: &str,
        value: &str,
        ttl_ms: u64,
    ) -> Result<Answer, Refusal> {
        let known = self
            .services
            .get(service)
            .is_some_and(|instances| instances.contains_key(instance));
        let count: usize = self
            .services
            .values()
            .map(|instances| instances.len())
            .sum();
        if !known && count >= MAX_INSTANCES {
            return Err(full("instances of services", MAX_INSTANCES));
        }
        let expires_ms = self.time_ms + ttl_ms;
        let announced = Instance {
            value: Arc::from(value),
            expires_ms,
        };
        let instances = Arc::make_mut(&mut self.services)
            .entry(service.to_owned())
            .or_default();
        Arc::make_mut(instances).insert(instance.to_owned(), announced);
        self.expires_at(expires_ms);
        Ok(Answer::Announced { expires_ms })
    }

    pub(super) fn withdraw(&mut self, service: &str, instance: &str) -> Result<Answer, Refusal> {
        let known = self
            .services
            .get(service)
            .is_some_and(|instances| instances.contains_key(instance));
        if !known {
            return Err(Refusal::UnknownInstance);
        }
        let services = Arc::make_mut(&mut self.services);
        if let Some(instances) = services.get_mut(service) {
            Arc::make_mut(instances).remove(instance);
            if instances.is_empty() {
                services.remove(service);
            }
        }
        Ok(Answer::Done)
    }

    pub(super) fn expire_instances(&mut self) {
        let now = self.time_ms;
        let expired = |instance: &Instance| instance.expires_ms <= now;
        let any = self
            .services
            .values()
            .any(|instances| instances.values().any(expired));
        if any {
            let services = Arc::make_mut(&mut self.services);
            for instances in services.values_mut() {
                Arc::make_mut(instances).retain(|_, instance| !expired(instance));
            }
            services.retain(|_, instances| !instances.is_empty());
        }
    }
}
