//! What a file is, by its first bytes.

#[cfg(test)]
mod tests;

use carelog_domain::file::ContentType;

/// So many bytes from the beginning say enough.
pub const SNIFFED_BYTES: usize = 64;

/// Where the brand of an ISO base media file begins (ISO/IEC 14496-12 §4.3).
const BRAND: usize = 8;

/// What the beginning of a file says that it is; nothing where it says nothing that Carelog keeps.
///
/// Signatures: PDF (ISO 32000-1 §7.5.2), JPEG (ITU-T T.81 Annex B), PNG (ISO/IEC 15948 §5.2), WebP (RFC 9649 §2.4),
/// ISO base media files by their brand, `WebM` by the EBML header and its document type (RFC 8794 §8.1).
pub fn sniff(beginning: &[u8]) -> Option<ContentType> {
    let beginning = beginning.get(..SNIFFED_BYTES).unwrap_or(beginning);
    if beginning.starts_with(b"%PDF-") {
        return Some(ContentType::Pdf);
    }
    if beginning.starts_with(&[0xff, 0xd8, 0xff]) {
        return Some(ContentType::Jpeg);
    }
    if beginning.starts_with(b"\x89PNG\r\n\x1a\n") {
        return Some(ContentType::Png);
    }
    if beginning.starts_with(b"RIFF") && beginning.get(8..12) == Some(b"WEBP") {
        return Some(ContentType::Webp);
    }
    if beginning.get(4..8) == Some(b"ftyp") {
        return iso_brand(beginning.get(BRAND..BRAND + 4)?);
    }
    if beginning.starts_with(&[0x1a, 0x45, 0xdf, 0xa3]) && contains(beginning, b"webm") {
        return Some(ContentType::Webm);
    }
    None
}

fn iso_brand(brand: &[u8]) -> Option<ContentType> {
    match brand {
        b"qt  " => Some(ContentType::Quicktime),
        b"isom" | b"iso2" | b"iso4" | b"iso5" | b"iso6" | b"mp41" | b"mp42" | b"avc1" | b"M4V " | b"dash" => {
            Some(ContentType::Mp4)
        }
        _ => None,
    }
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}
