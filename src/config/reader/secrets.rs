//! What nobody is to see, and what stands in files of its own.

use std::path::{Path, PathBuf};

use super::{Reader, Replaced};
use crate::config::node::Node;
use crate::config::public::Private;
use crate::config::warning::Warning;
use crate::types::{Secret, Taint};

/// What stands in the place of a secret in a message.
const HIDDEN: &str = "***";

impl Reader<'_> {
    /// A scalar that nobody is to see, with `${NAME}` replaced.
    pub(in crate::config) fn secret(&mut self, node: &Node, path: &str) -> Option<Secret> {
        let Replaced { value: text, parts } = self.replaced(node, path)?;
        if parts.is_empty() {
            let warning = (node.at, path.to_owned(), Warning::InlineSecret);
            self.warnings.push(warning);
        }
        let parts = parts.into_iter().map(|(value, _)| Private {
            path: path.to_owned(),
            value,
        });
        self.private.extend(parts);
        self.keep(path, &text);
        Some(Secret::new(text))
    }

    /// The file that `node` names, and what is in it.
    pub(in crate::config) fn named_file(
        &mut self,
        node: &Node,
        path: &str,
    ) -> Option<(PathBuf, String)> {
        let (_, file, text) = self.file(node, path)?;
        Some((file, text))
    }

    /// The same, with its name as the setting has it.
    fn file(&mut self, node: &Node, path: &str) -> Option<(String, PathBuf, String)> {
        // Nobody is sent the name of a file.
        let too_short = self.too_short;
        let name = self.text(node, path)?;
        self.too_short = too_short;
        let file = self.around.folder().join(Path::new(&name));
        match self.around.read_file(&file) {
            Ok(text) => Some((name, file, text)),
            Err(error) => {
                let what = format!("cannot read {name:?}: {error}");
                self.fault(node.at, path, what, None);
                None
            }
        }
    }

    /// A secret from the file that `node` names.
    pub(in crate::config) fn secret_file(&mut self, node: &Node, path: &str) -> Option<Secret> {
        let (name, file, text) = self.file(node, path)?;
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            self.fault(node.at, path, format!("{name:?} is empty"), None);
            return None;
        }
        if self.around.is_open_to_all(&file) {
            let what = format!("everybody on this machine may read {name:?}");
            self.fault(node.at, path, what, "chmod o= the file");
            return None;
        }
        self.keep(path, text);
        Some(Secret::new(text))
    }

    /// Remembers the secret `value` of the setting at `path`.
    pub(in crate::config) fn keep(&mut self, path: &str, value: &str) {
        self.hide(value, HIDDEN);
        self.private.push(Private {
            path: path.to_owned(),
            value: Secret::new(value),
        });
    }

    /// From now on `value` is shown as `shown`.
    pub(super) fn hide(&mut self, value: &str, shown: &str) {
        self.taint.hide(value, shown);
        self.too_short += usize::from(!Taint::finds(value));
    }
}
