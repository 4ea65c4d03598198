//! The world that every plugin carries.

use wit_component::{StringEncoding, metadata};
use wit_parser::Resolve;

/// `src/component-type.bin` is what makes a plugin's module complete; it has to say what `wit/*.wit` says.
#[test]
fn the_embedded_world_is_the_one_in_wit() {
    let here = ".";
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(format!("{here}/../../wit")).unwrap();
    let world = resolve.select_world(&[package], Some("transform")).unwrap();
    let encoded = metadata::encode(&resolve, world, StringEncoding::UTF8, None).unwrap();
    let path = format!("{here}/src/component-type.bin");
    if std::env::var_os("SEGNO_WRITE_COMPONENT_TYPE").is_some() {
        std::fs::write(&path, &encoded).unwrap();
    }
    assert!(
        std::fs::read(&path).unwrap() == encoded,
        "run this test with SEGNO_WRITE_COMPONENT_TYPE=1 after a change of the world, or of wit-component"
    );
}
