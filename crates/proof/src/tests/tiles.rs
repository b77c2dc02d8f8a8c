use super::super::*;
use super::leaves;

fn hashes(level: u8, n: u64, width: u64) -> TilePath {
    TilePath::Hashes { tile: Tile { level, n }, width }
}

#[test]
fn paths_are_those_of_the_specification() {
    for (path, text) in [
        (hashes(0, 0, 256), "tile/0/000"),
        (hashes(0, 1_234_067, 256), "tile/0/x001/x234/067"),
        (hashes(1, 67, 112), "tile/1/067.p/112"),
        (hashes(2, 1_000, 1), "tile/2/x001/000.p/1"),
        (TilePath::Entries { n: 1_234, width: 256 }, "tile/entries/x001/234"),
        (TilePath::Entries { n: 0, width: 7 }, "tile/entries/000.p/7"),
    ] {
        assert_eq!((path.to_string().as_str(), text.parse()), (text, Ok(path)));
    }
}

#[test]
fn other_paths_are_refused() {
    for text in [
        "",
        "tile",
        "tile/0",
        "tile/0/",
        "tile/0/1",
        "tile/0/01",
        "tile/0/0000",
        "tile/00/000",
        "tile/64/000",
        "tile/-1/000",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/000.p/",
        "tile/0/x000/001",
        "tile/0/001/000",
        "tile/0/x1/000",
        "tile/entries/000/",
        "tile/8/0/000",
        "tile/data/000",
        "tile/0/000.p/1/2",
        "tile/0/x999/x999/x999/x999/x999/x999/999",
        "tile/0/０００",
    ] {
        assert_eq!(text.parse::<TilePath>(), Err(PathError), "{text}");
    }
}

#[test]
fn widths_follow_the_size_of_the_tree() {
    let width = |level, n, size| Tile { level, n }.width(size);

    assert_eq!((width(0, 272, 70_000), width(0, 273, 70_000)), (256, 112));
    assert_eq!((width(1, 0, 70_000), width(1, 1, 70_000), width(2, 0, 70_000)), (256, 17, 1));
    assert_eq!((width(0, 0, 256), width(1, 0, 256), width(0, 1, 256)), (256, 1, 0));
    assert_eq!(width(9, 0, u64::MAX), 0);
}

#[test]
fn a_tile_holds_the_roots_of_the_full_tiles_below() {
    let leaves = leaves(70_000);
    let tiles = TileSet::of_leaves(&leaves);

    let second = tiles.get(Tile { level: 1, n: 1 }).unwrap();

    assert_eq!(second.len(), 17);
    assert_eq!(second[0], root(&TileSet::of_leaves(&leaves[65_536..65_792]), 256).unwrap());
    assert_eq!(tiles.get(Tile { level: 2, n: 0 }).unwrap(), [root(&tiles, 65_536).unwrap()]);
    assert_eq!(Tile::root_of(second), None);
}

#[test]
fn bundles_are_split_as_they_were_put_together() {
    let long = vec![7; 65_535];
    let entries: [&[u8]; 3] = [b"first", b"", &long];

    let bundle = entry_bundle(entries).unwrap();

    assert_eq!(bundle[..7], *b"\0\x05first");
    assert_eq!(split_bundle(&bundle).unwrap(), entries);
    assert_eq!(split_bundle(&bundle[..bundle.len() - 1]), None);
    assert_eq!(entry_bundle([vec![0; 65_536].as_slice()]), None);
}
