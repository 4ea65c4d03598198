//! The languages that there are. A language registers with a line here; README.md says what its component has to do.

pub struct Language {
    pub name: &'static str,
    /// Whether the dead letter of a record that the plugin fails at holds the plugin's text.
    pub tells_failures: bool,
}

/// A line for each language: its name, which is that of its test and of `conformance_NAME.wasm`, and whether its failures
/// tell the plugin's text.
macro_rules! languages {
    ($($name:ident, tells_failures: $tells:literal;)*) => {
        mod each {
            $(
                #[test]
                fn $name() {
                    crate::every_scenario(&super::Language { name: stringify!($name), tells_failures: $tells });
                }
            )*
        }
    };
}

languages! {
    c, tells_failures: true;
    js, tells_failures: true;
    python, tells_failures: true;
    rust, tells_failures: true;
}
