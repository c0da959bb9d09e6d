//! The stored form of a body.

use bytes::Bytes;
use xronox_model::{Body, Encoding, Sha256};
use zstd::{bulk, zstd_safe};

use crate::StoreError;

/// Turns canonical bytes into stored ones and back.
///
/// Each body carries its [`Encoding`], so bodies written under different
/// settings lie side by side and all read back.
#[derive(Debug, Clone, Copy, Default)]
pub struct Codec {
    /// Whether and how new bodies are compressed.
    pub compression: Option<CompressionSettings>,
}

/// How new bodies are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompressionSettings {
    /// Shorter bodies stay as they are.
    pub min_bytes: usize,
    /// The zstd level: 1 (fast) to 22 (small).
    pub level: i32,
}

impl Default for CompressionSettings {
    /// From 512 bytes on, at level 3.
    fn default() -> Self {
        Self {
            min_bytes: 512,
            level: 3,
        }
    }
}

impl Codec {
    /// The stored form of canonical bytes: compressed if that is asked for
    /// and makes them shorter. That takes some milliseconds a megabyte, which
    /// a task should not spend where others wait for it.
    pub fn encode(&self, canonical: Bytes) -> (Encoding, Bytes) {
        if let Some(settings) = self.compression
            && canonical.len() >= settings.min_bytes
            // The only failure left is memory, and the plain form needs none.
            && let Ok(packed) = bulk::compress(&canonical, settings.level.clamp(1, 22))
            && packed.len() < canonical.len()
        {
            return (Encoding::Zstd, packed.into());
        }
        (Encoding::Plain, canonical)
    }

    /// The canonical bytes of a stored body that had `size` of them. Never
    /// makes more, whatever is stored.
    ///
    /// # Errors
    ///
    /// [`StoreError::Corrupt`] if the stored bytes do not decode to exactly
    /// that many.
    pub fn decode(encoding: Encoding, stored: &Bytes, size: u64) -> Result<Bytes, StoreError> {
        decode(encoding, stored, size)
            .map_err(|damage| StoreError::Corrupt(format!("a body {damage}")))
    }
}

fn decode(encoding: Encoding, stored: &Bytes, size: u64) -> Result<Bytes, Damage> {
    let canonical = match encoding {
        Encoding::Plain => stored.clone(),
        Encoding::Zstd => unpack(stored, size)?,
    };
    if canonical.len() as u64 == size {
        Ok(canonical)
    } else {
        Err(Damage::Length {
            is: canonical.len() as u64,
            should_be: size,
        })
    }
}

fn unpack(stored: &[u8], size: u64) -> Result<Bytes, Damage> {
    let mut canonical = Vec::new();
    // The size comes from storage too: one that cannot be had must not abort.
    let room = usize::try_from(size).map_err(|_| Damage::Compression)?;
    canonical
        .try_reserve_exact(room)
        .map_err(|_| Damage::Compression)?;
    bulk::Decompressor::new()
        .and_then(|mut zstd| zstd.decompress_to_buffer(stored, &mut canonical))
        .map_err(|_| Damage::Compression)?;
    Ok(canonical.into())
}

/// What a version row says of its body.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected {
    pub(super) size: u64,
    pub(super) sha256: Sha256,
    pub(super) encoding: Encoding,
}

impl Expected {
    pub(super) fn of(body: &Body) -> Self {
        Self {
            size: body.size,
            sha256: body.sha256,
            encoding: body.encoding,
        }
    }

    /// The canonical bytes, if these are the stored ones.
    pub(super) fn check(&self, stored: &Bytes) -> Result<Bytes, Damage> {
        let canonical = decode(self.encoding, stored, self.size)?;
        if Sha256::of(&canonical) == self.sha256 {
            Ok(canonical)
        } else {
            Err(Damage::Hash)
        }
    }

    /// No stored form of such a body is longer.
    pub(super) fn longest_stored(&self) -> u64 {
        match self.encoding {
            Encoding::Plain => self.size,
            Encoding::Zstd => usize::try_from(self.size)
                .map_or(u64::MAX, |size| zstd_safe::compress_bound(size) as u64),
        }
    }
}

/// How stored bytes fail to be the body they should be.
#[derive(Debug, thiserror::Error)]
pub(super) enum Damage {
    #[error("has {is} bytes where {should_be} were written")]
    Length { is: u64, should_be: u64 },
    #[error("does not decompress to what was written")]
    Compression,
    #[error("does not have the hash of what was written")]
    Hash,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packing(min_bytes: usize) -> Codec {
        Codec {
            compression: Some(CompressionSettings {
                min_bytes,
                level: 3,
            }),
        }
    }

    #[test]
    fn compression_is_for_bodies_that_gain_from_it() {
        let long = Bytes::from(vec![b'a'; 4096]);
        let short = Bytes::from(vec![b'a'; 511]);
        let noise: Bytes = (0..2000_u32)
            .flat_map(|i| Sha256::of(&i.to_le_bytes()).as_bytes().to_vec())
            .collect();
        let settings = Some(CompressionSettings::default());
        let encodings = [&long, &short, &noise].map(|body| {
            Codec {
                compression: settings,
            }
            .encode(body.clone())
            .0
        });
        assert_eq!(
            encodings,
            [Encoding::Zstd, Encoding::Plain, Encoding::Plain]
        );
        assert_eq!(Codec::default().encode(long).0, Encoding::Plain);
    }

    #[test]
    fn a_bomb_goes_no_further_than_the_recorded_size() {
        let (encoding, bomb) = packing(0).encode(vec![0; 64 << 20].into());
        assert!(bomb.len() < 10_000);
        assert!(matches!(
            Codec::decode(encoding, &bomb, 1000),
            Err(StoreError::Corrupt(_))
        ));
        assert!(Codec::decode(encoding, &bomb, 64 << 20).is_ok());
        // Sizes no memory can hold.
        for size in [u64::MAX, i64::MAX as u64] {
            assert!(matches!(
                Codec::decode(encoding, &bomb, size),
                Err(StoreError::Corrupt(_))
            ));
        }
    }

    proptest! {
        #[test]
        fn every_body_comes_back(body in proptest::collection::vec(0_u8..4, 0..3000), packed: bool) {
            let codec = if packed { packing(0) } else { Codec::default() };
            let body = Bytes::from(body);
            let (encoding, stored) = codec.encode(body.clone());
            prop_assert!(stored.len() <= body.len());
            let size = body.len() as u64;
            prop_assert_eq!(Codec::decode(encoding, &stored, size).unwrap(), body);
            prop_assert!(Codec::decode(encoding, &stored, size + 1).is_err());
            prop_assert!(size == 0 || Codec::decode(encoding, &stored, size - 1).is_err());
        }

        #[test]
        fn what_was_never_written_is_refused(stored in proptest::collection::vec(any::<u8>(), 0..200), size in 0_u64..300) {
            let sha256 = Sha256::of(b"the body");
            for encoding in [Encoding::Plain, Encoding::Zstd] {
                let expected = Expected { size, sha256, encoding };
                prop_assert!(expected.check(&stored.clone().into()).is_err());
            }
        }
    }
}
