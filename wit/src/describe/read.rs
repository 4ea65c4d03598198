//! Owns reading a description that a plugin gave, which is not trusted: every error names the place in it.

use core::fmt;

use super::{
    ABI_VERSION, COLUMNS_MAX, ColumnSpec, Description, InputPort, LIST, LIST_DEPTH_MAX, NAME_BYTES_MAX, OutputKind,
    OutputPort, PORTS_MAX, SideTable, StateColumn, StateTable,
};
use crate::ColumnType;
use crate::json::{Json, JsonError};

/// A description is not one. The text names the place, as in `outputs[0].columns[2].type`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescriptionError(String);

impl fmt::Display for DescriptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for DescriptionError {}

impl From<JsonError> for DescriptionError {
    fn from(error: JsonError) -> Self {
        Self(error.to_string())
    }
}

type Result<T> = core::result::Result<T, DescriptionError>;

fn wrong<T>(path: &str, what: impl fmt::Display) -> Result<T> {
    Err(DescriptionError(format!("{path}: {what}")))
}

impl Description {
    /// Reads what `describe` returned.
    ///
    /// # Errors
    /// Not JSON, another ABI version, an unknown, missing or malformed field, a name that occurs twice, a limit
    /// exceeded.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let json = Json::parse(bytes)?;
        let mut root = Fields::new("description", &json)?;
        // First, because everything else may be different in another version.
        let abi = root.number("abi")?;
        if abi != u64::from(ABI_VERSION) {
            return wrong(
                "abi",
                format_args!("is {abi}; this host speaks {ABI_VERSION}"),
            );
        }
        let description = Self {
            name: root.name("name")?,
            version: root.text("version")?.to_owned(),
            inputs: root.items("inputs", PORTS_MAX, |port| {
                Ok(InputPort {
                    name: port.name("name")?,
                    columns: columns(port)?,
                })
            })?,
            event_time: root.bool("event_time")?,
            timers: root.has("timers") && root.bool("timers")?,
            outputs: root.items("outputs", PORTS_MAX, |port| {
                Ok(OutputPort {
                    name: port.name("name")?,
                    kind: match port.text("kind")? {
                        "extend" => OutputKind::Extend,
                        "emit" => OutputKind::Emit,
                        "per_key" => OutputKind::PerKey,
                        other => {
                            return wrong(
                                &port.path_of("kind"),
                                format_args!("`{other}` is none of `extend`, `emit` and `per_key`"),
                            );
                        }
                    },
                    columns: columns(port)?,
                })
            })?,
            tables: root.items("tables", PORTS_MAX, state_table)?,
            side_tables: root.items("side_tables", PORTS_MAX, side_table)?,
        };
        root.finish()?;
        unique("inputs", description.inputs.iter().map(|port| &*port.name))?;
        unique(
            "outputs",
            description.outputs.iter().map(|port| &*port.name),
        )?;
        unique(
            "tables",
            description.tables.iter().map(|table| &*table.name),
        )?;
        unique(
            "side_tables",
            description.side_tables.iter().map(|table| &*table.name),
        )?;
        if description.inputs.is_empty() {
            return wrong("inputs", "a plugin has at least one input");
        }
        Ok(description)
    }
}

fn columns(owner: &mut Fields<'_, '_>) -> Result<Vec<ColumnSpec>> {
    let columns = owner.items("columns", COLUMNS_MAX, |column| {
        Ok(ColumnSpec {
            name: column.column_name()?,
            kind: column.column_type()?,
            nullable: column.bool("nullable")?,
        })
    })?;
    unique(
        &owner.path_of("columns"),
        columns.iter().map(|column| &*column.name),
    )?;
    Ok(columns)
}

fn state_table(table: &mut Fields<'_, '_>) -> Result<StateTable> {
    let name = table.name("name")?;
    let version = table.version("version")?;
    let columns = state_columns(table, version, 0)?;
    Ok(StateTable { name, version, columns })
}

fn state_columns(owner: &mut Fields<'_, '_>, version: u16, depth: usize) -> Result<Vec<StateColumn>> {
    let mut newest = 1;
    let columns = owner.items("columns", COLUMNS_MAX, |column| {
        let since = if column.has("since") { column.version("since")? } else { 1 };
        if since < newest || since > version {
            return wrong(
                &column.path_of("since"),
                format_args!("columns are appended: {since} is not between {newest} and the table's version {version}"),
            );
        }
        newest = since;
        let name = column.column_name()?;
        let (kind, items) = if column.is("type", LIST) {
            column.text("type")?;
            if depth + 1 > LIST_DEPTH_MAX {
                return wrong(&column.path_of("type"), format_args!("lists hold lists {LIST_DEPTH_MAX} deep at most"));
            }
            let items = state_columns(column, version, depth + 1)?;
            if items.is_empty() {
                return wrong(&column.path_of("columns"), "an item of a list has at least one column");
            }
            (ColumnType::Binary, items)
        } else {
            (column.column_type()?, Vec::new())
        };
        let nullable = column.bool("nullable")?;
        if nullable && !items.is_empty() {
            return wrong(&column.path_of("nullable"), "a list is empty, not null");
        }
        Ok(StateColumn { name, kind, nullable, since, items })
    })?;
    unique(
        &owner.path_of("columns"),
        columns.iter().map(|column| &*column.name),
    )?;
    Ok(columns)
}

fn side_table(table: &mut Fields<'_, '_>) -> Result<SideTable> {
    let name = table.name("name")?;
    let columns = columns(table)?;
    let key = if table.has("key") {
        Some(table.text("key")?.to_owned())
    } else {
        None
    };
    if let Some(key) = &key
        && !columns
            .iter()
            .any(|column| column.name == *key && !column.nullable)
    {
        return wrong(
            &table.path_of("key"),
            format_args!("`{key}` is not a column that is never null"),
        );
    }
    Ok(SideTable { name, columns, key })
}

fn unique<'n>(path: &str, names: impl Iterator<Item = &'n str>) -> Result<()> {
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        None => Ok(()),
        Some(pair) => wrong(path, format_args!("`{}` occurs twice", pair[0])),
    }
}

/// An object whose fields are taken one by one; what is left over at the end is unknown.
struct Fields<'j, 'a> {
    path: String,
    members: &'j [(std::borrow::Cow<'a, str>, Json<'a>)],
    taken: Vec<&'static str>,
}

impl<'j, 'a> Fields<'j, 'a> {
    fn new(path: &str, json: &'j Json<'a>) -> Result<Self> {
        match json {
            Json::Object(members) => Ok(Self {
                path: path.to_owned(),
                members,
                taken: Vec::new(),
            }),
            other => wrong(
                path,
                format_args!("an object is expected, not {}", other.kind()),
            ),
        }
    }

    fn path_of(&self, name: &str) -> String {
        format!("{}.{name}", self.path)
    }

    fn has(&self, name: &str) -> bool {
        self.members.iter().any(|(key, _)| key == name)
    }

    fn is(&self, name: &str, text: &str) -> bool {
        self.members.iter().any(|(key, value)| key == name && matches!(value, Json::String(found) if found == text))
    }

    fn take(&mut self, name: &'static str) -> Result<&'j Json<'a>> {
        self.taken.push(name);
        match self.members.iter().find(|(key, _)| key == name) {
            Some((_, value)) => Ok(value),
            None => wrong(&self.path_of(name), "is missing"),
        }
    }

    fn text(&mut self, name: &'static str) -> Result<&'j str> {
        match self.take(name)? {
            Json::String(text) => Ok(text),
            other => wrong(
                &self.path_of(name),
                format_args!("a string is expected, not {}", other.kind()),
            ),
        }
    }

    fn bool(&mut self, name: &'static str) -> Result<bool> {
        match self.take(name)? {
            Json::Bool(value) => Ok(*value),
            other => wrong(
                &self.path_of(name),
                format_args!("a bool is expected, not {}", other.kind()),
            ),
        }
    }

    fn number(&mut self, name: &'static str) -> Result<u64> {
        let value = self.take(name)?;
        match value {
            Json::Number(text) => text.parse().ok(),
            _ => None,
        }
        .map_or_else(
            || wrong(&self.path_of(name), "a whole number is expected"),
            Ok,
        )
    }

    fn version(&mut self, name: &'static str) -> Result<u16> {
        match u16::try_from(self.number(name)?) {
            Ok(version) if version > 0 => Ok(version),
            _ => wrong(&self.path_of(name), "a version is between 1 and 65535"),
        }
    }

    /// A port's or table's name becomes part of pipeline files, object keys and metric labels.
    fn name(&mut self, field: &'static str) -> Result<String> {
        let name = self.text(field)?;
        let well_formed = name.len() <= NAME_BYTES_MAX
            && name.starts_with(|first: char| first.is_ascii_lowercase())
            && name
                .bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'));
        if well_formed {
            Ok(name.to_owned())
        } else {
            wrong(
                &self.path_of(field),
                format_args!(
                    "`{}` is not a name: small letters, digits, `_` and `-`, a letter first",
                    name.escape_debug()
                ),
            )
        }
    }

    fn column_name(&mut self) -> Result<String> {
        let name = self.text("name")?;
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
            return wrong(
                &self.path_of("name"),
                format_args!(
                    "a column's name has 1 to {NAME_BYTES_MAX} bytes and no control characters"
                ),
            );
        }
        Ok(name.to_owned())
    }

    fn column_type(&mut self) -> Result<ColumnType> {
        match self.text("type")?.parse() {
            Ok(ColumnType::U32) => wrong(&self.path_of("type"), "u32 is for control columns only"),
            Ok(kind) => Ok(kind),
            Err(error) => wrong(&self.path_of("type"), error),
        }
    }

    fn items<T>(
        &mut self,
        name: &'static str,
        max: usize,
        mut read: impl FnMut(&mut Fields<'j, 'a>) -> Result<T>,
    ) -> Result<Vec<T>> {
        let path = self.path_of(name);
        let path = path.strip_prefix("description.").unwrap_or(&path);
        let items = match self.take(name)? {
            Json::Array(items) if items.len() <= max => items,
            Json::Array(items) => {
                return wrong(path, format_args!("{} entries; at most {max}", items.len()));
            }
            other => {
                return wrong(
                    path,
                    format_args!("a list is expected, not {}", other.kind()),
                );
            }
        };
        items
            .iter()
            .enumerate()
            .map(|(index, item)| {
                let mut fields = Fields::new(&format!("{path}[{index}]"), item)?;
                let value = read(&mut fields)?;
                fields.finish()?;
                Ok(value)
            })
            .collect()
    }

    fn finish(&self) -> Result<()> {
        match self
            .members
            .iter()
            .find(|(key, _)| !self.taken.contains(&&**key))
        {
            None => Ok(()),
            Some((key, _)) => wrong(
                &self.path,
                format_args!("unknown field `{}`", key.escape_debug()),
            ),
        }
    }
}
