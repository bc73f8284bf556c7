use super::*;
use crate::clock::Moment;
use crate::pool::{
    BackendId, BackendSettings, BackendState, Board, ListenerSettings, PoolSettings, Protocol,
    Wanted,
};
use crate::types::{Address, Endpoint, Name, Weight};

const UP: BackendState = BackendState::Up { ramp_from: None };

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// A board with one pool; each backend is an address, a weight and a tier.
fn board(binds: &[&str], plane: Plane, backends: &[(&str, u16, u8)]) -> (Board, Vec<BackendId>) {
    let mut listener = ListenerSettings::new(name("front"), ([0; 4], 0).into(), name("web"));
    listener.binds = binds
        .iter()
        .map(|it| Endpoint::Tcp(it.parse().unwrap()))
        .collect();
    listener.plane = plane;
    let mut settings = Vec::new();
    for (at, (address, weight, tier)) in backends.iter().enumerate() {
        // What no file can say is where a host name was found.
        let address = Address::parse(address).unwrap_or_else(|_| Address::parse("db:80").unwrap());
        let mut backend = BackendSettings::new(name(&format!("s{at}")), address);
        backend.weight = Weight::new(u64::from(*weight)).unwrap();
        backend.tier = *tier;
        settings.push(backend);
    }
    let wanted = Wanted {
        settings: PoolSettings::new(name("web"), Protocol::Tcp, settings),
        addresses: backends
            .iter()
            .map(|it| Some(Endpoint::Tcp(it.0.parse().unwrap())))
            .collect(),
    };
    let mut board = Board::new(1);
    let delta = board.configure(&[listener], &[wanted], Moment::START);
    let ids: Vec<BackendId> = delta.added.iter().map(|it| it.id).collect();
    for id in &ids {
        board.set_state(*id, UP, Moment::START);
    }
    (board, ids)
}

fn rules(board: &mut Board) -> Ruleset {
    Ruleset::of(&board.compose(Moment::START))
}

const TWO: [(&str, u16, u8); 2] = [("10.0.0.11:8080", 100, 0), ("10.0.0.12:8080", 300, 0)];

#[test]
fn the_whole_table() {
    let (mut board, _) = board(&["10.0.0.1:80"], Plane::Kernel, &TWO);
    let expected = "\
add table inet tandem_x
delete table inet tandem_x
table inet tandem_x {
counter b1 { }
counter b2 { }
counter l3 { }
chain b1 {
counter name \"b1\"
meta l4proto tcp dnat ip to 10.0.0.11:8080
}
chain b2 {
counter name \"b2\"
meta l4proto tcp dnat ip to 10.0.0.12:8080
}
chain l3_4 {
counter name \"l3\"
numgen random mod 4 vmap { 0-0 : goto b1, 1-3 : goto b2 }
}
chain pick {
ip daddr 10.0.0.1 tcp dport 80 tcp flags & (fin|syn|rst|ack) == syn goto l3_4
}
chain prerouting {
type nat hook prerouting priority -100; policy accept;
meta l4proto tcp jump pick
}
chain output {
type nat hook output priority -100; policy accept;
meta l4proto tcp jump pick
}
chain postrouting {
type nat hook postrouting priority 100; policy accept;
ct state established accept
ct status dnat meta l4proto tcp ct original ip daddr 10.0.0.1 ct original proto-dst 80 \
ip daddr . tcp dport { 10.0.0.11 . 8080, 10.0.0.12 . 8080 } masquerade
}
}
";
    assert_eq!(rules(&mut board).replace("tandem_x"), expected);
}

#[test]
fn listeners_of_the_workers_are_left_alone() {
    let (mut board, _) = board(&["10.0.0.1:80"], Plane::User, &TWO);
    let rules = rules(&mut board);
    assert!(rules.is_empty());
    assert!(!rules.replace("t").contains("dnat"));
}

#[test]
fn who_is_full_gets_new_ones_where_there_is_no_other() {
    let (mut board, ids) = board(&["10.0.0.1:80"], Plane::Kernel, &TWO);
    board.set_state(ids[1], BackendState::Saturated, Moment::START);
    let text = rules(&mut board).replace("t");
    assert!(
        text.contains("\ngoto b1\n") && !text.contains("goto b2"),
        "{text}"
    );
    board.set_state(ids[0], BackendState::Down, Moment::START);
    let text = rules(&mut board).replace("t");
    assert!(
        text.contains("\ngoto b2\n") && !text.contains("goto b1"),
        "{text}"
    );
}

#[test]
fn who_is_down_gets_nothing_new_and_stays_known() {
    let (mut board, ids) = board(&["10.0.0.1:80"], Plane::Kernel, &TWO);
    let before = rules(&mut board);
    board.set_state(ids[1], BackendState::Down, Moment::START);
    let after = rules(&mut board);
    let text = after.rewrite("t", &before);
    assert!(text.starts_with("flush table inet t\n"), "{text}");
    assert!(text.contains("\ngoto b1\n"), "{text}");
    assert!(!text.contains("goto b2"), "{text}");
    assert!(text.contains("10.0.0.12 . 8080"), "its old ones are masked");
    assert!(!text.contains("delete"), "its count goes on: {text}");
    board.set_state(ids[0], BackendState::Drain, Moment::START);
    let none = rules(&mut board);
    assert!(none.replace("t").contains("reject with tcp reset"));
    assert_eq!(after.closed(), none, "closing is having nobody");
}

#[test]
fn a_backup_waits_for_its_turn() {
    let backends = [("10.0.0.11:80", 100, 0), ("10.0.0.12:80", 100, 1)];
    let (mut board, ids) = board(&["10.0.0.1:80"], Plane::Kernel, &backends);
    assert!(!rules(&mut board).replace("t").contains("goto b2"));
    board.set_state(ids[0], BackendState::Down, Moment::START);
    assert!(rules(&mut board).replace("t").contains("goto b2"));
}

#[test]
fn each_family_has_its_own_backends() {
    let backends = [("10.0.0.11:80", 100, 0), ("[2001:db8::11]:80", 100, 0)];
    let (mut board, _) = board(&["0.0.0.0:80", "[::]:80"], Plane::Kernel, &backends);
    let text = rules(&mut board).replace("t");
    assert!(text.contains("dnat ip6 to [2001:db8::11]:80"), "{text}");
    assert!(text.contains("chain l3_4 {\ncounter name \"l3\"\ngoto b1\n"));
    assert!(text.contains("chain l3_6 {\ncounter name \"l3\"\ngoto b2\n"));
    assert!(text.contains("fib daddr type local ip daddr != 127.0.0.0/8 tcp dport 80"));
    assert!(text.contains("ip6 daddr . tcp dport { 2001:db8::11 . 80 } masquerade"));
}

#[test]
fn what_goes_is_deleted_after_it_is_no_longer_named() {
    let (mut two, _) = board(&["10.0.0.1:80"], Plane::Kernel, &TWO);
    let before = rules(&mut two);
    let text = Ruleset::default().rewrite("t", &before);
    let deleted: Vec<&str> = text.lines().filter(|it| it.starts_with("delete")).collect();
    assert_eq!(
        deleted,
        [
            "delete chain inet t b1",
            "delete chain inet t b2",
            "delete chain inet t l3_4",
            "delete counter inet t b1",
            "delete counter inet t b2",
            "delete counter inet t l3",
        ]
    );
    assert!(text.contains(FOLLOW), "nor would they be followed");
    let hooks = text.matches("type nat hook").count();
    assert_eq!(
        hooks, 3,
        "without them old connections would lose their way"
    );
}

#[test]
fn connections_are_found_again() {
    let (mut board, _) = board(&["10.0.0.1:80", "0.0.0.0:81"], Plane::Kernel, &TWO);
    let rules = rules(&mut board);
    let owner = |to: &str, from: &str| rules.owner(to.parse().unwrap(), from.parse().unwrap());
    assert_eq!(owner("10.0.0.1:80", "10.0.0.12:8080"), Some((3, Some(2))));
    assert_eq!(owner("10.9.9.9:81", "10.0.0.11:8080"), Some((3, Some(1))));
    assert_eq!(
        owner("10.0.0.1:80", "10.0.0.13:8080"),
        Some((3, None)),
        "removed"
    );
    assert_eq!(owner("10.0.0.2:80", "10.0.0.12:8080"), None);
    assert_eq!(owner("10.9.9.9:81", "10.9.9.9:81"), None, "a worker's");
}

#[test]
fn nobody_is_sent_to_where_nothing_is() {
    let backends = [("0.0.0.0:0", 100, 0), ("127.0.0.1:80", 100, 0)];
    let (mut board, _) = board(&["10.0.0.1:80"], Plane::Kernel, &backends);
    let text = rules(&mut board).replace("t");
    assert!(!text.contains("dnat ip to"), "{text}");
    assert!(text.contains("reject with tcp reset"));
}

#[test]
fn parts_are_small_and_as_the_weights() {
    let parts = |weights: &[u32]| parts(weights.iter().copied());
    assert_eq!(parts(&[100_000, 300_000]), [1, 3]);
    assert_eq!(parts(&[10_000, 100_000]), [1, 10]);
    assert_eq!(parts(&[7]), [1]);
    let many = parts(&vec![999_983; 9000]);
    assert_eq!(many[0], 1);
    let mut odd = vec![1_000_000; 8999];
    odd.push(999_983);
    assert!(parts(&odd).iter().sum::<u64>() <= MOST_PARTS);
}
