//! What typst needs to set a document: one template, one file of data, a few fonts, and nothing else of the machine.

use std::sync::LazyLock;

use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;
use typst::diag::{FileError, FileResult, SourceDiagnostic};
use typst::foundations::{Bytes, Datetime, Duration, Smart};
use typst::syntax::{FileId, RootedPath, Source, VirtualPath, VirtualRoot};
use typst::text::{Font, FontBook};
use typst::utils::LazyHash;
use typst::{Library, LibraryExt as _, World};
use typst_layout::PagedDocument;
use typst_pdf::{PdfOptions, PdfStandard, PdfStandards, Timestamp};

use super::{MAX_DATA_BYTES, RenderError};

/// Renderings after which what typst remembers of earlier ones is forgotten.
const REMEMBERED: usize = 2;
/// A longer word is broken: no page has room for it, and the writer of PDF has none for very long ones.
const MAX_WORD: usize = 500;
/// Stands for what no font has; every font of ours has it.
const NO_GLYPH: char = '?';
/// The fonts of documents, which together have the Latin, Greek and Cyrillic scripts, Arabic and a good many signs.
const FAMILIES: [&str; 2] = ["Libertinus Serif", "DejaVu Sans Mono"];
/// The parts of templates that several of them share.
const SHARED: &str = include_str!("shared.typ");

/// What every document is set with.
struct Paper {
    definitions: LazyHash<Library>,
    book: LazyHash<FontBook>,
    fonts: Vec<Font>,
    main: FileId,
    shared: FileId,
    data: FileId,
}

static PAPER: LazyLock<Paper> = LazyLock::new(|| {
    let fonts: Vec<Font> = typst_assets::fonts()
        .flat_map(|bytes| Font::iter(Bytes::new(bytes)))
        .filter(|font| FAMILIES.contains(&font.info().family.as_str()))
        .collect();
    let file = |name| {
        let path = VirtualPath::new(name).expect("a name of ours is a path");
        RootedPath::new(VirtualRoot::Project, path).intern()
    };
    Paper {
        definitions: LazyHash::new(Library::default()),
        book: LazyHash::new(FontBook::from_fonts(&fonts)),
        fonts,
        main: file("main.typ"),
        shared: file("shared.typ"),
        data: file("data.json"),
    }
});

/// One document.
struct Sheet {
    paper: &'static Paper,
    template: Source,
    data: Bytes,
}

impl World for Sheet {
    fn library(&self) -> &LazyHash<Library> {
        &self.paper.definitions
    }

    fn book(&self) -> &LazyHash<FontBook> {
        &self.paper.book
    }

    fn main(&self) -> FileId {
        self.paper.main
    }

    fn source(&self, id: FileId) -> FileResult<Source> {
        if id == self.paper.main {
            Ok(self.template.clone())
        } else if id == self.paper.shared {
            Ok(Source::new(id, SHARED.to_owned()))
        } else {
            Err(FileError::AccessDenied)
        }
    }

    fn file(&self, id: FileId) -> FileResult<Bytes> {
        if id == self.paper.data { Ok(self.data.clone()) } else { Err(FileError::AccessDenied) }
    }

    fn font(&self, index: usize) -> Option<Font> {
        self.paper.fonts.get(index).cloned()
    }

    /// No document depends on the day it is made.
    fn today(&self, _: Option<Duration>) -> Option<Datetime> {
        None
    }
}

/// Sets a template with its data. Takes tens of milliseconds of a processor: not for a thread that others wait for.
pub(super) fn render(
    template: &str,
    data: &impl Serialize,
    ident: &str,
    made_at: OffsetDateTime,
) -> Result<Vec<u8>, RenderError> {
    let paper = &*PAPER;
    let json = serde_json::to_string(&legible(serde_json::to_value(data)?))?;
    if json.len() > MAX_DATA_BYTES {
        return Err(RenderError::TooLarge { limit: MAX_DATA_BYTES });
    }
    let sheet = Sheet {
        paper,
        template: Source::new(paper.main, template.to_owned()),
        data: Bytes::from_string(json),
    };
    let document = typst::compile::<PagedDocument>(&sheet).output.map_err(|errors| unset(&errors))?;
    let options = PdfOptions {
        ident: Smart::Custom(ident.to_owned()),
        creator: Smart::Custom(Some("Carelog".to_owned())),
        timestamp: datetime(made_at).map(Timestamp::new_utc),
        standards: PdfStandards::new(&[PdfStandard::A_2a, PdfStandard::Ua_1])
            .map_err(|error| RenderError::Typeset(error.message().to_string()))?,
        ..PdfOptions::default()
    };
    let pdf = typst_pdf::pdf(&document, &options).map_err(|errors| unset(&errors));
    typst::comemo::evict(REMEMBERED);
    pdf
}

fn datetime(moment: OffsetDateTime) -> Option<Datetime> {
    let moment = moment.to_offset(time::UtcOffset::UTC);
    Datetime::from_ymd_hms(
        moment.year(),
        moment.month().into(),
        moment.day(),
        moment.hour(),
        moment.minute(),
        moment.second(),
    )
}

/// What is archived has a glyph for every character; what no font has, what steers, and what means nothing in common are
/// shown by a question mark. The log keeps what was written.
fn legible(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(legible_text(&text)),
        Value::Array(items) => Value::Array(items.into_iter().map(legible).collect()),
        Value::Object(fields) => {
            Value::Object(fields.into_iter().map(|(name, value)| (name, legible(value))).collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value,
    }
}

fn legible_text(text: &str) -> String {
    let (mut shown, mut word) = (String::with_capacity(text.len()), 0);
    for character in text.chars().map(legible_character) {
        word = if character.is_whitespace() { 0 } else { word + 1 };
        if word > MAX_WORD {
            shown.push('\n');
            word = 1;
        }
        shown.push(character);
    }
    shown
}

fn legible_character(character: char) -> char {
    let is_private = matches!(u32::from(character), 0xE000..=0xF8FF | 0xF_0000..);
    // In whatever style it is set.
    let has_glyph = |family| {
        let mut of_family = PAPER.fonts.iter().filter(|font| font.info().family == family);
        of_family.all(|font| font.info().coverage.contains(character.into()))
    };
    let is_shown = !character.is_control() && !is_private && FAMILIES.into_iter().any(has_glyph);
    if is_shown || character == '\n' { character } else { NO_GLYPH }
}

fn unset(errors: &[SourceDiagnostic]) -> RenderError {
    let said: Vec<_> = errors.iter().map(|error| error.message.as_str()).collect();
    RenderError::Typeset(said.join("; "))
}
