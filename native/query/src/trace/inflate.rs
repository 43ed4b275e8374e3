//! Decompression of a page, as a whole or from its beginning as far as it is asked for. What it takes is
//! kept for the next lookup: made anew it would take as long as decompressing a small page.

use std::sync::Arc;

use datafusion::parquet::errors::{ParquetError, Result};
use parking_lot::Mutex;
use zstd::zstd_safe::{
    DCtx, InBuffer, OutBuffer, ResetDirective, get_error_name, get_frame_content_size,
};

/// Inflaters that are kept while no lookup needs them (I5).
const KEPT: usize = 4;
/// Bytes that one which is kept has, at most: it has seen pages of a megabyte.
const KEPT_BYTES: usize = 4 * 1024 * 1024;
/// Bytes of the largest page: the format has them in 31 bits.
const LARGEST: usize = i32::MAX as usize;
/// Bytes that are decompressed at once of a page that does not tell how many it has.
const STEP: usize = 128 * 1024;

/// Decompresses Zstandard, page after page.
pub(super) struct Inflater {
    context: DCtx<'static>,
    /// What was decompressed last is in its beginning.
    bytes: Vec<u8>,
}

/// What the columns of a thread decompress with, one after the other.
pub(super) type Shared = Arc<Mutex<Inflater>>;

/// Those that no lookup needs just now.
#[derive(Default)]
pub(super) struct Inflaters(Mutex<Vec<Shared>>);

/// A page that is decompressed from its beginning, as far as it is asked for.
pub(super) struct Beginning<'a> {
    context: &'a mut DCtx<'static>,
    page: InBuffer<'a>,
    /// Of the page's size.
    bytes: &'a mut [u8],
    done: usize,
}

impl Inflaters {
    /// # Errors
    /// Where there is no memory for one.
    pub(super) fn take(&self) -> Result<Shared> {
        if let Some(kept) = self.0.lock().pop() {
            return Ok(kept);
        }
        let context = DCtx::try_create();
        let context = context.ok_or_else(|| {
            ParquetError::General("there is no memory to decompress pages".to_owned())
        })?;
        Ok(Arc::new(Mutex::new(Inflater {
            context,
            bytes: Vec::new(),
        })))
    }

    /// Takes one back.
    pub(super) fn put(&self, inflater: &Shared) {
        let size = {
            let inflater = inflater.lock();
            inflater.context.sizeof() + inflater.bytes.capacity()
        };
        let mut kept = self.0.lock();
        if size <= KEPT_BYTES && kept.len() < KEPT {
            kept.push(Arc::clone(inflater));
        }
    }
}

/// The bytes that a page tells it has; none where it does not tell, or tells more than it may.
fn told(page: &[u8]) -> Option<usize> {
    let told = get_frame_content_size(page).ok().flatten()?;
    let told = usize::try_from(told).ok()?;
    (told <= LARGEST).then_some(told)
}

fn failed(code: usize) -> ParquetError {
    ParquetError::General(format!(
        "a page cannot be decompressed: {}",
        get_error_name(code)
    ))
}

fn cut_short() -> ParquetError {
    ParquetError::EOF("a compressed page is cut short".to_owned())
}

impl Inflater {
    /// All of a page.
    pub(super) fn whole(&mut self, page: &[u8]) -> Result<&[u8]> {
        self.bytes.clear();
        if page.is_empty() {
            return Ok(&[]);
        }
        if let Some(size) = told(page) {
            self.bytes.reserve(size);
            if self.context.decompress(&mut self.bytes, page).is_ok() {
                return Ok(&self.bytes);
            }
        }
        // It may be one of several frames, which a writer may put one after the other.
        self.in_steps(page)?;
        Ok(&self.bytes)
    }

    /// The same in memory of its own.
    pub(super) fn owned(&mut self, page: &[u8]) -> Result<Vec<u8>> {
        let size = told(page).filter(|_| !page.is_empty());
        let mut bytes = Vec::with_capacity(size.unwrap_or(0));
        if size.is_some() && self.context.decompress(&mut bytes, page).is_ok() {
            return Ok(bytes);
        }
        Ok(self.whole(page)?.to_vec())
    }

    fn in_steps(&mut self, page: &[u8]) -> Result<()> {
        self.bytes.clear();
        self.context
            .reset(ResetDirective::SessionOnly)
            .map_err(failed)?;
        let mut page = InBuffer::around(page);
        let mut step = vec![0; STEP];
        loop {
            let mut out = OutBuffer::around(&mut step[..]);
            let left = self.context.decompress_stream(&mut out, &mut page);
            let left = left.map_err(failed)?;
            let got = out.pos();
            if self.bytes.len() + got > LARGEST {
                return Err(ParquetError::General("a page is too large".to_owned()));
            }
            self.bytes.extend_from_slice(&step[..got]);
            match (left, page.pos == page.src.len()) {
                (0, true) => return Ok(()),
                (_, true) if got < STEP => return Err(cut_short()),
                _ => {}
            }
        }
    }

    /// The beginning of a page; none where it does not tell how large it is.
    pub(super) fn beginning<'a>(&'a mut self, page: &'a [u8]) -> Result<Option<Beginning<'a>>> {
        let Some(size) = told(page) else {
            return Ok(None);
        };
        self.context
            .reset(ResetDirective::SessionOnly)
            .map_err(failed)?;
        if self.bytes.len() < size {
            self.bytes.resize(size, 0);
        }
        Ok(Some(Beginning {
            context: &mut self.context,
            page: InBuffer::around(page),
            bytes: &mut self.bytes[..size],
            done: 0,
        }))
    }
}

impl Beginning<'_> {
    /// Bytes of the whole page.
    pub(super) fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The page's first bytes, as many as it has at most.
    pub(super) fn first(&mut self, length: usize) -> Result<&[u8]> {
        let length = length.min(self.bytes.len());
        while self.done < length {
            let mut out = OutBuffer::around(&mut self.bytes[self.done..length]);
            let before = self.page.pos;
            self.context
                .decompress_stream(&mut out, &mut self.page)
                .map_err(failed)?;
            let got = out.pos();
            if got == 0 && self.page.pos == before {
                return Err(cut_short());
            }
            self.done += got;
        }
        Ok(&self.bytes[..length])
    }
}
