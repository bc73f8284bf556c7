//! `tandem quick`

use std::path::PathBuf;

use super::{Exit, QuickArgs, complain, run};
use crate::app::Source;
use crate::config::{Config, Process};

/// Serves what the command line says, by way of the lb.yaml that says the
/// same: one set of rules, one set of messages.
pub(super) fn quick(args: &QuickArgs) -> Exit {
    let text = lb_yaml(args);
    let file = "(quick)";
    let here = Process {
        folder: PathBuf::from("."),
        node: None,
    };
    match Config::parse(&text, file, &here) {
        Ok(config) => run::serve(config, Source::nowhere(file)),
        Err(problems) => {
            // The file is what was typed.
            complain(&problems.with_lines());
            Exit::Usage
        }
    }
}

fn lb_yaml(args: &QuickArgs) -> String {
    let quote = |text: &str| serde_json::Value::from(text).to_string();
    let probe = match (&args.http, args.mysql) {
        (Some(path), _) => format!("http {path}"),
        (None, true) => "mysql".to_owned(),
        (None, false) => "tcp".to_owned(),
    };
    let backends: Vec<String> = args.backends.iter().map(|it| quote(it)).collect();
    format!(
        "listeners:\n  quick: {{ bind: {}, pool: quick }}\n\
         pools:\n  quick:\n    backends: [{}]\n    probe: {}\n\
         admin: {{ bind: off, socket: off }}\n",
        quote(&args.bind),
        backends.join(", "),
        quote(&probe),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_cannot_break_out_of_its_place() {
        let args = QuickArgs {
            bind: ":80\", pool: evil".to_owned(),
            backends: vec!["a:1]".to_owned()],
            http: None,
            mysql: false,
        };
        let text = lb_yaml(&args);
        assert!(
            text.contains(r#"bind: ":80\", pool: evil", pool: quick"#),
            "{text}"
        );
        assert!(text.contains(r#"backends: ["a:1]"]"#), "{text}");
    }
}
