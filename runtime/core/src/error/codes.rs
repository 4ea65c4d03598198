//! Every error code of Segno, with the text of `segno explain CODE`.
//!
//! Owns: the list. A test elsewhere checks that every code is produced by some test.
//!
//! Letters: C pipeline file and configuration, P plugin, D data, S source, K sink, J journal, checkpoint and
//! ownership, R run and replay, U command line.

use super::Kind;

macro_rules! codes {
    ($($name:ident, $text:literal, $kind:ident, $title:literal, $explain:literal;)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code { $(#[doc = $title] $name,)* }

        /// Every code, in the order of the list.
        pub const ALL: &[Code] = &[$(Code::$name,)*];

        impl Code {
            /// The code as it is printed: a letter and three digits.
            pub fn name(self) -> &'static str {
                match self { $(Code::$name => $text,)* }
            }
            pub fn kind(self) -> Kind {
                match self { $(Code::$name => Kind::$kind,)* }
            }
            /// One line.
            pub fn title(self) -> &'static str {
                match self { $(Code::$name => $title,)* }
            }
            /// What it means, why Segno refuses, and what to do.
            pub fn explain(self) -> &'static str {
                match self { $(Code::$name => $explain,)* }
            }
            pub fn from_name(name: &str) -> Option<Code> {
                ALL.iter().copied().find(|code| code.name().eq_ignore_ascii_case(name))
            }
        }
    };
}

codes! {
    FileUnreadable, "C001", Configuration, "a file named by the user cannot be read",
        "The file does not exist, is a directory, or cannot be opened. Paths in a pipeline file are taken relative to the folder of the pipeline file. Check the spelling and the place.";
    YamlSyntax, "C002", Configuration, "the pipeline file is not well-formed YAML",
        "The place shows where reading stopped. Common causes are tabs used for indentation, a missing colon, or an unclosed quote.";
    UnknownField, "C003", Configuration, "the pipeline file has a field that Segno does not know",
        "Unknown fields are refused, because a misspelt setting that is silently ignored is worse than an error. The message names the nearest valid field. `segno schema` prints all of them.";
    InvalidValue, "C004", Configuration, "a field of the pipeline file has a value that is not allowed",
        "The message says which values are allowed and which unit is meant.";

    ColumnMismatch, "C020", Configuration, "a step reads a column that its input does not give, or gives with another type",
        "Every edge of the graph is checked before anything runs. The message names the reader, the column, the wanted type and what the step before gives.";

    OwnershipLost, "J001", Failed, "another process took over this pipeline",
        "A newer generation exists in the checkpoint store: another process owns the shard now. This process has committed nothing since. Stop it, or use --take-over to take the shard back.";
}
