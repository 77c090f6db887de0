//! The inflated bytes, counted while they come. A bomb is noticed before it is written anywhere.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::GzDecoder;

use super::{UnpackError, UnpackLimits};

const BUFFER_BYTES: usize = 32 * 1024;

pub(super) struct Stream<'a, R: Read> {
    gzip: GzDecoder<Counted<BufReader<R>>>,
    inflated: u64,
    limits: &'a UnpackLimits,
}

// === impl Stream ===

impl<'a, R: Read> Stream<'a, R> {
    pub(super) fn new(archive: R, limits: &'a UnpackLimits) -> Self {
        let inner = Counted { inner: BufReader::with_capacity(BUFFER_BYTES, archive), bytes: 0 };
        Self { gzip: GzDecoder::new(inner), inflated: 0, limits }
    }

    /// Reads until `buffer` is full or the stream ends; tells how much was read.
    pub(super) fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, UnpackError> {
        let mut filled = 0;
        while filled < buffer.len() {
            let read = match self.gzip.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.fault(error)),
            };
            filled += read;
            self.count(read)?;
        }
        Ok(filled)
    }

    /// Reads exactly `buffer`; an archive that ends within it is truncated.
    pub(super) fn exact(&mut self, buffer: &mut [u8]) -> Result<(), UnpackError> {
        if self.fill(buffer)? == buffer.len() { Ok(()) } else { Err(UnpackError::Truncated) }
    }

    /// Reads to the end, where the checksum is: only zeros may come, and nothing after the gzip.
    ///
    /// A second gzip member is refused too: not every reader would see it.
    pub(super) fn finish(mut self) -> Result<(), UnpackError> {
        let mut buffer = [0; 4096];
        loop {
            let read = self.fill(&mut buffer)?;
            if buffer[..read].iter().any(|byte| *byte != 0) {
                return Err(UnpackError::TrailingBytes);
            }
            if read < buffer.len() {
                break;
            }
        }
        let rest = self.gzip.get_mut().fill_buf().map_err(UnpackError::Read)?;
        if rest.is_empty() { Ok(()) } else { Err(UnpackError::TrailingBytes) }
    }

    fn count(&mut self, read: usize) -> Result<(), UnpackError> {
        let UnpackLimits { unpacked_bytes, ratio, ratio_free_bytes, .. } = *self.limits;
        self.inflated += read as u64;
        if self.inflated > unpacked_bytes {
            return Err(UnpackError::TooLarge { bytes_max: unpacked_bytes });
        }
        let compressed = self.gzip.get_ref().bytes;
        if self.inflated > ratio_free_bytes.saturating_add(compressed.saturating_mul(ratio)) {
            return Err(UnpackError::Ratio { ratio });
        }
        Ok(())
    }

    fn fault(&self, error: io::Error) -> UnpackError {
        let is_start = self.inflated == 0 && self.gzip.header().is_none();
        #[expect(clippy::wildcard_enum_match_arm, reason = "the enum is open")]
        match error.kind() {
            io::ErrorKind::UnexpectedEof if self.gzip.get_ref().bytes == 0 => UnpackError::NotGzip,
            io::ErrorKind::UnexpectedEof => UnpackError::Truncated,
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData if is_start => {
                UnpackError::NotGzip
            }
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
                UnpackError::Corrupt(error.to_string())
            }
            _ => UnpackError::Read(error),
        }
    }
}

// === Counted ===

/// Counts what the decoder takes, not what the buffer in front of it holds.
struct Counted<R> {
    inner: R,
    bytes: u64,
}

impl<R: BufRead> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.bytes += read as u64;
        Ok(read)
    }
}

impl<R: BufRead> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.bytes += amount as u64;
        self.inner.consume(amount);
    }
}
