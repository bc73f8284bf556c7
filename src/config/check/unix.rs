//! `unix_mode` and `unix_owner`: who may connect to a unix socket.

use std::path::Path;

use crate::config::fields::Fields;
use crate::config::node::{Node, Value};
use crate::config::reader::Reader;
use crate::config::scalar::{Parsed, wrong};
use crate::pool::ListenerSettings;
use crate::types::{Endpoint, UnixAccess};

pub(super) fn access(
    fields: &Fields<'_>,
    binds: &[Endpoint],
    reader: &mut Reader<'_>,
) -> UnixAccess {
    let mut access = UnixAccess::default();
    reader.set(fields, "unix_mode", &mut access.mode, mode);
    if let Some(node) = fields.get("unix_owner")
        && let Some(text) = reader.text(node, &fields.path("unix_owner"))
    {
        match owner(&text, reader) {
            Ok((user, group)) => (access.user, access.group) = (user, group),
            Err(wrong) => reader.wrong(node.at, fields.path("unix_owner"), wrong),
        }
    }
    for key in ["unix_mode", "unix_owner"] {
        if let Some(node) = fields.get(key)
            && !reader.is_told(&fields.path("bind"))
            && !binds.iter().any(Endpoint::has_file)
        {
            let what = "there is no bind with a file";
            let hint = "it is for binds like unix:/run/name.sock";
            reader.fault(node.at, fields.path(key), what, hint);
        }
    }
    access
}

/// What looks at clients' addresses says nothing where none has one.
pub(super) fn clients(fields: &Fields<'_>, listener: &ListenerSettings, reader: &mut Reader<'_>) {
    if ["bind", "accept_proxy"]
        .iter()
        .any(|it| reader.is_told(&fields.path(it)))
    {
        return;
    }
    let is_unix = listener.binds.iter().all(Endpoint::is_unix);
    if is_unix && !listener.accept_proxy_unix {
        for key in ["allow", "deny", "max_per_source", "accept_proxy"] {
            // An empty list, as `check --print` has it, looks at nobody.
            let is_empty = |it: &&Node| matches!(&it.value, Value::List(list) if list.is_empty());
            if let Some(node) = fields.get(key).filter(|it| !is_empty(it)) {
                let what = "clients of a unix socket have no address";
                let hint = "use unix_mode and unix_owner; accept_proxy: unix lets a balancer in \
                            front name its clients";
                reader.fault(node.at, fields.path(key), what, hint);
            }
        }
    }
    if listener.accept_proxy_unix && !listener.binds.iter().any(Endpoint::is_unix) {
        let at = fields.get("accept_proxy").map_or(fields.at, |it| it.at);
        let what = "no bind is a unix socket";
        let hint = "unix stands for clients of binds like unix:/run/web.sock";
        reader.fault(at, fields.path("accept_proxy"), what, hint);
    }
}

fn mode(text: &str) -> Parsed<u16> {
    let is_octal =
        (3..=4).contains(&text.len()) && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    match u16::from_str_radix(text, 8) {
        Ok(mode) if is_octal && mode <= 0o777 => Ok(mode),
        Ok(_) | Err(_) => wrong(
            format!("{text:?} is not a file mode"),
            "three octal digits, like 660 (owner and group) or 666 (everybody)",
        ),
    }
}

/// `user`, `user:group` or `:group`, by name or number, as chown(1) has it.
fn owner(text: &str, reader: &Reader<'_>) -> Parsed<(Option<u32>, Option<u32>)> {
    let (user, group) = text.split_once(':').unwrap_or((text, ""));
    if user.is_empty() && group.is_empty() {
        return wrong(
            "names nobody",
            "like www-data, www-data:www-data or :www-data",
        );
    }
    let find = |name: &str, file, what| match name {
        "" => Ok(None),
        name => number_of(name, Path::new(file), what, reader).map(Some),
    };
    Ok((
        find(user, "/etc/passwd", "user")?,
        find(group, "/etc/group", "group")?,
    ))
}

/// In both files a line is `name:password:number:...`.
fn number_of(name: &str, file: &Path, what: &str, reader: &Reader<'_>) -> Parsed<u32> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let text = reader.around().read_file(file).unwrap_or_default();
    let mut fields = text.lines().map(|line| line.split(':'));
    let found = fields.find_map(|mut line| {
        let number = (line.next()? == name).then(|| line.nth(1))??;
        number.parse().ok()
    });
    found.map_or_else(
        || {
            wrong(
                format!("{} has no {what} {name:?}", file.display()),
                "write its number, if it comes from elsewhere",
            )
        },
        Ok,
    )
}
