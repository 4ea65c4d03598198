//! Owns reading structs and their `#[segno(…)]` attributes.
//! Does not own what is made of them.

use proc_macro2::{Group, Ident, Punct, Spacing, TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::{
    Attribute, Data, DeriveInput, Error, Expr, Fields, Lifetime, LitInt, LitStr, Result, Type,
};

/// What `#[segno(…)]` may say, on a struct or on a field.
#[derive(Default)]
pub struct Attributes {
    pub name: Option<LitStr>,
    pub table: Option<LitStr>,
    pub version: Option<u16>,
    pub since: Option<u16>,
    pub key: bool,
    pub event_time: bool,
    /// `default` alone is `Some(None)`.
    pub default: Option<Option<Expr>>,
}

impl Attributes {
    /// Reads the attributes; what is not in `allowed` is refused at its place.
    pub fn read(attributes: &[Attribute], allowed: &[&str]) -> Result<Self> {
        let mut read = Self::default();
        for attribute in attributes
            .iter()
            .filter(|attribute| attribute.path().is_ident("segno"))
        {
            attribute.parse_nested_meta(|meta| {
                let word = meta
                    .path
                    .get_ident()
                    .map(Ident::to_string)
                    .unwrap_or_default();
                if !allowed.contains(&word.as_str()) {
                    let known = if allowed.is_empty() {
                        "nothing".to_owned()
                    } else {
                        allowed.join(", ")
                    };
                    return Err(
                        meta.error(format!("unknown attribute `{word}`; known here: {known}"))
                    );
                }
                match word.as_str() {
                    "name" => read.name = Some(meta.value()?.parse()?),
                    "table" => read.table = Some(meta.value()?.parse()?),
                    "version" => read.version = Some(version(&meta.value()?.parse()?)?),
                    "since" => read.since = Some(version(&meta.value()?.parse()?)?),
                    "key" => read.key = true,
                    "event_time" => read.event_time = true,
                    _ if meta.input.peek(syn::Token![=]) => {
                        read.default = Some(Some(meta.value()?.parse()?));
                    }
                    _ => read.default = Some(None),
                }
                Ok(())
            })?;
        }
        Ok(read)
    }
}

fn version(literal: &LitInt) -> Result<u16> {
    match literal.base10_parse::<u16>() {
        Ok(version) if version > 0 => Ok(version),
        _ => Err(Error::new(
            literal.span(),
            "a version is between 1 and 65535",
        )),
    }
}

/// One named field.
pub struct Field {
    pub ident: Ident,
    pub ty: Type,
    pub attributes: Attributes,
}

impl Field {
    /// The name on the boundary: the attribute's, else the field's.
    pub fn name(&self) -> String {
        match &self.attributes.name {
            Some(name) => name.value(),
            None => self.ident.to_string().trim_start_matches("r#").to_owned(),
        }
    }
}

/// The named fields of a struct.
pub fn fields(item: &DeriveInput, allowed: &[&str]) -> Result<Vec<Field>> {
    let Data::Struct(data) = &item.data else {
        return Err(Error::new(
            item.ident.span(),
            "a struct with named fields is expected",
        ));
    };
    let named = match &data.fields {
        Fields::Named(named) => &named.named,
        Fields::Unit => return Ok(Vec::new()),
        Fields::Unnamed(unnamed) => {
            return Err(Error::new(
                unnamed.span(),
                "the fields need names: they are the columns' names",
            ));
        }
    };
    let mut names = Vec::new();
    named
        .iter()
        .map(|field| {
            let ident = field
                .ident
                .clone()
                .ok_or_else(|| Error::new(field.span(), "the field needs a name"))?;
            let field = Field {
                ident,
                ty: field.ty.clone(),
                attributes: Attributes::read(&field.attrs, allowed)?,
            };
            let name = field.name();
            if names.contains(&name) {
                return Err(Error::new(
                    field.ident.span(),
                    format!("two fields are named `{name}`"),
                ));
            }
            names.push(name);
            Ok(field)
        })
        .collect()
}

/// The only lifetime of a struct, if it has one. Type and const parameters, and a second lifetime, are refused.
pub fn lifetime(item: &DeriveInput) -> Result<Option<Lifetime>> {
    if let Some(other) = item
        .generics
        .params
        .iter()
        .find(|parameter| !matches!(parameter, syn::GenericParam::Lifetime(_)))
    {
        return Err(Error::new(
            other.span(),
            "type and const parameters are not supported here",
        ));
    }
    let mut lifetimes = item.generics.lifetimes();
    let first = lifetimes.next().map(|parameter| parameter.lifetime.clone());
    match lifetimes.next() {
        Some(second) => Err(Error::new(
            second.span(),
            "one lifetime is enough: all text is borrowed from one batch",
        )),
        None => Ok(first),
    }
}

/// No parameters at all.
pub fn no_generics(item: &DeriveInput, why: &str) -> Result<()> {
    match item.generics.params.first() {
        Some(parameter) => Err(Error::new(parameter.span(), why)),
        None => Ok(()),
    }
}

/// The same tokens with one lifetime replaced by another.
pub fn with_lifetime(tokens: TokenStream, from: Option<&Lifetime>, to: &str) -> TokenStream {
    let Some(from) = from else { return tokens };
    let mut out = Vec::new();
    let mut after_tick = false;
    for token in tokens {
        let is_tick = matches!(&token, TokenTree::Punct(punct) if punct.as_char() == '\'');
        out.push(match token {
            TokenTree::Ident(ident) if after_tick && ident == from.ident => {
                TokenTree::Ident(Ident::new(to, ident.span()))
            }
            TokenTree::Group(group) => {
                let mut inner = Group::new(
                    group.delimiter(),
                    with_lifetime(group.stream(), Some(from), to),
                );
                inner.set_span(group.span());
                TokenTree::Group(inner)
            }
            TokenTree::Punct(punct) if is_tick => TokenTree::Punct({
                let mut tick = Punct::new('\'', Spacing::Joint);
                tick.set_span(punct.span());
                tick
            }),
            other => other,
        });
        after_tick = is_tick;
    }
    out.into_iter().collect()
}

/// `RunningStats` as `running_stats`.
pub fn snake_case(ident: &Ident) -> String {
    let mut out = String::new();
    for (index, character) in ident
        .to_string()
        .trim_start_matches("r#")
        .chars()
        .enumerate()
    {
        if character.is_uppercase() && index > 0 {
            out.push('_');
        }
        out.extend(character.to_lowercase());
    }
    out
}
