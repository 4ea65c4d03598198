//! docs/cookbook.md: every recipe is followed, in an empty folder, in each language that it has code for.
//!
//! Blocks are those of the tutorial, and beside them
//! - ```` ```LANGUAGE FILE ````: code of a recipe in that language; it replaces the file
//! - ```` ```yaml FILE ```` and its like: a file of every language
//! - ```` ```sh LANGUAGE ````: commands of that language only
//!
//! Owns: that the page is true. Does not own: what the commands promise (`author`).

use crate::author::{Folder, Ran};
use crate::tutorial::{blocks, missing};

const PAGE: &str = "../../docs/cookbook.md";
/// As `segno new --lang` has them.
const LANGUAGES: [&str; 4] = ["rust", "python", "js", "c"];
/// Kinds of files that are the same for all.
const DATA: [&str; 3] = ["yaml", "csv", "jsonl"];

/// What a fence says.
enum Block<'a> {
    Commands { fails: bool },
    /// Of a language, or of all.
    File { path: &'a str },
    Printed,
    /// Of another language.
    Passed,
}

fn block<'a>(kind: &'a str, language: &str) -> Block<'a> {
    match kind.split_once(' ') {
        None if kind.is_empty() => Block::Printed,
        None if kind == "sh" => Block::Commands { fails: false },
        Some(("sh", "fails")) => Block::Commands { fails: true },
        Some(("sh", only)) if only == language => Block::Commands { fails: false },
        Some(("sh", only)) if LANGUAGES.contains(&only) => Block::Passed,
        Some((kind, path)) if kind == language || DATA.contains(&kind) => Block::File { path },
        Some((kind, _)) if LANGUAGES.contains(&kind) => Block::Passed,
        _ => panic!("a block of {kind} is run by nobody"),
    }
}

/// Follows a recipe; gives how many blocks were run and how many outputs compared.
fn follow(title: &str, text: &str, language: &str) -> (usize, usize) {
    let folder = Folder::new();
    let (mut inside, mut printed, mut ran, mut compared) = (String::new(), None::<Ran>, 0, 0);
    for (kind, text) in blocks(text) {
        match block(&kind, language) {
            Block::Passed => {}
            Block::File { path } => {
                let path = folder.root.path().join(&inside).join(path);
                std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
                std::fs::write(path, text).expect("a file");
            }
            Block::Commands { fails } => {
                let root = folder.root.path().to_str().expect("a path").to_owned();
                let script = format!("export SEGNO_LANG={language}\n{text}pwd > \"{root}/where\"\n");
                let done = folder.shell(&inside, &script);
                assert_eq!(done.code != 0, fails, "{title}, in {language}:\n{text}{}{}", done.out, done.err);
                if !fails {
                    inside = std::fs::read_to_string(folder.root.path().join("where")).expect("a folder").trim().to_owned();
                }
                printed = Some(done);
                ran += 1;
            }
            Block::Printed => {
                let done = printed.as_ref().expect("commands before their output");
                if let Some(line) = missing(&text, &done.out) {
                    panic!("{title}, in {language}: not printed: {line}\n{}{}", done.out, done.err);
                }
                compared += 1;
            }
        }
    }
    (ran, compared)
}

/// Every recipe that has code in a language, or has no code at all.
fn every_recipe_in(language: &str) -> usize {
    let page = std::fs::read_to_string(PAGE).expect("the cookbook");
    let mut followed = 0;
    for recipe in page.split("\n## ").skip(1) {
        let title = recipe.lines().next().unwrap_or_default();
        let of = |language: &str| recipe.contains(&format!("\n```{language} "));
        if of(language) || !LANGUAGES.iter().any(|one| of(one)) {
            let (ran, compared) = follow(title, recipe, language);
            assert!(ran > 0 && compared > 0, "{title}: {ran} blocks ran, {compared} were compared");
            followed += 1;
        }
    }
    followed
}

#[test]
fn every_recipe_is_true_in_rust() {
    assert_eq!(every_recipe_in("rust"), 9);
}

#[test]
fn every_recipe_is_true_in_python() {
    assert_eq!(every_recipe_in("python"), 9);
}

#[test]
fn every_recipe_is_true_in_javascript() {
    assert_eq!(every_recipe_in("js"), 9);
}

#[test]
fn every_recipe_is_true_in_c() {
    assert_eq!(every_recipe_in("c"), 9);
}
