//! The plot.
use crate::rounds::Run;
pub(super) fn write(_run: &Run) -> String {
    String::new()
}
