//! lb.yaml: a configuration, or problems that each say where.

use std::path::Path;

use tandem::config::{Config, changes};

#[path = "../../golden/machine.rs"]
mod machine;

use machine::Machine;

pub(crate) fn check(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match Config::parse(&text, "lb.yaml", &Machine) {
        Ok(config) => printed_means_the_same(&config),
        Err(problems) => {
            // YAML ends a line with a lone CR, too.
            let lines = text.split(['\r', '\n']).count();
            let mut count = 0;
            for problem in problems.iter() {
                count += 1;
                assert!(problem.line <= lines, "{problem:?} of {lines}");
                assert!(!problem.what.is_empty(), "{problem:?}");
                assert!(!problem.what.contains('\n'), "{problem:?}");
            }
            assert!(count > 0, "who refuses says why");
            let shown = problems.to_string();
            let named = shown.lines().filter(|it| names_a_place(it)).count();
            assert_eq!(named, count, "each problem has its place:\n{shown}");
            let is_odd = |c: char| c.is_control() && c != '\n';
            assert!(!shown.contains(is_odd), "{shown:?}");
        }
    }
}

/// `lb.yaml:LINE:COLUMN: ...`
fn names_a_place(line: &str) -> bool {
    let mut parts = line
        .strip_prefix("lb.yaml:")
        .into_iter()
        .flat_map(|it| it.splitn(3, ':'));
    let mut is_number = || {
        parts
            .next()
            .is_some_and(|it| it.parse::<usize>().is_ok_and(|it| it > 0))
    };
    is_number() && is_number()
}

fn printed_means_the_same(config: &Config) {
    let printed = config.to_yaml();
    let again = Config::parse(&printed, "lb.yaml", &Machine);
    let again = again.unwrap_or_else(|problems| panic!("{printed}\n{problems}"));
    assert_eq!(again.to_json(), config.to_json(), "{printed}");
    assert!(changes(config, config).is_empty(), "nothing has changed");
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut seeds = Vec::new();
    for folder in ["golden/config-good", "golden/config"] {
        let mut files: Vec<_> = std::fs::read_dir(tests.join(folder))
            .unwrap()
            .map(|it| it.unwrap().path())
            .filter(|it| it.extension().is_some_and(|it| it == "yaml"))
            .collect();
        files.sort();
        assert!(!files.is_empty(), "{folder} has seeds");
        seeds.extend(files.iter().map(|it| std::fs::read(it).unwrap()));
    }
    seeds
}
