//! Links between our pages lead somewhere: the file is there, and so is the heading.

use std::collections::BTreeSet;

use super::Finding;
use super::tree::Tree;

/// Finds relative links in Markdown files that lead nowhere.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let pages = tree.files.iter().filter(|(path, _)| path.ends_with(".md"));
    pages
        .flat_map(|(path, text)| links(text).into_iter().filter_map(|(line, link)| broken(tree, path, line, &link)))
        .collect()
}

/// What is wrong with `link` on the page at `path`, if anything.
fn broken(tree: &Tree, path: &str, line: usize, link: &str) -> Option<Finding> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (target, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = if target.is_empty() { Some(path.to_string()) } else { resolve(path, target) };
    let Some(target) = target.filter(|target| is_there(tree, target)) else {
        let remedy = "Write the path from this page's own directory, to a file that git knows.";
        return Some(Finding::error(path, line, format!("the link `{link}` leads to no file"), remedy));
    };
    let page = tree.files.get(&target).filter(|_| target.ends_with(".md"))?;
    if anchor.is_empty() || anchors(page).contains(anchor) {
        return None;
    }
    let what = format!("the link `{link}` leads to no heading of {target}");
    Some(Finding::error(path, line, what, "Use the heading's words in lowercase, with `-` for blanks."))
}

fn is_there(tree: &Tree, target: &str) -> bool {
    let below = format!("{}/", target.trim_end_matches('/'));
    target.is_empty() || tree.files.contains_key(target) || tree.files.keys().any(|path| path.starts_with(&below))
}

/// The path from the root of what a page at `from` calls `target`; `None` if that is outside of the root.
fn resolve(from: &str, target: &str) -> Option<String> {
    let mut names: Vec<&str> = from.split('/').collect();
    names.pop();
    for name in target.trim_end_matches('/').split('/') {
        match name {
            "." => {}
            ".." => drop(names.pop()?),
            name => names.push(name),
        }
    }
    Some(names.join("/"))
}

/// The targets of links, with their lines. Code is skipped.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    for (number, line) in prose(text) {
        // Every second piece between backticks is code.
        let spoken: String = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
        for after in spoken.split("](").skip(1) {
            let target = after.split([')', ' ']).next().unwrap_or_default();
            links.push((number, target.trim_matches(['<', '>']).to_string()));
        }
    }
    links
}

/// Lines outside of fenced code, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(at, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        (!fenced && !fence).then_some((at + 1, line))
    })
}

/// The anchors that a page's headings make.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings = prose(page).filter_map(|(_, line)| line.strip_prefix('#')).map(|line| line.trim_start_matches('#'));
    headings.filter(|heading| heading.starts_with(' ')).map(|heading| anchor(heading.trim())).collect()
}

fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).collect::<String>();
    kept.replace(' ', "-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tree::planted;

    fn broken_links(page: &str) -> Vec<String> {
        let files = [("docs/a/page.md", page), ("docs/b.md", "# One, two\n"), ("LICENSE", "")];
        check(&planted(&[], &files)).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn broken_links_are_found() {
        let table = [
            ("[b](../b.md)", None),
            ("[b](../b.md#one-two) and [c](../../LICENSE)", None),
            ("[dir](../a/)", None),
            ("[out](https://example.org/x.md)", None),
            ("`[code](nowhere.md)`\n```\n[code](nowhere.md)\n```\n", None),
            ("# Own heading\n[here](#own-heading)", None),
            ("[b](b.md)", Some("the link `b.md` leads to no file")),
            ("[out](../../../x.md)", Some("the link `../../../x.md` leads to no file")),
            ("[b](../b.md#three)", Some("the link `../b.md#three` leads to no heading of docs/b.md")),
            ("[here](#no)", Some("the link `#no` leads to no heading of docs/a/page.md")),
        ];
        for (page, expected) in table {
            assert_eq!(broken_links(page).first().map(String::as_str), expected, "{page}");
        }
    }
}
