//! Owns the derives of records that cross the boundary: `Input`, `Output`, `Outputs`, `TableRow`.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote};
use syn::{DeriveInput, Error, Index, Result};

use crate::attributes::{
    Attributes, Field, fields, lifetime, no_generics, snake_case, with_lifetime,
};

/// One field's type with the struct's lifetime replaced.
fn typed(field: &Field, from: Option<&syn::Lifetime>, to: &str) -> TokenStream {
    with_lifetime(field.ty.to_token_stream(), from, to)
}

pub fn input(item: DeriveInput) -> Result<TokenStream> {
    Attributes::read(&item.attrs, &[])?;
    let borrowed = lifetime(&item)?;
    let fields = fields(&item, &["name", "event_time"])?;
    let ident = &item.ident;
    let of = borrowed.as_ref().map(|_| quote!(<'segno>));
    let types: Vec<_> = fields
        .iter()
        .map(|field| typed(field, borrowed.as_ref(), "segno"))
        .collect();
    let (idents, slots) = (idents(&fields), slots(&fields));
    let (mut specs, mut opened, mut times) = (Vec::new(), Vec::new(), 0);
    for (field, ty) in fields.iter().zip(&types) {
        if field.attributes.event_time {
            times += 1;
            if times > 1 || field.attributes.name.is_some() {
                let message = "a record has one event time, which has no name";
                return Err(Error::new(field.ident.span(), message));
            }
            opened.push(quote!(::segno_sdk::derive::open_times::<#ty>(times)?));
        } else {
            let (name, place) = (field.name(), specs.len());
            specs.push(quote!(columns.push(::segno_sdk::derive::input_spec::<#ty>(#name));));
            opened.push(quote!(::segno_sdk::derive::open_column::<#ty>(frame, #place)?));
        }
    }
    let event_time = times > 0;
    Ok(quote! {
        #[automatically_derived]
        impl<'segno> ::segno_sdk::Input<'segno> for #ident #of {
            const EVENT_TIME: bool = #event_time;
            type Columns = (#(<#types as ::segno_sdk::InputField<'segno>>::Column,)*);

            fn describe(columns: &mut ::std::vec::Vec<::segno_sdk::derive::ColumnSpec>) {
                #(#specs)*
            }

            fn open(
                frame: &::segno_sdk::derive::FrameReader<'segno>,
                times: ::core::option::Option<::segno_sdk::derive::Column<'segno>>,
            ) -> ::core::result::Result<Self::Columns, ::segno_sdk::derive::WireError> {
                ::core::result::Result::Ok((#(#opened,)*))
            }

            #[inline(always)]
            fn clip(columns: Self::Columns, rows: usize) -> Self::Columns {
                (#(<#types as ::segno_sdk::InputField<'segno>>::clip(columns.#slots, rows),)*)
            }

            #[inline(always)]
            fn read(columns: &Self::Columns, row: usize) -> Self {
                Self { #(#idents: <#types as ::segno_sdk::InputField<'segno>>::read(&columns.#slots, row),)* }
            }
        }
    })
}

pub fn output(item: DeriveInput) -> Result<TokenStream> {
    Attributes::read(&item.attrs, &[])?;
    let borrowed = lifetime(&item)?;
    let fields = fields(&item, &["name"])?;
    let ident = &item.ident;
    let fixed = borrowed.as_ref().map(|_| quote!(<'static>));
    let of = borrowed.as_ref().map(|_| quote!(<'segno>));
    let statics: Vec<_> = fields
        .iter()
        .map(|field| typed(field, borrowed.as_ref(), "static"))
        .collect();
    let anonymous: Vec<_> = fields
        .iter()
        .map(|field| typed(field, borrowed.as_ref(), "_"))
        .collect();
    let (idents, names, slots) = (idents(&fields), names(&fields), slots(&fields));
    let width = fields.len() as u16;
    Ok(quote! {
        const _: () = {
            #[derive(::core::default::Default)]
            pub struct Columns(#(<#statics as ::segno_sdk::OutputField>::Builder,)*);

            #[automatically_derived]
            impl ::segno_sdk::derive::OutputColumns for Columns {
                const WIDTH: u16 = #width;

                fn begin(&mut self, _source: &[u8]) {
                    #(::segno_sdk::derive::ColumnBuilder::begin(&mut self.#slots, _source);)*
                }

                fn truncate(&mut self, _rows: usize) {
                    #(::segno_sdk::derive::ColumnBuilder::truncate(&mut self.#slots, _rows);)*
                }

                fn write(
                    &self,
                    _source: &[u8],
                    _frame: &mut ::segno_sdk::derive::FrameWriter<'_>,
                ) -> ::core::result::Result<(), ::segno_sdk::derive::WireError> {
                    #(::segno_sdk::derive::ColumnBuilder::write(
                        &self.#slots,
                        <#statics as ::segno_sdk::OutputField>::KIND,
                        _source,
                        _frame,
                    )?;)*
                    ::core::result::Result::Ok(())
                }
            }

            #[automatically_derived]
            impl ::segno_sdk::Output for #ident #fixed {
                type Row<'segno> = #ident #of;
                type Columns = Columns;

                fn describe(columns: &mut ::std::vec::Vec<::segno_sdk::derive::ColumnSpec>) {
                    #(columns.push(::segno_sdk::derive::output_spec::<#statics>(#names));)*
                }

                #[inline(always)]
                fn push(row: Self::Row<'_>, columns: &mut Columns) {
                    #(<#anonymous as ::segno_sdk::OutputField>::push(row.#idents, &mut columns.#slots);)*
                }
            }
        };
    })
}

pub fn outputs(item: DeriveInput) -> Result<TokenStream> {
    Attributes::read(&item.attrs, &[])?;
    no_generics(&item, "ports own their rows: write `Extend<Row<'static>>`")?;
    let fields = fields(&item, &["name"])?;
    if fields.is_empty() {
        return Err(Error::new(
            item.ident.span(),
            "at least one port is expected; a plugin without any says `type Output = ()`",
        ));
    }
    let ident = &item.ident;
    let types: Vec<_> = fields.iter().map(|field| &field.ty).collect();
    let (idents, names) = (idents(&fields), names(&fields));
    let places = (0..fields.len() as u16).collect::<Vec<_>>();
    Ok(quote! {
        #[automatically_derived]
        impl ::core::default::Default for #ident {
            fn default() -> Self {
                Self { #(#idents: ::core::default::Default::default(),)* }
            }
        }

        #[automatically_derived]
        impl ::segno_sdk::Outputs for #ident {
            fn describe(ports: &mut ::std::vec::Vec<::segno_sdk::derive::OutputPort>) {
                #(::segno_sdk::derive::describe_port::<#types>(#names, ports);)*
            }

            fn begin(&mut self, source: &[u8]) {
                #(::segno_sdk::Port::begin(&mut self.#idents, source);)*
            }

            #[inline(always)]
            fn at(&mut self, row: u32) {
                #(::segno_sdk::Port::at(&mut self.#idents, row);)*
            }

            fn undo(&mut self) {
                #(::segno_sdk::Port::undo(&mut self.#idents);)*
            }

            fn used(&self) -> u16 {
                0 #(+ (::segno_sdk::Port::rows(&self.#idents) > 0) as u16)*
            }

            fn write(
                &self,
                source: &[u8],
                message: &mut ::segno_sdk::derive::MessageWriter<'_>,
            ) -> ::core::result::Result<(), ::segno_sdk::derive::WireError> {
                #(::segno_sdk::derive::write_port(&self.#idents, #places, source, message)?;)*
                ::core::result::Result::Ok(())
            }
        }
    })
}

pub fn table_row(item: DeriveInput) -> Result<TokenStream> {
    let attributes = Attributes::read(&item.attrs, &["table"])?;
    no_generics(
        &item,
        "a side table outlives every batch: its rows own their text (`String`)",
    )?;
    let fields = fields(&item, &["name", "key"])?;
    let ident = &item.ident;
    let table = attributes
        .table
        .map_or_else(|| snake_case(ident), |table| table.value());
    let types: Vec<_> = fields.iter().map(|field| &field.ty).collect();
    let (idents, names) = (idents(&fields), names(&fields));
    let places = (0..fields.len()).collect::<Vec<_>>();
    let mut keys = fields.iter().filter(|field| field.attributes.key);
    let (key_name, key_type, key) = match (keys.next(), keys.next()) {
        (None, _) => (String::new(), quote!(()), quote!(&())),
        (Some(key), None) => {
            let ident = &key.ident;
            (key.name(), key.ty.to_token_stream(), quote!(&self.#ident))
        }
        (Some(_), Some(second)) => {
            return Err(Error::new(second.ident.span(), "a side table has one key"));
        }
    };
    let locals: Vec<_> = (0..fields.len())
        .map(|place| syn::Ident::new(&format!("column_{place}"), Span::call_site()))
        .collect();
    Ok(quote! {
        #[automatically_derived]
        impl ::segno_sdk::TableRow for #ident {
            const TABLE: &'static str = #table;
            const KEY: &'static str = #key_name;
            type Key = #key_type;

            fn columns(columns: &mut ::std::vec::Vec<::segno_sdk::derive::ColumnSpec>) {
                #(columns.push(::segno_sdk::derive::input_spec::<#types>(#names));)*
            }

            fn read_all(
                frame: &::segno_sdk::derive::FrameReader<'_>,
            ) -> ::core::result::Result<::std::vec::Vec<Self>, ::segno_sdk::derive::WireError> {
                #(let #locals = ::segno_sdk::derive::open_column::<#types>(frame, #places)?;)*
                ::core::result::Result::Ok(
                    (0..frame.rows())
                        .map(|_row| Self { #(#idents: <#types as ::segno_sdk::InputField>::read(&#locals, _row),)* })
                        .collect(),
                )
            }

            fn key(&self) -> &Self::Key {
                #key
            }
        }
    })
}

fn idents(fields: &[Field]) -> Vec<&syn::Ident> {
    fields.iter().map(|field| &field.ident).collect()
}

fn names(fields: &[Field]) -> Vec<String> {
    fields.iter().map(Field::name).collect()
}

fn slots(fields: &[Field]) -> Vec<Index> {
    (0..fields.len()).map(Index::from).collect()
}
