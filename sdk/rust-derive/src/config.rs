//! Owns the derive of configurations.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Error, Expr, Fields, Lit, Result};

use crate::attributes::{Attributes, fields, no_generics, snake_case};

pub fn config(item: DeriveInput) -> Result<TokenStream> {
    Attributes::read(&item.attrs, &[])?;
    no_generics(&item, "a configuration owns what it holds (`String`)")?;
    match &item.data {
        Data::Enum(_) => words(item),
        _ => object(item),
    }
}

fn object(item: DeriveInput) -> Result<TokenStream> {
    let fields = fields(&item, &["name", "default"])?;
    let ident = &item.ident;
    let idents: Vec<_> = fields.iter().map(|field| &field.ident).collect();
    let names: Vec<_> = fields.iter().map(|field| field.name()).collect();
    let defaults: Vec<_> = fields
        .iter()
        .map(|field| {
            let ty = &field.ty;
            match &field.attributes.default {
                None => quote!(::core::option::Option::None),
                Some(None) => {
                    quote!(::core::option::Option::Some(<#ty as ::core::default::Default>::default))
                }
                // So that `default = "text"` works for a `String`.
                Some(Some(Expr::Lit(literal))) if matches!(literal.lit, Lit::Str(_)) => {
                    quote!(::core::option::Option::Some(|| ::core::convert::Into::into(#literal)))
                }
                Some(Some(value)) => quote!(::core::option::Option::Some(|| #value)),
            }
        })
        .collect();
    Ok(quote! {
        #[automatically_derived]
        impl ::segno_sdk::Config for #ident {
            fn read(
                json: &::segno_sdk::derive::Json<'_>,
                place: &::segno_sdk::Place<'_>,
            ) -> ::core::result::Result<Self, ::segno_sdk::ConfigError> {
                let _object = ::segno_sdk::derive::members(json, place, &[#(#names),*])?;
                ::core::result::Result::Ok(Self {
                    #(#idents: ::segno_sdk::derive::field(_object, place, #names, #defaults)?,)*
                })
            }
        }
    })
}

fn words(item: DeriveInput) -> Result<TokenStream> {
    let Data::Enum(data) = &item.data else {
        return Err(Error::new(item.ident.span(), "an enum is expected"));
    };
    let mut words = Vec::new();
    let mut variants = Vec::new();
    for variant in &data.variants {
        if !matches!(variant.fields, Fields::Unit) {
            return Err(Error::new(variant.ident.span(), "a word has no fields"));
        }
        let attributes = Attributes::read(&variant.attrs, &["name"])?;
        words.push(
            attributes
                .name
                .map_or_else(|| snake_case(&variant.ident), |name| name.value()),
        );
        variants.push(&variant.ident);
    }
    let ident = &item.ident;
    let places = 0..variants.len();
    Ok(quote! {
        #[automatically_derived]
        impl ::segno_sdk::Config for #ident {
            fn read(
                json: &::segno_sdk::derive::Json<'_>,
                place: &::segno_sdk::Place<'_>,
            ) -> ::core::result::Result<Self, ::segno_sdk::ConfigError> {
                match ::segno_sdk::derive::word(json, place, &[#(#words),*])? {
                    #(#places => ::core::result::Result::Ok(Self::#variants),)*
                    _ => ::core::unreachable!("`word` gives the place of one of the words"),
                }
            }
        }
    })
}
