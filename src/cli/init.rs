//! `tandem init`

use super::{Exit, InitKind, out};

pub(super) const WEB: &str = include_str!("init/web.yaml");
pub(super) const MYSQL: &str = include_str!("init/mysql.yaml");

pub(super) fn init(kind: InitKind) -> Exit {
    out(match kind {
        InitKind::Mysql => MYSQL,
        InitKind::Web => WEB,
    });
    Exit::Ok
}
