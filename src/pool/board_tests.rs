use super::*;
use crate::pool::{Door, Protocol};
use crate::types::{Address, Endpoint, Weight};

const UP: BackendState = BackendState::Up { ramp_from: None };

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn backend(text: &str, port: u16) -> BackendSettings {
    let address = Address::parse(&format!("127.0.0.1:{port}")).unwrap();
    BackendSettings::new(name(text), address)
}

fn wanted(backends: &[BackendSettings]) -> Wanted {
    let settings = PoolSettings::new(name("web"), Protocol::Http, backends.to_vec());
    let addresses = backends
        .iter()
        .map(|it| Some(Endpoint::Tcp(it.address.to_string().parse().unwrap())))
        .collect();
    Wanted {
        settings,
        addresses,
    }
}

fn listener() -> ListenerSettings {
    ListenerSettings::new(name("front"), "127.0.0.1:80".parse().unwrap(), name("web"))
}

fn ids(delta: &Delta) -> Vec<BackendId> {
    delta.added.iter().map(|it| it.id).collect()
}

#[test]
fn who_keeps_name_and_address_keeps_health_and_counters() {
    let mut board = Board::new(1);
    let first = board.configure(
        &[listener()],
        &[wanted(&[backend("a", 1), backend("b", 2)])],
        Moment::START,
    );
    let [a, b] = ids(&first)[..] else { panic!() };
    board.set_state(a, UP, Moment::START);
    board.set_state(b, UP, Moment::START);
    let before = board.compose(Moment::START);

    let mut heavier = backend("a", 1);
    heavier.weight = Weight::new(7).unwrap();
    let moved = backend("b", 3);
    let second = board.configure(&[listener()], &[wanted(&[heavier, moved])], Moment::START);
    assert_eq!(second.added.len(), 1);
    assert_eq!(second.removed.len(), 1);
    assert_eq!(second.removed[0].0.id, b);
    let after = board.compose(Moment::START);
    let pool = &after.pools[0];
    assert_eq!(pool.backends[0].backend.id, a);
    assert_eq!(pool.backends[0].effective, 7000);
    assert_eq!(pool.backends[1].state, BackendState::Starting);
    assert!(Arc::ptr_eq(&pool.live, &before.pools[0].live));
    assert!(after.generation > before.generation);
}

#[test]
fn an_unchanged_configuration_changes_nothing() {
    let mut board = Board::new(1);
    let pools = [wanted(&[backend("a", 1)])];
    board.configure(&[listener()], &pools, Moment::START);
    let before = board.compose(Moment::START);
    let delta = board.configure(&[listener()], &pools, Moment::START);
    assert!(delta.added.is_empty() && delta.removed.is_empty());
    let after = board.compose(Moment::START);
    assert!(Arc::ptr_eq(
        &before.listeners[0].door,
        &after.listeners[0].door
    ));
}

#[test]
fn backends_that_go_are_told() {
    let mut board = Board::new(1);
    let added = ids(&board.configure(&[listener()], &[wanted(&[backend("a", 1)])], Moment::START));
    let delta = board.configure(&[], &[], Moment::START);
    assert!(board.compose(Moment::START).listeners.is_empty());
    assert_eq!(delta.removed[0].0.id, added[0]);
    assert_eq!(board.set_state(added[0], UP, Moment::START), None);
}

fn pool(text: &str, backends: &[BackendSettings]) -> Wanted {
    let mut pool = wanted(backends);
    pool.settings.name = name(text);
    pool
}

#[test]
fn a_server_that_is_renamed_is_the_same_server() {
    let mut board = Board::new(1);
    let both = [backend("a", 1), backend("b", 2)];
    let [a, b] = ids(&board.configure(&[], &[wanted(&both)], Moment::START))[..] else {
        panic!()
    };
    board.set_state(a, UP, Moment::START);
    let before = board.compose(Moment::START);
    let live = |world: &Snapshot, at: usize| Arc::clone(&world.pools[0].backends[at].backend.live);

    // Its pool's name, its own name, and its place in the file.
    let renamed = [backend("b", 2), backend("c", 1)];
    let delta = board.configure(&[], &[pool("other", &renamed)], Moment::START);
    assert!(delta.added.is_empty() && delta.removed.is_empty());
    let after = board.compose(Moment::START);
    let [first, second] = &after.pools[0].backends[..] else {
        panic!()
    };
    assert_eq!([first.backend.id, second.backend.id], [b, a]);
    assert_eq!([first.state, second.state], [BackendState::Starting, UP]);
    let names = |it: &BackendView| (it.backend.pool.to_string(), it.backend.name.to_string());
    assert_eq!(names(second), ("other".to_owned(), "c".to_owned()));
    assert!(Arc::ptr_eq(&live(&after, 1), &live(&before, 0)));
}

#[test]
fn of_several_at_one_address_each_is_itself() {
    let mut board = Board::new(1);
    let pools = |x: &str, y: &str| {
        [
            pool(x, &[backend("a", 1), backend("b", 1)]),
            pool(y, &[backend("a", 1)]),
        ]
    };
    let before = ids(&board.configure(&[], &pools("x", "y"), Moment::START));
    let delta = board.configure(&[], &pools("y", "x"), Moment::START);
    assert!(delta.added.is_empty() && delta.removed.is_empty());
    let world = board.compose(Moment::START);
    let now = |pool: usize, at: usize| world.pools[pool].backends[at].backend.id;
    assert_eq!(now(0, 0), before[2], "y/a has kept its names");
    assert_eq!(now(1, 0), before[0], "and so has x/a");
    assert_eq!(now(0, 1), before[1], "what was x/b is at the same address");
}

#[test]
fn who_has_no_address_is_nobody_and_is_chosen_by_nobody() {
    let mut board = Board::new(1);
    let lost = |names: &[&str]| {
        let backends: Vec<_> = names.iter().map(|it| backend(it, 1)).collect();
        let mut pool = wanted(&backends);
        pool.settings.panic_threshold = Some(100);
        pool.addresses.fill(None);
        pool
    };
    let added = ids(&board.configure(&[], &[lost(&["a", "b"])], Moment::START));
    for id in &added {
        board.set_state(*id, BackendState::Down, Moment::START);
    }
    let world = board.compose(Moment::START);
    assert!(world.pools[0].panic && !world.pools[0].can_serve());
    // No address is no address in common.
    let delta = board.configure(&[], &[lost(&["c", "a"])], Moment::START);
    assert_eq!((delta.added.len(), delta.removed.len()), (1, 1));
    let found = board.configure(
        &[],
        &[wanted(&[backend("c", 1), backend("a", 2)])],
        Moment::START,
    );
    assert_eq!((found.added.len(), found.removed.len()), (2, 2));
}

#[test]
fn a_ramp_is_looked_at_until_it_is_over() {
    let mut board = Board::new(1);
    let mut pool = wanted(&[backend("a", 1)]);
    pool.settings.slow_start = Some(Duration::from_secs(10));
    let id = ids(&board.configure(&[listener()], &[pool], Moment::START))[0];
    let ramp_from = Some(Moment::START);
    board.set_state(id, BackendState::Up { ramp_from }, Moment::START);
    let weight = |board: &mut Board, now| board.compose(now).pools[0].backends[0].effective;
    assert_eq!(weight(&mut board, Moment::START), 10_000);
    let step = board.next_ramp(Moment::START).unwrap();
    assert_eq!(step, Moment::START + RAMP_STEP);
    let end = Moment::START + Duration::from_secs(10);
    assert_eq!(weight(&mut board, end), 100_000);
    assert_eq!(board.next_ramp(end), None);
}

#[test]
fn below_the_panic_threshold_the_dead_are_used_too() {
    let mut board = Board::new(1);
    let mut pool = wanted(&[backend("a", 1), backend("b", 2), backend("c", 3)]);
    pool.settings.panic_threshold = Some(50);
    let added = ids(&board.configure(&[listener()], &[pool], Moment::START));
    for id in &added {
        board.set_state(*id, BackendState::Down, Moment::START);
    }
    board.set_state(added[0], UP, Moment::START);
    let panicking = board.compose(Moment::START);
    assert!(panicking.pools[0].panic);
    assert_eq!(panicking.pools[0].usable(), 3);
    board.set_state(added[1], UP, Moment::START);
    let calm = board.compose(Moment::START);
    assert!(!calm.pools[0].panic);
    assert_eq!(calm.pools[0].usable(), 2);
}

#[test]
fn a_panic_sends_nobody_to_the_full_the_drained_and_the_unknown() {
    let mut board = Board::new(1);
    let mut pool = wanted(&["a", "b", "c", "d", "e"].map(|it| backend(it, 1)));
    pool.settings.panic_threshold = Some(100);
    let added = ids(&board.configure(&[listener()], &[pool], Moment::START));
    let states = [
        BackendState::Saturated,
        BackendState::Drain,
        BackendState::Starting,
        BackendState::Down,
        UP,
    ];
    for (id, state) in added.iter().zip(states) {
        board.set_state(*id, state, Moment::START);
    }
    let snapshot = board.compose(Moment::START);
    let pool = &snapshot.pools[0];
    assert!(pool.panic);
    let effective: Vec<u32> = pool.backends.iter().map(|it| it.effective).collect();
    let full = pool.backends[0].weight * 1000;
    assert_eq!(effective, [0, 0, 0, full, full]);
    assert!(pool.backends[0].is_last_choice());
}

/// A board with one backend and these listeners on pool `web`.
fn listening(board: &mut Board, listeners: &[(&str, &str)]) -> Snapshot {
    let listeners: Vec<_> = listeners
        .iter()
        .map(|(it, bind)| ListenerSettings::new(name(it), bind.parse().unwrap(), name("web")))
        .collect();
    board.configure(&listeners, &[wanted(&[backend("a", 1)])], Moment::START);
    board.compose(Moment::START)
}

fn doors(snapshot: &Snapshot) -> Vec<Arc<Door>> {
    let views = snapshot.listeners.iter();
    views.map(|it| Arc::clone(&it.door)).collect()
}

#[test]
fn a_listener_that_is_renamed_keeps_its_number_and_its_counters() {
    let mut board = Board::new(1);
    let before = doors(&listening(&mut board, &[("a", "127.0.0.1:80")]));
    let after = doors(&listening(&mut board, &[("b", "127.0.0.1:80")]));
    assert_eq!(before[0].id, after[0].id);
    assert!(Arc::ptr_eq(&before[0].live, &after[0].live));
    assert_eq!(after[0].listener.name, name("b"));
}

#[test]
fn numbers_follow_addresses_and_counters_follow_names() {
    let mut board = Board::new(1);
    let (one, two) = ("127.0.0.1:80", "127.0.0.1:81");
    let before = doors(&listening(&mut board, &[("a", one), ("b", two)]));
    let after = doors(&listening(&mut board, &[("a", two), ("b", one)]));
    assert_eq!([before[1].id, before[0].id], [after[0].id, after[1].id]);
    assert!(Arc::ptr_eq(&before[0].live, &after[0].live));
    assert!(Arc::ptr_eq(&before[1].live, &after[1].live));
    let moved = doors(&listening(&mut board, &[("a", "127.0.0.1:82")]));
    assert_eq!(moved[0].id, after[0].id, "all of its addresses are new");
}

#[test]
fn clients_of_a_listener_that_is_gone_find_its_heirs_pool_or_the_one_they_came_for() {
    let mut board = Board::new(1);
    let (one, two) = ("127.0.0.1:80", "127.0.0.1:81");
    let before = doors(&listening(&mut board, &[("a", one), ("b", two)]));
    // b's address goes to a.
    let mut both = ListenerSettings::new(name("a"), one.parse().unwrap(), name("new"));
    both.binds.push(Endpoint::Tcp(two.parse().unwrap()));
    let mut pool = wanted(&[backend("z", 9)]);
    pool.settings.name = name("new");
    board.configure(&[both], &[pool], Moment::START);
    let merged = board.compose(Moment::START);
    for door in &before {
        assert_eq!(merged.pool_behind(door).unwrap().settings.name, name("new"));
    }
    board.configure(&[], &[], Moment::START);
    let empty = board.compose(Moment::START);
    for door in before.iter().chain(&doors(&merged)) {
        let pool = empty.pool_behind(door).unwrap();
        assert_eq!(pool.settings.name, name("new"));
    }
    // They are forgotten when nobody asks for them any more.
    drop((before, merged, empty));
    board.configure(&[], &[], Moment::START);
    assert!(board.compose(Moment::START).former.is_empty());
}
