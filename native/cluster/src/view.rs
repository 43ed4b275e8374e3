//! What TypeScript says of the cluster.

use std::sync::Arc;

use otlake_base::Result;
use otlake_files::FilesView;
use otlake_route::{Owners, PlacementRule};

/// A member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewMember {
    /// Its name.
    pub name: Arc<str>,
    /// Where it takes other nodes' connections, as `HOST:PORT`.
    pub address: std::net::SocketAddr,
    /// Whether it is there, as far as is known.
    pub alive: bool,
    /// Whether it takes tasks of queries.
    pub queries: bool,
}

/// Pins what carries an attribute's value to some nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewRule {
    /// An attribute of the resource.
    pub attribute: String,
    /// Its value.
    pub value: String,
    /// The nodes.
    pub nodes: Vec<Arc<str>>,
}

/// Where everything belongs, as this node sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterView {
    /// Every member, this node included.
    pub members: Vec<ViewMember>,
    /// By signal (traces, metrics, logs): the owner of each shard.
    pub owners: [Vec<Arc<str>>; 3],
    /// By signal: who holds copies of this node's stream, best first.
    pub followers: [Vec<Arc<str>>; 3],
    /// Who should vote in the metadata group: 1, 3 or 5 names.
    pub voters: Vec<Arc<str>>,
    /// Rules that come before `owners`, the first that fits.
    pub rules: Vec<ViewRule>,
    /// Where the nodes keep the tables' files: by the hash of a file's name, who should have it.
    pub files: Vec<Vec<Arc<str>>>,
}

impl ClusterView {
    /// The other members that are there.
    pub(crate) fn others(&self, own: &str) -> Vec<Arc<str>> {
        let others = self.members.iter();
        let others = others.filter(|member| member.alive && *member.name != *own);
        others.map(|member| Arc::clone(&member.name)).collect()
    }

    /// Those of them that take tasks of queries.
    pub(crate) fn queried(&self, own: &str) -> Vec<Arc<str>> {
        let others = self.members.iter();
        let others = others.filter(|member| member.alive && member.queries && *member.name != *own);
        others.map(|member| Arc::clone(&member.name)).collect()
    }

    /// Who there is, and where files belong.
    pub(crate) fn of_files(&self) -> FilesView {
        let members = self.members.iter();
        FilesView {
            members: members
                .map(|member| (Arc::clone(&member.name), member.alive))
                .collect(),
            slots: self.files.clone(),
        }
    }

    /// Who owns what in this node's eyes.
    ///
    /// # Errors
    /// `CONFIG_INVALID`.
    pub(crate) fn placed(&self, own: &Arc<str>) -> Result<Owners> {
        let rules: Vec<PlacementRule> = self
            .rules
            .iter()
            .map(|rule| PlacementRule {
                attribute: rule.attribute.clone(),
                value: rule.value.clone(),
                nodes: rule.nodes.clone(),
            })
            .collect();
        let present: Vec<Arc<str>> = self
            .members
            .iter()
            .filter(|member| member.alive)
            .map(|member| Arc::clone(&member.name))
            .collect();
        Owners::new(Arc::clone(own), self.owners.clone(), &rules, &present)
    }
}
