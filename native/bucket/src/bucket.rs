//! Opens a bucket.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::multipart::MultipartStore;
use otlake_base::disk::Disk;
use otlake_base::{Clock, Code, Error, Metrics, Result};

use crate::address::Address;
use crate::client::client;
use crate::disk::BucketDisk;
use crate::metered::{Meter, Metered};
use crate::mounted::{Mounted, MountedFiles};
use crate::probe::probe;
use crate::upload::{Large, LargeFiles, Uploads};
use crate::waiting::Waiting;

/// The folder, in the data folder, of large files on their way.
const SPOOL: &str = "spool";

/// How a bucket is reached. What is none comes from the AWS variables of the environment
/// (`AWS_ENDPOINT_URL`, `AWS_REGION`, `AWS_ACCESS_KEY_ID`, …), then from what AWS gives machines.
#[derive(Clone)]
pub struct BucketConfig {
    /// Where the tables are.
    pub address: Address,
    /// The store's URL, where it is not AWS.
    pub endpoint: Option<String>,
    /// The bucket's region.
    pub region: Option<String>,
    /// Whether the endpoint may be reached without TLS.
    pub allow_http: bool,
    /// An access key's id, and its secret.
    pub keys: Option<(String, String)>,
}

impl std::fmt::Debug for BucketConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the keys.
        f.debug_struct("BucketConfig")
            .field("address", &self.address)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

/// An open bucket.
pub struct Bucket {
    disk: Arc<BucketDisk>,
    files: Arc<dyn ObjectStore>,
}

impl Bucket {
    /// A bucket for a node with this data folder; nothing is asked of the store yet.
    ///
    /// # Errors
    /// `CONFIG_INVALID`, on Windows always.
    pub fn open(
        config: &BucketConfig,
        data_dir: &Path,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Bucket> {
        if cfg!(windows) {
            let message = "`storage.tables`: tables in a bucket need Linux or macOS";
            return Err(Error::new(Code::ConfigInvalid, message));
        }
        let meter = Meter::new(clock, metrics);
        let writing = Arc::new(client(config)?);
        let reading = Arc::new(client(config)?);
        let address = config.address.clone();
        Self::on(address, (writing, reading), meter, data_dir)
    }

    pub(crate) fn on<S: ObjectStore + MultipartStore>(
        address: Address,
        (writing, reading): (Arc<S>, Arc<S>),
        meter: Meter,
        data_dir: &Path,
    ) -> Result<Bucket> {
        let folder: PathBuf = data_dir.join(SPOOL);
        let metered = |store: Arc<S>| -> Arc<dyn ObjectStore> {
            Arc::new(Metered::new(store, meter.clone()))
        };
        let parts = Arc::clone(&writing) as Arc<dyn MultipartStore>;
        let uploads = Uploads::new(parts, meter.clone(), &folder);
        let stores = (metered(writing), metered(reading));
        Self::of(
            address,
            stores,
            (Large::Parts(uploads), meter.clone()),
            &folder,
        )
    }

    /// Any store as a bucket, for a node with this data folder; `large` puts what is not to be in
    /// memory as a whole.
    ///
    /// # Errors
    /// `INTERNAL` where no threads are to be had.
    pub fn over(
        address: Address,
        store: Arc<dyn ObjectStore>,
        large: Arc<dyn LargeFiles>,
        (clock, metrics): (Arc<dyn Clock>, Arc<Metrics>),
        data_dir: &Path,
    ) -> Result<Bucket> {
        let meter = Meter::new(clock, metrics);
        let metered = || -> Arc<dyn ObjectStore> {
            Arc::new(Metered::new(Arc::clone(&store), meter.clone()))
        };
        let stores = (metered(), metered());
        let folder = data_dir.join(SPOOL);
        Self::of(
            address,
            stores,
            (Large::Whole(large), meter.clone()),
            &folder,
        )
    }

    fn of(
        address: Address,
        (writing, reading): (Arc<dyn ObjectStore>, Arc<dyn ObjectStore>),
        large: (Large, Meter),
        folder: &Path,
    ) -> Result<Bucket> {
        let files = MountedFiles {
            address: address.clone(),
            bucket: reading,
            rest: LocalFileSystem::new(),
        };
        let disk = BucketDisk::new(address, writing, large, Waiting::start()?, folder);
        Ok(Bucket {
            disk: Arc::new(disk),
            files: Arc::new(files),
        })
    }

    /// The tables' folder, on `disk` and in `files`.
    pub fn path(&self) -> PathBuf {
        self.disk.address.path()
    }

    /// The bucket, below `BUCKETS`, and `rest` for every other path. Its calls block.
    pub fn disk(&self, rest: Arc<dyn Disk>) -> Arc<dyn Disk> {
        let bucket = Arc::clone(&self.disk);
        Arc::new(Mounted { bucket, rest })
    }

    /// What queries read.
    pub fn files(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.files)
    }

    /// Looks whether the bucket can hold tables that several nodes write. Blocks.
    ///
    /// # Errors
    /// `BUCKET_UNUSABLE`, `TABLE_IO`.
    pub fn probe(&self) -> Result<()> {
        let (store, address) = (Arc::clone(&self.disk.store), self.disk.address.clone());
        let probed = self
            .disk
            .waiting
            .run(async move { Ok(probe(&store, &address).await) });
        probed.map_err(|error| Error::new(Code::Internal, error))?
    }

    /// Aborts uploads that an earlier start of this node left. For whoever holds the data folder's
    /// lock. Blocks.
    pub fn sweep(&self) {
        let Large::Parts(uploads) = self.disk.large.clone() else {
            return;
        };
        match self.disk.waiting.run(async move { uploads.sweep().await }) {
            Ok(0) => {}
            Ok(swept) => {
                tracing::info!(target: "otlake::bucket", swept, "aborted uploads of an earlier start");
            }
            Err(error) => {
                tracing::warn!(target: "otlake::bucket", "uploads of an earlier start stay: {error}");
            }
        }
    }
}
