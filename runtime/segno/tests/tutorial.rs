//! docs/tutorial-LANGUAGE.md: every block is run, in order, in an empty folder.
//!
//! - ```` ```sh ```` is run; ```` ```sh fails ```` must fail
//! - a block without a language is what the commands before it printed on standard output: its lines appear in this order. `…` stands for
//!   any rest of a line; alone, for any lines
//!
//! Owns: that the page is true. Does not own: what the commands promise (`author`).

use crate::author::{Folder, Ran};
use std::time::Instant;

/// (what stands behind the fence, text), in the order of the page.
pub fn blocks(page: &str) -> Vec<(String, String)> {
    let mut blocks: Vec<(String, String)> = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        match line.strip_prefix("```") {
            Some(_) if inside => inside = false,
            Some(kind) => {
                blocks.push((kind.to_owned(), String::new()));
                inside = true;
            }
            None if inside => {
                let text = &mut blocks.last_mut().expect("a block is open").1;
                text.push_str(line);
                text.push('\n');
            }
            None => {}
        }
    }
    assert!(!inside, "the last block has no end");
    blocks
}

/// Whether a printed line is what the page says.
fn fits(said: &str, printed: &str) -> bool {
    match said.split_once('…') {
        Some((begins, _)) => printed.starts_with(begins),
        None => said == printed,
    }
}

/// The first line of the page that was not printed where it should be.
pub fn missing<'p>(said: &'p str, printed: &str) -> Option<&'p str> {
    let mut lines = printed.lines();
    let mut anywhere = true;
    for line in said.lines() {
        if line == "…" {
            anywhere = true;
        } else if anywhere {
            if !lines.any(|one| fits(line, one)) {
                return Some(line);
            }
            anywhere = false;
        } else if !lines.next().is_some_and(|one| fits(line, one)) {
            return Some(line);
        }
    }
    None
}

#[test]
fn every_block_of_the_tutorial_in_rust_is_true() {
    // What is compiled first is compiled here.
    is_true("../../docs/tutorial-rust.md", &Folder::alone());
}

#[test]
fn every_block_of_the_tutorial_in_python_is_true() {
    is_true("../../docs/tutorial-python.md", &Folder::new());
}

#[test]
fn every_block_of_the_tutorial_in_javascript_is_true() {
    is_true("../../docs/tutorial-js.md", &Folder::new());
}

fn is_true(page: &str, folder: &Folder) {
    let page = std::fs::read_to_string(page).expect("the tutorial");
    let mut inside = String::new();
    let mut printed: Option<Ran> = None;
    let (mut ran, mut compared) = (0, 0);
    let started = Instant::now();
    for (kind, text) in blocks(&page) {
        match kind.as_str() {
            "sh" | "sh fails" => {
                // Where one block ends the next one begins.
                let script = format!("{text}pwd > \"$OLD_ROOT/where\"\n").replace("$OLD_ROOT", folder.root.path().to_str().unwrap());
                let done = folder.shell(&inside, &script);
                assert_eq!(done.code != 0, kind == "sh fails", "{text}{}{}", done.out, done.err);
                if let Ok(place) = std::fs::read_to_string(folder.root.path().join("where")) {
                    inside = place.trim().to_owned();
                }
                printed = Some(done);
                ran += 1;
            }
            "" => {
                let done = printed.as_ref().expect("commands before their output");
                if let Some(line) = missing(&text, &done.out) {
                    panic!("not printed: {line}\n{}{}", done.out, done.err);
                }
                compared += 1;
            }
            other => panic!("a block of {other} is run by nobody"),
        }
        if ran == 2 && compared == 2 {
            println!("## from nothing to a component in {:.0} s, the SDK's first compile included", started.elapsed().as_secs_f64());
        }
    }
    assert!(ran > 8 && compared > 8, "{ran} blocks ran, {compared} were compared");
}

#[test]
fn lines_of_the_page_are_looked_for_in_their_order() {
    let printed = "a 1\nb 2\nc 3\nd 4\n";
    for good in ["b 2\nc …\n", "a …\n…\nd 4\n", "…\nc 3\n", "c 3\n"] {
        assert_eq!(missing(good, printed), None, "{good}");
    }
    for wrong in ["a 1\nc 3\n", "c 3\n…\nb 2\n", "b\n", "d 4\ne 5\n"] {
        assert!(missing(wrong, printed).is_some(), "{wrong}");
    }
}
