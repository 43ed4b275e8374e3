//! A node's place in a cluster, as a handle.

use std::collections::HashMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use napi::Status;
use napi::bindgen_prelude::{BigInt, Buffer};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi_derive::napi;
use otlake_base::{Code, Error, Result, Signal, StreamId};
use otlake_cluster::{Cluster, ClusterConfig, ViewMember, ViewRule};
use otlake_files::Files;
use otlake_replicate::{Quorum, Quorums};
use tokio::runtime::Handle;

use crate::failure::{Failure, Outcome};
use crate::records;

/// Names that wait to be told to JavaScript.
const QUEUE: usize = 64;

/// JavaScript's function that is told of a node whose connection broke. It does not keep the process.
pub type OnLost = ThreadsafeFunction<String, (), String, Status, false, true, QUEUE>;

/// How one signal is replicated.
#[napi(object, use_nullable = true)]
pub struct SignalQuorum {
    /// Copies, the owner's included.
    pub copies: u32,
    /// Copies that are fsynced before a success is sent.
    pub acks: u32,
    /// How long they are waited for, in milliseconds.
    pub timeout_ms: f64,
}

/// The same by signal.
#[napi(object, use_nullable = true)]
pub struct ClusterQuorum {
    /// Of spans.
    pub spans: SignalQuorum,
    /// Of metrics.
    pub metrics: SignalQuorum,
    /// Of log records.
    pub logs: SignalQuorum,
}

/// How one signal of a tenant is replicated, where that is not as for others.
#[napi(object, use_nullable = true)]
pub struct TenantQuorum {
    /// The tenant.
    pub tenant: String,
    /// `spans`, `metrics` or `logs`.
    pub signal: String,
    /// Copies, the owner's included.
    pub copies: u32,
    /// Copies that are fsynced before a success is sent.
    pub acks: u32,
    /// How long they are waited for, in milliseconds.
    pub timeout_ms: f64,
}

/// What a node of a cluster is started with.
#[napi(object, use_nullable = true)]
pub struct NativeClusterConfig {
    /// The node's name.
    pub name: String,
    /// The cluster's name.
    pub cluster: String,
    /// Where the peers' connections are taken.
    pub listen: String,
    /// 32 bytes that nodes prove to each other; null: they do not.
    pub secret: Option<Buffer>,
    /// Copies and acknowledgements.
    pub quorum: ClusterQuorum,
    /// Those of tenants that ask for something else; one for each tenant and signal.
    pub tenants: Vec<TenantQuorum>,
    /// Whether fewer acknowledgements are taken where there are too few nodes.
    pub allow_degraded: bool,
}

impl NativeClusterConfig {
    /// What Rust is started with, for the store in this folder.
    ///
    /// # Errors
    /// `CONFIG_INVALID`.
    pub fn config(&self, data_dir: &str, files: Option<Arc<Files>>) -> Result<ClusterConfig> {
        let secret = self.secret.as_ref().map(|secret| {
            <[u8; 32]>::try_from(&**secret).map_err(|_| {
                let what = format!("a secret has 32 bytes, not {}", secret.len());
                Error::new(Code::ConfigInvalid, what)
            })
        });
        let quorum = |copies: u32, acks: u32, timeout_ms: f64| Quorum {
            copies: copies as usize,
            acks: acks as usize,
            timeout: Duration::from_millis(timeout_ms as u64),
        };
        let general = |of: &SignalQuorum| quorum(of.copies, of.acks, of.timeout_ms);
        let mut quorums = Quorums::from([
            general(&self.quorum.spans),
            general(&self.quorum.metrics),
            general(&self.quorum.logs),
        ]);
        for of in &self.tenants {
            let own = quorum(of.copies, of.acks, of.timeout_ms);
            quorums = quorums.with(signal(&of.signal)?, of.tenant.as_str().into(), own);
        }
        Ok(ClusterConfig {
            name: self.name.as_str().into(),
            cluster: self.cluster.as_str().into(),
            listen: records::address(&self.listen)?,
            secret: secret.transpose()?,
            quorums,
            allow_degraded: self.allow_degraded,
            data_dir: data_dir.into(),
            disk: otlake_base::disk::real(),
            files,
        })
    }
}

/// A signal as shards and TypeScript name it.
fn signal(name: &str) -> Result<Signal> {
    match name {
        "spans" => Ok(Signal::Traces),
        "metrics" => Ok(Signal::Metrics),
        "logs" => Ok(Signal::Logs),
        _ => {
            let what = format!("`{name}` is no signal: it is spans, metrics or logs");
            Err(Error::new(Code::ConfigInvalid, what))
        }
    }
}

/// A member.
#[napi(object, use_nullable = true)]
pub struct ClusterMember {
    /// Its name.
    pub name: String,
    /// Where it takes the peers' connections.
    pub address: String,
    /// Whether it is there.
    pub alive: bool,
    /// Whether it takes tasks of queries.
    pub queries: bool,
}

/// Names by signal.
#[napi(object, use_nullable = true)]
pub struct NamesBySignal {
    /// Of spans.
    pub spans: Vec<String>,
    /// Of metrics.
    pub metrics: Vec<String>,
    /// Of log records.
    pub logs: Vec<String>,
}

/// A placement rule.
#[napi(object, use_nullable = true)]
pub struct ClusterRule {
    /// An attribute of the resource.
    pub attribute: String,
    /// Its value.
    pub value: String,
    /// Where what carries it goes.
    pub nodes: Vec<String>,
}

/// Where everything belongs.
#[napi(object, use_nullable = true)]
pub struct ClusterView {
    /// Every member, this node included.
    pub members: Vec<ClusterMember>,
    /// The owner of each shard.
    pub owners: NamesBySignal,
    /// Who follows this node's stream.
    pub followers: NamesBySignal,
    /// Who should vote in the metadata group.
    pub voters: Vec<String>,
    /// What comes before the owners.
    pub rules: Vec<ClusterRule>,
    /// Where the nodes keep the tables' files: by the hash of a file's name, who should have it.
    pub files: Vec<Vec<String>>,
}

impl ClusterView {
    /// As Rust has it.
    ///
    /// # Errors
    /// `CONFIG_INVALID` for an address that is none.
    fn view(&self) -> Result<otlake_cluster::ClusterView> {
        let members = self.members.iter().map(|member| {
            Ok(ViewMember {
                name: member.name.as_str().into(),
                address: peer_address(&member.address)?,
                alive: member.alive,
                queries: member.queries,
            })
        });
        let members = members.collect::<Result<_>>()?;
        // Thousands of owners are a few names.
        let mut known: HashMap<String, Arc<str>> = HashMap::new();
        let mut shared = |names: &NamesBySignal| {
            [&names.spans, &names.metrics, &names.logs].map(|names| {
                let names = names.iter().map(|name| {
                    let known = known.entry(name.clone());
                    Arc::clone(known.or_insert_with(|| name.as_str().into()))
                });
                names.collect::<Vec<_>>()
            })
        };
        let (owners, followers) = (shared(&self.owners), shared(&self.followers));
        let files = self.files.iter().map(|slot| {
            let names = slot.iter().map(|name| {
                let known = known.entry(name.clone());
                Arc::clone(known.or_insert_with(|| name.as_str().into()))
            });
            names.collect()
        });
        let files = files.collect();
        let rules = self.rules.iter().map(|rule| ViewRule {
            attribute: rule.attribute.clone(),
            value: rule.value.clone(),
            nodes: rule.nodes.iter().map(|node| node.as_str().into()).collect(),
        });
        Ok(otlake_cluster::ClusterView {
            members,
            owners,
            followers,
            voters: self
                .voters
                .iter()
                .map(|name| name.as_str().into())
                .collect(),
            rules: rules.collect(),
            files,
        })
    }
}

/// Where a member is reached; a name is looked up.
fn peer_address(text: &str) -> Result<SocketAddr> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let found = text
        .to_socket_addrs()
        .ok()
        .and_then(|mut found| found.next());
    found.ok_or_else(|| {
        let what = format!("`{text}` is no address of a node: it is HOST:PORT");
        Error::new(Code::ConfigInvalid, what)
    })
}

/// What a recovery came to.
#[napi(object, use_nullable = true)]
pub struct RecoveryReport {
    /// The stream.
    pub stream: String,
    /// Whether everything that was acknowledged is readable.
    pub complete: bool,
    /// Records that were recovered.
    pub records: f64,
    /// Who holds copies and did not answer.
    pub missing_from: Vec<String>,
}

/// The names of a table's log on this node's disk.
#[napi(object, use_nullable = true)]
pub struct HeldLog {
    /// The table.
    pub table: String,
    /// The names.
    pub names: Vec<String>,
}

/// A data file that was fetched for a backup; whoever took it removes it.
#[napi(object, use_nullable = true)]
pub struct LentFile {
    /// Where it is.
    pub path: String,
    /// What it is checked by.
    pub sums: String,
}

/// Who has a data file.
#[napi(object, use_nullable = true)]
pub struct FileHolders {
    /// How many nodes should.
    pub wanted: u32,
    /// Nodes with a sound copy.
    pub nodes: Vec<String>,
}

/// Who has some data files.
#[napi(object, use_nullable = true)]
pub struct FoundCopies {
    /// Of each that was asked about.
    pub files: Vec<FileHolders>,
    /// Members that could not be asked.
    pub silent: Vec<String>,
}

/// A node's place in a cluster.
#[napi]
pub struct NativeCluster {
    runtime: Handle,
    cluster: Arc<Cluster>,
}

impl NativeCluster {
    /// A handle for what was started on this runtime.
    pub fn new(runtime: Handle, cluster: Arc<Cluster>) -> NativeCluster {
        NativeCluster { runtime, cluster }
    }

    /// Runs a call on the engine's runtime.
    async fn run<T: Send + 'static, F>(&self, call: impl FnOnce(Arc<Cluster>) -> F) -> Outcome<T>
    where
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let work = call(Arc::clone(&self.cluster));
        Ok(self.runtime.spawn(work).await??)
    }
}

#[napi]
impl NativeCluster {
    /// Where the peers' connections are taken.
    #[napi(getter)]
    pub fn address(&self) -> String {
        self.cluster.address().to_string()
    }

    /// Takes over where everything belongs.
    #[napi]
    pub fn place(&self, view: ClusterView) -> napi::Result<()> {
        let _inside = self.runtime.enter();
        let placed = view.view().and_then(|view| self.cluster.place(view));
        Ok(placed.map_err(Failure::from)?)
    }

    /// Has `on_lost` told the name of each node with which a connection breaks; a second call does
    /// nothing.
    #[napi]
    pub fn watch(&self, on_lost: OnLost) {
        self.cluster.on_lost(move |node| {
            // A name that finds no place in the queue is found out by the next probe.
            on_lost.call(node.to_owned(), ThreadsafeFunctionCallMode::NonBlocking);
        });
    }

    /// Makes the metadata group, of this node alone.
    #[napi]
    pub async fn bootstrap(&self) -> napi::Result<()> {
        Ok(self.run(async |cluster| cluster.bootstrap().await).await?)
    }

    /// Resolves when the node's stream is registered.
    #[napi]
    pub async fn ready(&self) -> napi::Result<()> {
        Ok(self.run(async |cluster| cluster.ready().await).await?)
    }

    /// What the metadata group knows, as JSON.
    #[napi]
    pub fn metadata(&self) -> napi::Result<String> {
        Ok(self.cluster.metadata().to_string())
    }

    /// Waits until `metadata` tells all that was answered anywhere before.
    #[napi]
    pub async fn catch_up(&self) -> napi::Result<()> {
        Ok(self.run(async |cluster| cluster.catch_up().await).await?)
    }

    /// Sets a key of the cluster's configuration.
    #[napi]
    pub async fn configure(&self, key: String, value: String) -> napi::Result<()> {
        Ok(self
            .run(async move |cluster| cluster.configure(key, value).await)
            .await?)
    }

    /// Recovers a stream as far as can be done now.
    #[napi]
    pub async fn recover(&self, stream: String) -> napi::Result<RecoveryReport> {
        let recovered = self.run(async move |cluster| {
            let stream = StreamId::from_str(&stream)?;
            cluster.recover(stream).await
        });
        let report = recovered.await?;
        Ok(RecoveryReport {
            stream: report.stream.to_string(),
            complete: report.complete,
            records: report.records as f64,
            missing_from: report.missing.iter().map(|name| name.to_string()).collect(),
        })
    }

    /// Ends this node's stream in good order.
    #[napi]
    pub async fn drain(&self) -> napi::Result<()> {
        Ok(self.run(async |cluster| cluster.drain().await).await?)
    }

    /// Takes a lock over the cluster; its fencing token.
    #[napi]
    pub async fn lock(&self, name: String, ttl_ms: f64) -> napi::Result<BigInt> {
        let token = self.run(async move |cluster| cluster.lock(name, ttl_ms as u64).await);
        Ok(BigInt::from(token.await?))
    }

    /// Gives a lock back.
    #[napi]
    pub async fn unlock(&self, name: String, token: BigInt) -> napi::Result<()> {
        let token = token.get_u64().1;
        Ok(self
            .run(async move |cluster| cluster.unlock(name, token).await)
            .await?)
    }

    /// Where the nodes keep the tables' files: has this node's disk hold the tables' logs as of now, of one
    /// table or all.
    #[napi]
    pub async fn hold_logs(&self, table: Option<String>) -> napi::Result<Vec<HeldLog>> {
        let held = self.run(async move |cluster| {
            let files = Arc::clone(cluster.files()?);
            files.hold_logs(table.as_deref()).await
        });
        let held = held.await?.into_iter();
        Ok(held
            .map(|(table, names)| HeldLog { table, names })
            .collect())
    }

    /// Fetches a data file that this node has no sound copy of; null where it has one.
    #[napi]
    pub async fn lend(&self, key: String) -> napi::Result<Option<LentFile>> {
        let lent = self.run(async move |cluster| {
            let files = Arc::clone(cluster.files()?);
            files.lend(&key).await
        });
        Ok(lent.await?.map(|lent| LentFile {
            path: lent.path.to_string_lossy().into_owned(),
            sums: lent.sheet,
        }))
    }

    /// Who has sound copies of data files.
    #[napi]
    pub async fn find_copies(&self, keys: Vec<String>) -> napi::Result<FoundCopies> {
        let found = self.run(async move |cluster| {
            let files = Arc::clone(cluster.files()?);
            files.holders(&keys).await
        });
        let found = found.await?;
        let files = found.files.into_iter().map(|(wanted, nodes)| FileHolders {
            wanted: wanted as u32,
            nodes: nodes.iter().map(|node| node.to_string()).collect(),
        });
        Ok(FoundCopies {
            files: files.collect(),
            silent: found.silent,
        })
    }

    /// How the replication of this node's stream stands, as JSON.
    #[napi]
    pub fn status(&self) -> napi::Result<String> {
        Ok(self.cluster.status().to_string())
    }

    /// Ends the node's part.
    #[napi]
    pub async fn close(&self) -> napi::Result<()> {
        Ok(self.run(async |cluster| cluster.close().await).await?)
    }
}
