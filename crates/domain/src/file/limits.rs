//! Which files there may be, how large, and in what parts they arrive.

use super::events::{ContentType, FileKind};

/// A link holds for this many seconds at most.
pub const MAX_LINK_SECONDS: u16 = 900;

/// Up to this size a file is sent at once: a lost connection then costs little.
pub const MAX_SINGLE_UPLOAD_BYTES: i64 = 64 * MEBIBYTE;

/// S3 takes no smaller part but the last one, and 10,000 parts at most.
pub const MIN_PART_BYTES: i64 = 16 * MEBIBYTE;

/// More parts than any file needs; a list of them stays one page.
pub const MAX_PARTS: i64 = 1_000;

const MEBIBYTE: i64 = 1 << 20;
const GIBIBYTE: i64 = 1 << 30;

impl FileKind {
    /// Size of the largest file of the kind, in bytes.
    pub const fn max_bytes(self) -> i64 {
        match self {
            Self::ProfileImage => 10 * MEBIBYTE,
            Self::FormAttachment | Self::GeneratedDocument => 100 * MEBIBYTE,
            Self::ExerciseVideo => 5 * GIBIBYTE,
            Self::Recording => 15 * GIBIBYTE,
        }
    }

    /// Whether a file of the kind may contain that.
    pub const fn allows(self, content_type: ContentType) -> bool {
        use ContentType::{Jpeg, Mp4, Pdf, Png, Quicktime, Webm, Webp};
        match self {
            Self::FormAttachment => matches!(content_type, Pdf | Jpeg | Png | Webp),
            Self::ExerciseVideo => matches!(content_type, Mp4 | Quicktime | Webm),
            Self::ProfileImage => matches!(content_type, Jpeg | Png | Webp),
            Self::GeneratedDocument => matches!(content_type, Pdf),
            Self::Recording => matches!(content_type, Mp4 | Webm),
        }
    }

    /// Whether such files are uploaded by callers; Carelog makes the others itself.
    pub const fn is_uploaded(self) -> bool {
        match self {
            Self::FormAttachment | Self::ExerciseVideo | Self::ProfileImage => true,
            Self::GeneratedDocument | Self::Recording => false,
        }
    }
}

impl ContentType {
    /// Whether a browser may show it in place: it runs nothing of what it contains. A document could.
    pub const fn may_be_shown(self) -> bool {
        match self {
            Self::Jpeg | Self::Png | Self::Webp | Self::Mp4 | Self::Quicktime | Self::Webm => true,
            Self::Pdf => false,
        }
    }

    /// The ending of a name that people expect, without the dot.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Pdf => "pdf",
            Self::Jpeg => "jpg",
            Self::Png => "png",
            Self::Webp => "webp",
            Self::Mp4 => "mp4",
            Self::Quicktime => "mov",
            Self::Webm => "webm",
        }
    }
}

/// How many bytes each part has but the last; nothing where the file is sent at once.
pub const fn part_bytes_of(size_bytes: i64) -> Option<i64> {
    if size_bytes <= MAX_SINGLE_UPLOAD_BYTES {
        return None;
    }
    let needed = (size_bytes + MAX_PARTS - 1) / MAX_PARTS;
    let whole = (needed + MEBIBYTE - 1) / MEBIBYTE * MEBIBYTE;
    Some(if whole < MIN_PART_BYTES { MIN_PART_BYTES } else { whole })
}
