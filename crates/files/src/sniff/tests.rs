use super::*;

#[test]
fn each_type_is_known_by_its_signature() {
    let cases: [(&[u8], ContentType); 8] = [
        (b"%PDF-1.7\n", ContentType::Pdf),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", ContentType::Jpeg),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", ContentType::Png),
        (b"RIFF\x24\x00\x00\x00WEBPVP8 ", ContentType::Webp),
        (b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00", ContentType::Mp4),
        (b"\x00\x00\x00\x18ftypmp42", ContentType::Mp4),
        (b"\x00\x00\x00\x14ftypqt  ", ContentType::Quicktime),
        (b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\x82\x84webm", ContentType::Webm),
    ];
    for (beginning, content_type) in cases {
        assert_eq!(sniff(beginning), Some(content_type));
    }
}

#[test]
fn what_is_no_known_type_is_none() {
    let cases: [&[u8]; 8] = [
        b"",
        b"%PD",
        b"<html><script>",
        b"MZ\x90\x00",
        b"PK\x03\x04",
        b"RIFF\x24\x00\x00\x00WAVEfmt ",
        b"\x00\x00\x00\x18ftypheic",
        b"\x1a\x45\xdf\xa3\x9f\x42\x82\x88matroska",
    ];
    for beginning in cases {
        assert_eq!(sniff(beginning), None);
    }
}

#[test]
fn a_signature_further_on_does_not_count() {
    assert_eq!(sniff(b"GIF89a %PDF-1.7"), None);
    let mut late = vec![0x1a, 0x45, 0xdf, 0xa3];
    late.resize(SNIFFED_BYTES, 0);
    late.extend_from_slice(b"webm");
    assert_eq!(sniff(&late), None);
}
