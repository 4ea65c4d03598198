//! Owns writing a description as JSON: fields in a fixed order, so that equal descriptions are equal bytes.

use super::{ABI_VERSION, ColumnSpec, Description, LIST, OutputKind, StateColumn};
use crate::ColumnType;
use crate::json::push_string;

impl Description {
    /// The description as JSON text.
    pub fn to_json(&self) -> String {
        let mut out = String::with_capacity(1024);
        out.push_str("{\"abi\":");
        out.push_str(&ABI_VERSION.to_string());
        string(&mut out, ",\"name\":", &self.name);
        string(&mut out, ",\"version\":", &self.version);
        list(&mut out, ",\"inputs\":", &self.inputs, |out, port| {
            string(out, "{\"name\":", &port.name);
            columns(out, &port.columns);
            out.push('}');
        });
        out.push_str(",\"event_time\":");
        push_bool(&mut out, self.event_time);
        if self.timers {
            out.push_str(",\"timers\":true");
        }
        list(&mut out, ",\"outputs\":", &self.outputs, |out, port| {
            string(out, "{\"name\":", &port.name);
            out.push_str(match port.kind {
                OutputKind::Extend => ",\"kind\":\"extend\"",
                OutputKind::Emit => ",\"kind\":\"emit\"",
                OutputKind::PerKey => ",\"kind\":\"per_key\"",
            });
            columns(out, &port.columns);
            out.push('}');
        });
        list(&mut out, ",\"tables\":", &self.tables, |out, table| {
            string(out, "{\"name\":", &table.name);
            out.push_str(",\"version\":");
            out.push_str(&table.version.to_string());
            state_columns(out, &table.columns);
            out.push('}');
        });
        list(
            &mut out,
            ",\"side_tables\":",
            &self.side_tables,
            |out, table| {
                string(out, "{\"name\":", &table.name);
                columns(out, &table.columns);
                if let Some(key) = &table.key {
                    string(out, ",\"key\":", key);
                }
                out.push('}');
            },
        );
        out.push('}');
        out
    }
}

fn state_columns(out: &mut String, columns: &[StateColumn]) {
    list(out, ",\"columns\":", columns, |out, column| {
        string(out, "{\"name\":", &column.name);
        if column.items.is_empty() {
            string(out, ",\"type\":", &column.kind.to_string());
        } else {
            string(out, ",\"type\":", LIST);
            state_columns(out, &column.items);
        }
        out.push_str(",\"nullable\":");
        push_bool(out, column.nullable);
        if column.since > 1 {
            out.push_str(",\"since\":");
            out.push_str(&column.since.to_string());
        }
        out.push('}');
    });
}

fn string(out: &mut String, before: &str, text: &str) {
    out.push_str(before);
    push_string(out, text);
}

fn push_bool(out: &mut String, value: bool) {
    out.push_str(if value { "true" } else { "false" });
}

fn list<T>(out: &mut String, before: &str, items: &[T], mut write: impl FnMut(&mut String, &T)) {
    out.push_str(before);
    out.push('[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write(out, item);
    }
    out.push(']');
}

fn columns(out: &mut String, columns: &[ColumnSpec]) {
    list(out, ",\"columns\":", columns, |out, column| {
        column_start(out, &column.name, column.kind, column.nullable);
        out.push('}');
    });
}

fn column_start(out: &mut String, name: &str, kind: ColumnType, nullable: bool) {
    string(out, "{\"name\":", name);
    string(out, ",\"type\":", &kind.to_string());
    out.push_str(",\"nullable\":");
    push_bool(out, nullable);
}
