//! The table of a sink: what it must look like, the statement that makes it, the statements that write it.
//!
//! Owns: SQL types, names in quotes, the comparison of a table with a schema. Does not own: values (`encode`).
//!
//! Invariants: an existing table is never changed. Every reason why it does not fit is named at once.

use segno_core::columns::{ColumnType, Schema};
use tokio_postgres::{Client, Error};

/// Where a row came from; the key of a table whose user chose none.
const LINEAGE: [(&str, ColumnType); 4] = [
    ("segno_source", ColumnType::Utf8),
    ("segno_partition", ColumnType::Utf8),
    ("segno_offset", ColumnType::I64),
    ("segno_index", ColumnType::I64),
];
/// Bytes of a name; PostgreSQL cuts longer ones silently.
const NAME_BYTES_MAX: usize = 63;
/// The rows of an epoch on their way, visible to this session only.
pub const ON_THE_WAY: &str = "pg_temp.segno_rows";

struct Wanted {
    name: String,
    ty: ColumnType,
    nullable: bool,
}

pub struct Table {
    /// As the pipeline file has it: `table` or `schema.table`.
    given: String,
    columns: Vec<Wanted>,
    key: Vec<String>,
    by_lineage: bool,
}

/// What was found in the database.
pub struct Standing {
    /// `schema.table`, whether it exists or would be made.
    pub name: String,
    pub exists: bool,
    /// Why it cannot be written, each with what would mend it; empty: it can.
    pub reasons: Vec<Reason>,
}

pub struct Reason {
    pub what: String,
    pub mend: Option<String>,
}

impl Reason {
    fn new(what: impl Into<String>) -> Reason {
        Reason { what: what.into(), mend: None }
    }
    fn mended_by(what: impl Into<String>, mend: impl Into<String>) -> Reason {
        Reason { what: what.into(), mend: Some(mend.into()) }
    }
}

pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn quoted_list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(quoted).collect::<Vec<_>>().join(", ")
}

/// `schema.table` or `table`, each part in quotes. Neither part holds a point: the pipeline file is checked.
pub fn quoted_path(path: &str) -> String {
    path.split('.').map(quoted).collect::<Vec<_>>().join(".")
}

/// The smallest type that holds every value.
fn sql_type(ty: ColumnType) -> String {
    match ty {
        ColumnType::Bool => "boolean".to_owned(),
        ColumnType::I32 => "integer".to_owned(),
        ColumnType::U32 | ColumnType::I64 => "bigint".to_owned(),
        ColumnType::U64 => "numeric(20)".to_owned(),
        ColumnType::F64 => "double precision".to_owned(),
        ColumnType::Utf8 => "text".to_owned(),
        ColumnType::Binary => "bytea".to_owned(),
        ColumnType::Timestamp => "timestamptz".to_owned(),
        ColumnType::Date => "date".to_owned(),
        ColumnType::Decimal128 { precision, scale: scale @ 0.. } => format!("numeric({precision},{scale})"),
        ColumnType::Decimal128 { precision, scale } => {
            format!("numeric({})", u32::from(precision) + u32::from(scale.unsigned_abs()))
        }
    }
}

/// Digits before and after the decimal point.
fn digits(ty: ColumnType) -> Option<(i32, i32)> {
    Some(match ty {
        ColumnType::I32 | ColumnType::U32 => (10, 0),
        ColumnType::I64 => (19, 0),
        ColumnType::U64 => (20, 0),
        ColumnType::Decimal128 { precision, scale } => (i32::from(precision) - i32::from(scale), i32::from(scale.max(0))),
        _ => return None,
    })
}

/// Whether a column of PostgreSQL's type holds every value. `modifier` is `atttypmod`.
fn holds(ty: ColumnType, type_name: &str, modifier: i32) -> bool {
    match (ty, type_name) {
        (ColumnType::Bool, "bool")
        | (ColumnType::I32, "int4" | "int8")
        | (ColumnType::U32 | ColumnType::I64, "int8")
        | (ColumnType::F64, "float8")
        | (ColumnType::Utf8, "text")
        | (ColumnType::Binary, "bytea")
        | (ColumnType::Date, "date") => true,
        (ColumnType::Utf8, "varchar") => modifier == -1,
        (ColumnType::Timestamp, "timestamptz") => modifier == -1 || modifier == 6,
        (ty, "numeric") => digits(ty).is_some_and(|(before, after)| {
            // ((precision << 16) | scale) + 4, the scale in eleven bits with a sign.
            let packed = modifier - 4;
            let (precision, scale) = (packed >> 16, ((packed & 0x7ff) ^ 0x400) - 0x400);
            modifier == -1 || (scale >= after && precision - scale >= before)
        }),
        _ => false,
    }
}

impl Table {
    pub fn new(given: &str, schema: &Schema, key: &[String]) -> Table {
        let by_lineage = key.is_empty();
        let of_row = schema.columns.iter().map(|c| Wanted { name: c.name.clone(), ty: c.ty, nullable: c.nullable });
        let of_lineage = LINEAGE.iter().map(|&(name, ty)| Wanted { name: name.to_owned(), ty, nullable: false });
        Table {
            given: given.to_owned(),
            columns: of_row.chain(of_lineage.filter(|_| by_lineage)).collect(),
            key: match by_lineage {
                true => LINEAGE.iter().map(|(name, _)| (*name).to_owned()).collect(),
                false => key.to_vec(),
            },
            by_lineage,
        }
    }

    /// True when the key is where each row came from: every row is kept.
    pub fn by_lineage(&self) -> bool {
        self.by_lineage
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|column| column.name.as_str())
    }

    /// The statement that makes it under the name `schema.table`.
    pub fn create_statement(&self, name: &str) -> String {
        let mut text = format!("CREATE TABLE {} (\n", quoted_path(name));
        for column in &self.columns {
            let null = if column.nullable { "" } else { " NOT NULL" };
            text.push_str(&format!("    {} {}{null},\n", quoted(&column.name), sql_type(column.ty)));
        }
        text.push_str(&format!("    PRIMARY KEY ({})\n)", quoted_list(self.key.iter().map(String::as_str))));
        text
    }

    /// The statement that makes the table of rows on their way.
    pub fn on_the_way_statement(&self) -> String {
        let columns: Vec<String> =
            self.columns.iter().map(|column| format!("{} {}", quoted(&column.name), sql_type(column.ty))).collect();
        format!("CREATE TEMPORARY TABLE segno_rows ({}) ON COMMIT DELETE ROWS", columns.join(", "))
    }

    pub fn copy_statement(&self) -> String {
        format!("COPY {ON_THE_WAY} ({}) FROM STDIN WITH (FORMAT binary)", quoted_list(self.names()))
    }

    /// The statement that moves rows on their way into the table `schema.table`.
    pub fn write_statement(&self, name: &str) -> String {
        let (columns, key) = (quoted_list(self.names()), quoted_list(self.key.iter().map(String::as_str)));
        let others: Vec<String> = self
            .names()
            .filter(|name| !self.key.iter().any(|key| key == name))
            .map(|name| format!("{0} = EXCLUDED.{0}", quoted(name)))
            .collect();
        let action =
            if others.is_empty() { "NOTHING".to_owned() } else { format!("UPDATE SET {}", others.join(", ")) };
        let name = quoted_path(name);
        format!("INSERT INTO {name} ({columns}) SELECT {columns} FROM {ON_THE_WAY} ON CONFLICT ({key}) DO {action}")
    }

    /// Reasons that need no database.
    pub fn own_reasons(&self) -> Vec<Reason> {
        let mut reasons = Vec::new();
        for (number, column) in self.columns.iter().enumerate() {
            let name = &column.name;
            if name.len() > NAME_BYTES_MAX || name.is_empty() || name.contains('\0') {
                reasons.push(Reason::new(format!(
                    "the column name \"{}\" is not one that PostgreSQL keeps: it has 1 to {NAME_BYTES_MAX} bytes",
                    name.escape_debug()
                )));
            }
            if self.names().take(number).any(|earlier| earlier == name) {
                reasons.push(Reason::new(format!("the column \"{name}\" is Segno's own: rename it in a step, or give a key")));
            }
        }
        for name in &self.key {
            match self.columns.iter().find(|column| column.name == *name) {
                None => reasons.push(Reason::new(format!("the key column \"{name}\" is not among the columns of the rows"))),
                Some(column) if column.nullable => {
                    reasons.push(Reason::new(format!("the key column \"{name}\" may be null, so it is no key")));
                }
                Some(_) => {}
            }
        }
        reasons
    }

    /// Looks at the table in the database.
    pub async fn examine(&self, client: &Client) -> Result<Standing, Error> {
        // The schema `segno` is in the search path of a user segno once it is made: it holds marks only.
        let (schema, table) = match self.given.split_once('.') {
            Some((schema, table)) => (Some(schema), table),
            None => (None, self.given.as_str()),
        };
        let found = client
            .query_opt(
                "SELECT s.name, to_regnamespace(quote_ident(s.name)) IS NOT NULL, c.oid, coalesce(c.relkind::text, '') \
                 FROM unnest(CASE WHEN $1::text IS NULL THEN current_schemas(false)::text[] ELSE ARRAY[$1::text] END) WITH ORDINALITY AS s(name, place) \
                 LEFT JOIN pg_class c ON c.oid = to_regclass(quote_ident(s.name) || '.' || quote_ident($2::text)) \
                 WHERE $1 IS NOT NULL OR s.name <> 'segno' ORDER BY c.oid IS NULL, s.place LIMIT 1",
                &[&schema, &table],
            )
            .await?;
        let mut reasons = self.own_reasons();
        let Some(found) = found else {
            reasons.push(Reason::new("the search_path of this user names no schema: write schema.table"));
            return Ok(Standing { name: self.given.clone(), exists: false, reasons });
        };
        let (schema, there, oid, kind): (&str, bool, Option<u32>, &str) =
            (found.get(0), found.get(1), found.get(2), found.get(3));
        let name = format!("{schema}.{table}");
        if !there {
            let mend = format!("CREATE SCHEMA {};", quoted(schema));
            reasons.push(Reason::mended_by(format!("there is no schema \"{schema}\""), mend));
        }
        if name == "segno.marks" {
            reasons.push(Reason::new("it is Segno's own"));
        }
        let Some(oid) = oid else { return Ok(Standing { name, exists: false, reasons }) };
        if kind != "r" && kind != "p" {
            reasons.push(Reason::new("it is not a table (a view, a foreign table or a sequence cannot be written like one)"));
            return Ok(Standing { name, exists: true, reasons });
        }
        reasons.extend(self.column_reasons(client, oid, &name).await?);
        if reasons.is_empty() {
            reasons.extend(self.key_reason(client, oid, &name).await?);
        }
        for privilege in ["SELECT", "INSERT", "UPDATE"] {
            let may = client.query_one("SELECT has_table_privilege($1::oid, $2)", &[&oid, &privilege]).await?;
            if !may.get::<_, bool>(0) {
                let grant = format!("GRANT {privilege} ON {} TO CURRENT_USER_OF_SEGNO;", quoted_path(&name));
                reasons.push(Reason::mended_by(format!("this user may not {privilege}"), grant));
            }
        }
        Ok(Standing { name, exists: true, reasons })
    }

    async fn column_reasons(&self, client: &Client, oid: u32, name: &str) -> Result<Vec<Reason>, Error> {
        let there = client
            .query(
                "SELECT a.attname::text, t.typname::text, a.atttypmod, format_type(a.atttypid, a.atttypmod), a.attnotnull, \
                        a.atthasdef OR a.attidentity <> '', a.attgenerated <> '' OR a.attidentity = 'a' \
                 FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid \
                 WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
                &[&oid],
            )
            .await?;
        let mut reasons = Vec::new();
        let alter = format!("ALTER TABLE {}", quoted_path(name));
        for column in &self.columns {
            let wanted = sql_type(column.ty);
            let quoted = quoted(&column.name);
            let Some(row) = there.iter().find(|row| row.get::<_, &str>(0) == column.name) else {
                let mend = format!("{alter} ADD COLUMN {quoted} {wanted};");
                reasons.push(Reason::mended_by(format!("the column {quoted} is missing"), mend));
                continue;
            };
            let (type_name, modifier, shown): (&str, i32, &str) = (row.get(1), row.get(2), row.get(3));
            if !holds(column.ty, type_name, modifier) {
                let mend = format!("{alter} ALTER COLUMN {quoted} TYPE {wanted};");
                let what = format!("the column {quoted} is {shown}, and rows hold {} ({wanted})", column.ty);
                reasons.push(Reason::mended_by(what, mend));
            } else if row.get::<_, bool>(6) {
                reasons.push(Reason::new(format!("the column {quoted} is generated, so it cannot be written")));
            } else if column.nullable && row.get::<_, bool>(4) {
                let mend = format!("{alter} ALTER COLUMN {quoted} DROP NOT NULL;");
                reasons.push(Reason::mended_by(format!("the column {quoted} is NOT NULL, and rows may hold null"), mend));
            }
        }
        for row in &there {
            let (column, not_null, filled): (&str, bool, bool) = (row.get(0), row.get(4), row.get(5));
            if not_null && !filled && !self.names().any(|name| name == column) {
                let quoted = quoted(column);
                let mend = format!("{alter} ALTER COLUMN {quoted} DROP NOT NULL;");
                reasons.push(Reason::mended_by(format!("the column {quoted} is NOT NULL and never written"), mend));
            }
        }
        Ok(reasons)
    }

    /// `ON CONFLICT` needs a unique index on exactly the key, for all rows, checked at once.
    async fn key_reason(&self, client: &Client, oid: u32, name: &str) -> Result<Option<Reason>, Error> {
        let indexes = client
            .query(
                "SELECT array_agg(a.attname::text) FROM pg_index i \
                 JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1]) \
                 WHERE i.indrelid = $1 AND i.indisunique AND i.indimmediate AND i.indisvalid \
                   AND i.indpred IS NULL AND i.indexprs IS NULL GROUP BY i.indexrelid",
                &[&oid],
            )
            .await?;
        let mut wanted = self.key.clone();
        wanted.sort();
        let stands = indexes.iter().any(|row| {
            let mut columns: Vec<String> = row.get(0);
            columns.sort();
            columns == wanted
        });
        let key = quoted_list(self.key.iter().map(String::as_str));
        let mend = format!("CREATE UNIQUE INDEX ON {} ({key});", quoted_path(name));
        Ok((!stands).then(|| Reason::mended_by(format!("no unique index stands on ({key})"), mend)))
    }
}
