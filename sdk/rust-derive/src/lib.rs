//! Owns the derives of `segno-sdk`: from an author's structs to the columns of the boundary.
//! Does not own what the generated code calls (`segno_sdk`), nor which types a field may have: that is decided by traits,
//! so that a wrong type is the compiler's error at the field.
//! Invariant: mistakes in the attributes are errors at their place, never a panic.

mod attributes;
mod config;
mod records;
mod state;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// The columns that a plugin reads. Field attributes: `#[segno(name = "bid.price")]`; `#[segno(event_time)]` on a
/// `Timestamp` that is no column but the record's event time.
#[proc_macro_derive(Input, attributes(segno))]
pub fn input(item: TokenStream) -> TokenStream {
    expand(parse_macro_input!(item), records::input)
}

/// The columns that a port adds or gives. Field attributes: `#[segno(name = "…")]`.
#[proc_macro_derive(Output, attributes(segno))]
pub fn output(item: TokenStream) -> TokenStream {
    expand(parse_macro_input!(item), records::output)
}

/// Several ports: each field is `Extend<…>`, `Emit<…>` or `Keep`. Field attributes: `#[segno(name = "…")]`.
#[proc_macro_derive(Outputs, attributes(segno))]
pub fn outputs(item: TokenStream) -> TokenStream {
    expand(parse_macro_input!(item), records::outputs)
}

/// A row of a side table. Struct attribute: `#[segno(table = "…")]`, else the type's name in snake case. Field
/// attributes: `#[segno(name = "…")]`, `#[segno(key)]`.
#[proc_macro_derive(TableRow, attributes(segno))]
pub fn table_row(item: TokenStream) -> TokenStream {
    expand(parse_macro_input!(item), records::table_row)
}

/// A value kept for each key. Struct attributes: `#[segno(table = "…", version = 2)]`, else the type's name in snake case
/// and version 1. Field attributes: `#[segno(name = "…")]`, `#[segno(since = 2)]` for an appended field.
#[proc_macro_derive(State, attributes(segno))]
pub fn state(item: TokenStream) -> TokenStream {
    expand(parse_macro_input!(item), state::state)
}

/// A configuration: a struct, or an enum without fields whose variants are words in snake case. Field attributes:
/// `#[segno(name = "…")]`, `#[segno(default)]`, `#[segno(default = 600)]`.
#[proc_macro_derive(Config, attributes(segno))]
pub fn config(item: TokenStream) -> TokenStream {
    expand(parse_macro_input!(item), config::config)
}

fn expand(
    item: DeriveInput,
    derive: fn(DeriveInput) -> syn::Result<proc_macro2::TokenStream>,
) -> TokenStream {
    derive(item)
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}
