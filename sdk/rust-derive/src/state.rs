//! Owns the derive of values kept for each key.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{DeriveInput, Error, Result};

use crate::attributes::{Attributes, fields, no_generics, snake_case};

pub fn state(item: DeriveInput) -> Result<TokenStream> {
    let attributes = Attributes::read(&item.attrs, &["table", "version"])?;
    no_generics(
        &item,
        "state outlives every batch: it owns its text (`String`)",
    )?;
    let fields = fields(&item, &["name", "since"])?;
    let ident = &item.ident;
    let table = attributes
        .table
        .map_or_else(|| snake_case(ident), |table| table.value());
    let version = attributes.version.unwrap_or(1);
    let mut newest = 1;
    for field in &fields {
        let since = field.attributes.since.unwrap_or(1);
        if since < newest || since > version {
            let message = format!(
                "fields are appended: `since` is between that of the field before ({newest}) and the struct's version \
                 ({version})"
            );
            return Err(Error::new(field.ident.span(), message));
        }
        newest = since;
    }
    let idents: Vec<_> = fields.iter().map(|field| &field.ident).collect();
    let types: Vec<_> = fields.iter().map(|field| &field.ty).collect();
    let names: Vec<_> = fields.iter().map(|field| field.name()).collect();
    let since: Vec<_> = fields
        .iter()
        .map(|field| field.attributes.since.unwrap_or(1))
        .collect();
    Ok(quote! {
        #[automatically_derived]
        impl ::segno_sdk::State for #ident {
            const TABLE: &'static str = #table;
            const VERSION: u16 = #version;

            fn columns(columns: &mut ::std::vec::Vec<::segno_sdk::derive::StateColumn>) {
                #(columns.push(::segno_sdk::derive::state_spec::<#types>(#names, #since));)*
            }

            #[inline]
            fn encode(&self, _out: &mut ::segno_sdk::derive::StateWriter<'_>) {
                #(::segno_sdk::StateField::encode(&self.#idents, _out);)*
            }

            #[inline]
            fn decode(
                _from: &mut ::segno_sdk::derive::StateReader<'_>,
            ) -> ::core::result::Result<Self, ::segno_sdk::derive::WireError> {
                ::core::result::Result::Ok(Self {
                    #(#idents: ::segno_sdk::derive::decode_field::<#types>(_from, #since)?,)*
                })
            }
        }
    })
}
