//! The key that signs updates: its name, its algorithm and its secret.

use crate::config::fields::Fields;
use crate::config::node::Node;
use crate::config::reader::Reader;
use crate::config::scalar::word;
use crate::dns::rfc2136::{Algorithm, TsigKey};
use crate::types::Secret;

/// The settings of the key, of which a file that a name server's tool has
/// written says all.
pub(super) fn read(fields: &Fields<'_>, reader: &mut Reader<'_>) -> Option<TsigKey> {
    let (stands, secret, file) = secret(fields, reader)?;
    let key_path = fields.path("key");
    let name = match fields.get("key") {
        Some(node) => Some((node, reader.text(node, &key_path)?)),
        None => None,
    };
    let mut algorithm = file.as_ref().map(|it| it.algorithm);
    reader.set_some(fields, "algorithm", &mut algorithm, word(&Algorithm::WORDS));
    let file_path = fields.path("secret_file");
    match (&file, &name) {
        (None, None) => {
            let hint = "the name of the key, as the server knows it";
            reader.fault(fields.at, key_path, "is missing", hint);
            return None;
        }
        (Some(file), Some((node, name))) if !is_same(&file.name, name) => {
            let what = format!("the file has the key {:?}, not {name:?}", file.name);
            reader.fault(node.at, key_path, what, "leave key out, or name that one");
            return None;
        }
        (None | Some(_), Some(_)) | (Some(_), None) => {}
    }
    if let Some(file) = &file
        && algorithm != Some(file.algorithm)
    {
        let what = format!(
            "the file says that the key is for {}",
            file.algorithm.as_str()
        );
        reader.fault(stands.at, file_path, what, "leave algorithm out");
        return None;
    }
    let name = name.map(|(_, name)| name);
    Some(TsigKey {
        name: name.or_else(|| file.map(|it| it.name))?,
        algorithm: algorithm.unwrap_or_default(),
        secret,
    })
}

/// The secret, where it stands, and what else its file says. `None`: there is
/// no key, or something is wrong with it.
fn secret<'n>(
    fields: &Fields<'n>,
    reader: &mut Reader<'_>,
) -> Option<(&'n Node, Secret, Option<KeyFile>)> {
    let node = match (fields.get("secret"), fields.get("secret_file")) {
        (Some(node), None) => {
            return Some((node, reader.secret(node, &fields.path("secret"))?, None));
        }
        (None, Some(node)) => node,
        (None, None) if !fields.has("key") => return None,
        (Some(_), Some(_)) | (None, None) => {
            let at = fields.get("key").map_or(fields.at, |it| it.at);
            let what = "needs secret or secret_file, one of them";
            let hint = "the base64 text of the server's key, or the file of tsig-keygen";
            reader.fault(at, fields.path("key"), what, hint);
            return None;
        }
    };
    let path = fields.path("secret_file");
    let whole = reader.secret_file(node, &path)?;
    match KeyFile::read(whole.expose()) {
        None => Some((node, whole, None)),
        Some(Ok((file, secret))) => {
            reader.keep(&path, secret);
            Some((node, Secret::new(secret), Some(file)))
        }
        Some(Err(what)) => {
            let hint = "one key for hmac-sha256, -sha384 or -sha512, as tsig-keygen makes it";
            reader.fault(node.at, path, what, hint);
            None
        }
    }
}

/// DNS names are the same in upper and lower case, with and without the dot of
/// the root.
fn is_same(one: &str, other: &str) -> bool {
    let plain = |it: &str| it.trim_end_matches('.').to_ascii_lowercase();
    plain(one) == plain(other)
}

/// What a key file of a name server says beside the secret.
struct KeyFile {
    name: String,
    algorithm: Algorithm,
}

impl KeyFile {
    /// Reads what tsig-keygen (BIND 9) or keymgr -t (Knot DNS) has written, and
    /// finds the secret in it; `None`: it is no such file, but the secret alone.
    fn read(text: &str) -> Option<Result<(Self, &str), &'static str>> {
        let lines = text.lines().filter(|it| !it.trim_start().starts_with('#'));
        let is_mark = |it: char| it.is_whitespace() || "\"{};:".contains(it);
        let words: Vec<&str> = lines
            .flat_map(|it| it.split(is_mark))
            .filter(|it| !it.is_empty() && *it != "-")
            .collect();
        let after = |key: &str| {
            let at = words.iter().position(|it| *it == key)?;
            words.get(at + 1).copied()
        };
        let secret = after("secret")?;
        if words.iter().filter(|it| **it == "secret").count() > 1 {
            return Some(Err("has several keys"));
        }
        // BIND says `key "name" {`, Knot has a list of keys with an `id` each.
        let name = after(if text.contains('{') { "key" } else { "id" });
        let algorithm = after("algorithm").map(|word| {
            let mut known = Algorithm::WORDS.iter();
            known.find(|(it, _)| word.eq_ignore_ascii_case(it))
        });
        Some(match (name, algorithm) {
            (None, _) | (_, None) => Err("has a key without a name or an algorithm"),
            (Some(_), Some(None)) => Err("has a key for an algorithm that is not used here"),
            (Some(name), Some(Some((_, algorithm)))) => Ok((
                Self {
                    name: name.to_owned(),
                    algorithm: *algorithm,
                },
                secret,
            )),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BIND: &str =
        "key \"tandem\" {\n\talgorithm hmac-sha512;\n\tsecret \"dGFuZGVt/+==\";\n};\n";
    const KNOT: &str = "# hmac-sha256:tandem:dGFuZGVt/+==\nkey:\n  - id: tandem\n    \
                        algorithm: hmac-sha256\n    secret: dGFuZGVt/+==\n";

    #[test]
    fn the_files_of_the_servers_tools_are_read() {
        for (text, algorithm) in [(BIND, Algorithm::HmacSha512), (KNOT, Algorithm::HmacSha256)] {
            let (file, secret) = KeyFile::read(text).unwrap().unwrap();
            assert_eq!((file.name.as_str(), secret), ("tandem", "dGFuZGVt/+=="));
            assert_eq!(file.algorithm, algorithm);
        }
        assert!(KeyFile::read("dGFuZGVt/+==").is_none());
        assert!(KeyFile::read(&format!("{BIND}{BIND}")).unwrap().is_err());
        let weak = BIND.replace("hmac-sha512", "hmac-md5");
        assert!(KeyFile::read(&weak).unwrap().is_err());
    }
}
