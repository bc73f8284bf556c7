use std::time::Duration;

use super::super::probe::kit;
use super::super::{ProbeKind, Timing};
use super::*;

fn settings() -> ProbeSettings {
    let quick = Duration::from_millis(5);
    ProbeSettings {
        timing: Timing {
            interval: quick,
            fast_interval: quick,
            down_interval: quick,
            ..Timing::default()
        },
        ..kit::settings(ProbeKind::Tcp)
    }
}

async fn next(inbox: &mut mpsc::Receiver<News>) -> News {
    let news = tokio::time::timeout(Duration::from_secs(20), inbox.recv()).await;
    news.expect("no news").expect("the prober has ended")
}

#[tokio::test]
async fn a_probe_that_panics_is_no_verdict_and_the_next_one_runs() {
    let (_listener, target) = kit::listener().await;
    let (reports, mut inbox) = mpsc::channel(16);
    let (_notes, notes) = mpsc::channel(1);
    let cells = Arc::<ProbeCells>::default();
    let task = Task {
        id: BackendId(1),
        probe: Probe::broken(),
        settings: settings(),
        aim: Aim::Target(target),
        health: Health::new(true),
        sight: Sight::default(),
        spare: Arc::default(),
        cells: Arc::clone(&cells),
        rng: Seed(1).rng(),
        inbox: notes,
        reports,
    };
    let task = tokio::spawn(task.run());
    let News::State(report) = next(&mut inbox).await else {
        panic!("nobody need wait for it");
    };
    assert_eq!(report.state, BackendState::Unknown);
    let News::Blind {
        state, blindness, ..
    } = next(&mut inbox).await
    else {
        panic!("it is said that nothing is known");
    };
    assert_eq!(state, BackendState::Unknown);
    assert_eq!(blindness.fault, OwnFault::Internal);
    assert_eq!(blindness.detail, "the probe panicked: broken");
    let News::State(report) = next(&mut inbox).await else {
        panic!("the next probe passes");
    };
    assert_eq!(report.state, BackendState::Up { ramp_from: None });
    assert!(matches!(next(&mut inbox).await, News::Seeing { .. }));
    let unknown: u64 = cells.unknown().map(|(_, count)| count).sum();
    assert_eq!(unknown, 1);
    task.abort();
}

#[tokio::test]
async fn a_command_that_vanishes_leaves_the_verdict() {
    let folder = tempfile::tempdir().unwrap();
    let command = folder.path().join("check");
    std::os::unix::fs::symlink("/bin/true", &command).unwrap();
    let mut settings = settings();
    settings.kind = ProbeKind::Exec(vec![command.to_str().unwrap().to_owned()]);
    let (reports, mut inbox) = mpsc::channel(16);
    let target = kit::target("127.0.0.1:1".parse().unwrap());
    let (id, spare) = (BackendId(1), Arc::default());
    let prober = Prober::start(
        id,
        Aim::Target(target),
        settings,
        Health::new(true),
        Seed(1),
        (spare, reports),
    );
    let News::State(report) = next(&mut inbox).await else {
        panic!("the command passes");
    };
    assert_eq!(report.state, BackendState::Up { ramp_from: None });
    std::fs::remove_file(&command).unwrap();
    let News::Blind {
        state, blindness, ..
    } = next(&mut inbox).await
    else {
        panic!("no verdict comes of it");
    };
    assert_eq!(state, BackendState::Up { ramp_from: None });
    assert_eq!(blindness.fault, OwnFault::NoCommand);
    let last = prober.cells().last().unwrap();
    assert_eq!(last.outcome, "unknown");
    // Three in a row would be a death.
    let unknown = || {
        prober
            .cells()
            .unknown()
            .map(|(_, count)| count)
            .sum::<u64>()
    };
    for _ in 0..2000 {
        if unknown() > 5 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(unknown() > 5);
    assert!(inbox.try_recv().is_err(), "and it is said once");
}

#[tokio::test]
async fn a_name_without_an_address_is_down_whatever_the_probe_would_say() {
    let always = ProbeKind::Exec(vec!["/bin/true".to_owned()]);
    for kind in [always, ProbeKind::Tcp] {
        let (reports, mut inbox) = mpsc::channel(16);
        let _prober = Prober::start(
            BackendId(1),
            Aim::Nowhere("db.example".to_owned()),
            kit::settings(kind),
            Health::new(true),
            Seed(1),
            (Arc::default(), reports),
        );
        let News::State(report) = next(&mut inbox).await else {
            panic!("it is down");
        };
        assert_eq!(report.state, BackendState::Down);
        assert_eq!(report.why, "db.example has no address yet");
    }
}

#[tokio::test]
async fn what_another_has_found_by_the_new_probe_goes_before_what_the_old_one_found() {
    let (_listener, target) = kit::listener().await;
    let slow = |kind| {
        let mut settings = kit::settings(kind);
        settings.timing.interval = Duration::from_secs(600);
        settings
    };
    let (reports, mut inbox) = mpsc::channel(16);
    let prober = Prober::start(
        BackendId(1),
        Aim::Target(target.clone()),
        slow(ProbeKind::Tcp),
        Health::known(BackendState::Down),
        Seed(1),
        (Arc::default(), reports),
    );
    let full = Some(Health::known(BackendState::Saturated));
    prober.reconfigure(slow(ProbeKind::Tcp), Aim::Target(target), full);
    // Only who is known to be full is greeted with effect.
    for _ in 0..2000 {
        prober.greeted();
        if let Ok(Some(News::State(report))) =
            tokio::time::timeout(Duration::from_millis(5), inbox.recv()).await
        {
            assert_eq!(report.state, BackendState::Up { ramp_from: None });
            return;
        }
    }
    panic!("the old verdict is still there");
}
