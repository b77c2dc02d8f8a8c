//! Text has no place among the facts of an event: each file in `compile_fail` must be refused by the compiler.
//!
//! The expected messages list some closed types; after adding one, `TRYBUILD=overwrite` writes them anew.

#[test]
fn facts_with_room_for_text_do_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
}
