//! The name server of `deploy/PAIR.md`, set up by its very lines, on a machine
//! whose folders are as fresh as Debian's package leaves them.

use std::process::{Command, Stdio};

const GUIDE: &str = include_str!("../../deploy/PAIR.md");

/// The blocks of `language` below the heading of bind9.
fn blocks(language: &str) -> Vec<&'static str> {
    let (_, section) = GUIDE.split_once("### bind9\n").unwrap();
    let (section, _) = section.split_once("\n### ").unwrap();
    let open = format!("```{language}\n");
    let blocks = section.split(&open).skip(1);
    blocks.map(|it| it.split_once("```").unwrap().0).collect()
}

/// What a machine has on which `bind9` was just installed, of its own: folders,
/// processes and network.
const MACHINE: &str = r#"
cp -a /etc "$DIR/etc"
rm -f "$DIR/etc/bind/tandem.key"
mkdir "$DIR/lib" "$DIR/cache" "$DIR/run"
chown root:bind "$DIR/lib" "$DIR/cache"; chmod 775 "$DIR/lib" "$DIR/cache"
chown bind:bind "$DIR/run"; chmod 755 "$DIR" "$DIR/run"
mount --bind "$DIR/etc" /etc
mount --bind "$DIR/lib" /var/lib/bind
mount --bind "$DIR/cache" /var/cache/bind
mkdir -p /run/named
mount --bind "$DIR/run" /run/named
ip link set lo up
for address in 192.0.2.53 203.0.113.10 203.0.113.11; do ip address add $address/32 dev lo; done
"#;

/// Starts what the guide has set up, and one node of its pair.
const PLAY: &str = r#"
named -u bind -f -n 2 &
openssl rand -hex 32 > /etc/tandem/pair.key
chmod 600 /etc/tandem/pair.key
cat "$DIR/pair.yaml" - > /etc/tandem/lb.yaml <<'END'
listeners: { web: { bind: "127.0.0.1:8080", pool: web } }
pools: { web: { backends: ["127.0.0.1:1"], probe: { type: exec, command: [/bin/true] } } }
admin: { bind: off, socket: /etc/tandem/admin.sock }
END
"$TANDEM" check -c /etc/tandem/lb.yaml --node lb1 >&2
"$TANDEM" run -c /etc/tandem/lb.yaml --node lb1 >&2 &
for _ in $(seq 300); do
    said=$(dig +short +tries=1 +timeout=1 @192.0.2.53 lb.example.com A || true)
    if [ "$said" = 203.0.113.10 ]; then echo "held by $said"; exit; fi
    sleep 0.1
done
ls -la /var/lib/bind >&2
"$TANDEM" pair status --socket /etc/tandem/admin.sock >&2
"#;

#[test]
fn the_guide_to_bind9_ends_with_the_name_held() {
    let dir = tempfile::Builder::new()
        .prefix("tandem-guide-")
        .tempdir()
        .unwrap();
    let shell = blocks("sh");
    let [yaml] = blocks("yaml")[..] else {
        panic!("one lb.yaml");
    };
    std::fs::write(dir.path().join("pair.yaml"), yaml).unwrap();
    let [server, balancer] = shell[..] else {
        panic!("one block for each machine");
    };
    // The balancer's is typed where the key was copied to.
    let script = format!("{MACHINE}\n{server}\ncd /etc/bind\n{balancer}\n{PLAY}");
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--net", "--pid", "--fork", "--kill-child"])
        .args(["bash", "-eu", "-o", "pipefail", "-c", &script])
        .env("DIR", dir.path())
        .env("TANDEM", env!("CARGO_BIN_EXE_tandem"))
        .env(
            "PATH",
            format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap()),
        )
        .stdin(Stdio::null());
    let done = command
        .output()
        .expect("unshare starts; install util-linux");
    let (told, log) = (
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr),
    );
    assert!(told.contains("held by 203.0.113.10"), "{told}\n{log}");
    assert!(done.status.success(), "{log}");
}
