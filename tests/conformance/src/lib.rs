//! The rules that every source, sink, object store and journal must keep, each written once.
//!
//! - `source`: reading again gives the same; positions, gaps, ends, changes
//! - `sink`: an epoch once, in order, whoever crashed
//! - `slow`: a sink that takes hardly anything
//! - `store`: the operations that the journal relies on
//! - `journal`: entries numbered, chained, and never skipped
//!
//! Owns: the rules, and the lists of them. Does not own: how a source or a sink is made and looked at: each crate hands its
//! own in as a fixture, next to what it implements. A rule is a function of the fixture; `source_rules!(Fixture)` and its
//! like turn every rule into a test of that name, in the module where they stand.

pub mod journal;
pub mod read;
pub mod sink;
pub mod slow;
pub mod source;
pub mod store;

/// Makes a test of each rule for one implementation.
#[doc(hidden)]
#[macro_export]
macro_rules! rules {
    ($module:ident, $fixture:ty: $($rule:ident)*) => {
        $(
            #[test]
            fn $rule() {
                $crate::$module::$rule::<$fixture>();
            }
        )*
    };
}
