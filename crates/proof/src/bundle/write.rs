//! Writes a bundle as a tar stream. The manifest comes last, when the hash of every file is known.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use sha2::{Digest, Sha256};
use tar::{Builder, Header};

use super::manifest::{FileDigest, Manifest};
use super::names;

const MODE: u32 = 0o644;

/// A bundle that is being written.
pub struct BundleWriter<W: Write> {
    tar: Builder<W>,
    files: BTreeMap<String, FileDigest>,
}

impl<W: Write> BundleWriter<W> {
    /// A bundle without files yet.
    pub fn new(out: W) -> Self {
        Self { tar: Builder::new(out), files: BTreeMap::new() }
    }

    /// Adds a file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.add_stream(path, bytes.len() as u64, bytes)
    }

    /// Adds a file of a known length.
    ///
    /// # Errors
    /// When it cannot be read or written, or has another length.
    pub fn add_stream(&mut self, path: &str, length: u64, content: impl Read) -> io::Result<()> {
        let mut hashing = Hashing { content: content.take(length), digest: Sha256::new(), count: 0 };
        self.tar.append_data(&mut header(length), path, &mut hashing)?;
        if hashing.count != length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let sha256 = hex::encode(hashing.digest.finalize());
        self.files.insert(path.to_owned(), FileDigest { bytes: length, sha256 });
        Ok(())
    }

    /// Adds the manifest, which gets the list of files, and ends the bundle.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(mut self, manifest: Manifest) -> io::Result<W> {
        let manifest = Manifest { files: self.files, ..manifest };
        let mut json = serde_json::to_vec_pretty(&manifest)?;
        json.push(b'\n');
        self.tar.append_data(&mut header(json.len() as u64), names::MANIFEST, json.as_slice())?;
        self.tar.into_inner()
    }
}

/// No owner and no time: one log gives one file.
fn header(length: u64) -> Header {
    let mut header = Header::new_ustar();
    header.set_size(length);
    header.set_mode(MODE);
    header.set_mtime(0);
    header
}

struct Hashing<R> {
    content: R,
    digest: Sha256,
    count: u64,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.content.read(buffer)?;
        self.digest.update(buffer.get(..count).unwrap_or_default());
        self.count += count as u64;
        Ok(count)
    }
}
