//! One log, one witness and one file of each kind, byte for byte.

use super::super::*;
use super::{at, reference_leaves};

const LOG_KEY: &str = "audit.example/clinic-7+90453f4a+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4";
const WITNESS_KEY: &str = "witness.example/w1+20324abe+BCmsuuFBvMrwsi4alNNNC8c2HlJtC/4SyJeUvJMilm3X";
const WITNESSED_AT: u64 = 1_767_225_600;
const CHECKPOINT: &str = "audit.example/clinic-7
7
3bib5AOAnjJXUNPSY814kpwpQreUKjS3fhIslZSnTIw=

— audit.example/clinic-7 kEU/SlfOYwZmr5ajMARcFiV+UC8W9B7Z3dL3P0tcpECLNqHQS8T7gz6RwGB9uv8vBqsWXekAeBKUA48Km4THUC54awY=
— witness.example/w1 IDJKvgAAAABpVbkAhcJ+0op5K7VQQFP46VFd7q8YIgOHojFfHdY8K4Ppuo3vWyHzAuFm1G24u9DW4XFDtxeIu3da3vkWev5ZnDwpAA==
";
const PATH_OF_5: [&str; 3] = [
    "vBoGQ7EuTS18d5GPROD095qDi2z57FtcKD4fTYhZnms=",
    "sIaT7C5yFZcTBkHoIR5+7cy0wmQTlj7ubB4u0W/7Gl8=",
    "037kGJdt2VdTwcc4Yrk5j6Kiz5tP8P3+izDNlSCWFLc=",
];
const FROM_3_TO_7: [&str; 4] = [
    "ApjRIpBtz8EIkstTpzmS/FufST6kybrbJ7eRtBJ6f+c=",
    "B1Bqhf2d0vEg62lPhgEeW7RmLlxBWmKRcDPUqWJEh+c=",
    "+sVCA+fMaWzw38tCySodnbr3CtnmIfS9jZhmLwDjwSU=",
    "g327FS6bB5AQcX6E6GXaTrwPoZioBtWdMb8VrM7yLQ4=",
];

fn key(first: u8) -> SigningKey {
    let mut seed = [0; 32];
    seed.iter_mut().zip(first..).for_each(|(byte, value)| *byte = value);
    SigningKey::from_seed(&seed)
}

fn golden_checkpoint() -> SignedCheckpoint {
    let leaves = &reference_leaves()[..7];
    let root = root(&TileSet::of_leaves(leaves), 7).unwrap();
    let checkpoint = Checkpoint { origin: "audit.example/clinic-7".to_owned(), size: 7, root };
    let mut signed = checkpoint.sign(&key(0)).unwrap();
    let text = signed.checkpoint_text();
    signed.add(&Cosignature::make(&key(32), "witness.example/w1", WITNESSED_AT, &text).unwrap());
    signed
}

#[test]
fn the_keys_are_those_of_the_golden_set() {
    let log = key(0).verifier("audit.example/clinic-7", Algorithm::Ed25519).unwrap();
    let witness = key(32).verifier("witness.example/w1", Algorithm::Cosignature).unwrap();

    assert_eq!((log.to_string(), witness.to_string()), (LOG_KEY.to_owned(), WITNESS_KEY.to_owned()));
    assert_eq!((LOG_KEY.parse(), WITNESS_KEY.parse()), (Ok(log), Ok(witness)));
}

#[test]
fn the_checkpoint_is_that_of_the_golden_set_to_the_byte() {
    assert_eq!(golden_checkpoint().to_string(), CHECKPOINT);
}

#[test]
fn the_golden_checkpoint_is_accepted_with_its_witness() {
    let signed = SignedCheckpoint::parse(CHECKPOINT).unwrap();
    let (log, witness) = (LOG_KEY.parse().unwrap(), WITNESS_KEY.parse().unwrap());

    let checkpoint = signed.verify(&[log]).unwrap();
    let cosignatures = signed.cosignatures(&[witness]).unwrap();

    assert_eq!((checkpoint.origin.as_str(), checkpoint.size), ("audit.example/clinic-7", 7));
    assert_eq!(cosignatures.iter().map(|one| one.unix_seconds).collect::<Vec<_>>(), [WITNESSED_AT]);
    assert_eq!(signed.to_string(), CHECKPOINT);
}

#[test]
fn the_proofs_are_those_of_the_golden_set() {
    let tiles = TileSet::of_leaves(&reference_leaves());

    let inclusion = InclusionProof::generate(&tiles, 5, 7).unwrap().unwrap();
    let consistency = ConsistencyProof::generate(&tiles, 3, 7).unwrap().unwrap();

    let texts = |hashes: &[Hash]| hashes.iter().map(|hash| hash.to_base64()).collect::<Vec<_>>();
    assert_eq!(texts(&inclusion.hashes), PATH_OF_5);
    assert_eq!(texts(&consistency.hashes), FROM_3_TO_7);
}

#[test]
fn a_proof_file_is_written_and_read_to_the_byte() {
    let tiles = TileSet::of_leaves(&reference_leaves());
    let inclusion = InclusionProof::generate(&tiles, 5, 7).unwrap().unwrap();
    let proof =
        TlogProof { extra: None, index: 5, hashes: inclusion.hashes, checkpoint: golden_checkpoint() };
    let expected = format!("c2sp.org/tlog-proof@v1\nindex 5\n{}\n\n{CHECKPOINT}", PATH_OF_5.join("\n"));

    let read = TlogProof::parse(&expected).unwrap();

    assert_eq!((proof.to_string(), &read), (expected, &proof));
    assert_eq!(read.verify(reference_leaves()[5], &[LOG_KEY.parse().unwrap()]), Ok(()));
    let with_extra = TlogProof { extra: Some(b"anything".to_vec()), ..proof };
    assert_eq!(TlogProof::parse(&with_extra.to_string()), Ok(with_extra));
}

#[test]
fn the_roots_are_those_of_the_reference_tree() {
    let expected = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    let tiles = TileSet::of_leaves(&reference_leaves());
    let mut edge = Edge::default();

    for (size, expected) in (0..).zip(expected) {
        assert_eq!(hex::encode(root(&tiles, size).unwrap().0), expected, "size {size}");
        assert_eq!(hex::encode(edge.root().0), expected, "edge of size {size}");
        reference_leaves().get(at(edge.size())).into_iter().for_each(|leaf| edge.append(*leaf));
    }
}
