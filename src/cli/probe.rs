//! `tandem probe`, and the probes of `tandem check --online`.

use std::net::ToSocketAddrs;
use std::time::Duration;

use super::{ConfigFile, Exit, ProbeArgs, complain, out};
use crate::clock;
use crate::config::Config;
use crate::health::{
    HttpHost, HttpMethod, HttpPath, HttpProbe, HttpRequest, MysqlLogin, MysqlProbe, Outcome, Probe,
    ProbeKind, ProbeSettings, Target, Timing, Tls, Trusted, Verify,
};
use crate::types::{Address, Endpoint, Name, ProxyVersion, Secret, Sources, Taint, plain_socket};

/// A backend, and how it is probed.
pub(super) struct Backend<'c> {
    pool: &'c Name,
    name: &'c Name,
    address: &'c Address,
    probe: &'c ProbeSettings,
    sources: &'c Sources,
    send_proxy: Option<ProxyVersion>,
}

pub(super) fn probe(args: &ProbeArgs, file: &ConfigFile) -> Exit {
    match kind(args) {
        Ok(Some(kind)) => anywhere(args, kind),
        Ok(None) => in_file(args, file),
        Err(error) => {
            complain(&error);
            Exit::Usage
        }
    }
}

/// Probes an address as the command line says.
fn anywhere(args: &ProbeArgs, kind: ProbeKind) -> Exit {
    let address = match Address::parse(&args.what) {
        Ok(address) => address,
        Err(error) => {
            complain(&error.to_string());
            return Exit::Usage;
        }
    };
    let mut taint = Taint::default();
    let mut is_hushed = false;
    if let ProbeKind::Mysql(probe) = &kind
        && let Some(login) = &probe.login
    {
        taint.hide(login.password.expose(), "***");
        is_hushed = !Taint::finds(login.password.expose());
    }
    let mut timing = Timing::default();
    timing.timeout = args.timeout().unwrap_or(timing.timeout);
    let probe = ProbeSettings {
        kind,
        port: None,
        timing,
        is_hushed,
    };
    let name = Name::of_address(&address);
    let backend = Backend {
        pool: &name,
        name: &name,
        address: &address,
        probe: &probe,
        sources: &Sources::default(),
        send_proxy: None,
    };
    let result = once(&backend).map_err(|why| taint.clean(&why));
    out(&format!("{}\n", describe(&args.what, &result)));
    if result.is_ok() {
        Exit::Ok
    } else {
        Exit::Refused
    }
}

const OTHERS: &str = "any other address is probed with --tcp, --http PATH, --https PATH or --mysql";

/// Probes those backends of lb.yaml that are meant as it says.
fn in_file(args: &ProbeArgs, file: &ConfigFile) -> Exit {
    let mut config = match file.load() {
        Ok(config) => config,
        Err(error) => {
            complain(&format!("{}\n{OTHERS}", error.with_lines()));
            return Exit::Usage;
        }
    };
    if let Some(timeout) = args.timeout() {
        for pool in &mut config.pools {
            pool.probe.timing.timeout = timeout;
        }
    }
    let address = Address::parse(&args.what).ok();
    let is_meant = |it: &Backend<'_>| {
        Some(it.address) == address.as_ref()
            || it.pool.as_str() == args.what
            || format!("{}/{}", it.pool, it.name) == args.what
    };
    match backends(&config, is_meant) {
        Some(exit) => exit,
        None => {
            let (file, what) = (file.path(), &args.what);
            complain(&format!(
                "{} has no pool, no POOL/BACKEND and no address of a backend {what:?}; {OTHERS}",
                file.display()
            ));
            Exit::Usage
        }
    }
}

/// Probes once, as a running tandem would, each backend of `config` that
/// `is_meant`, and says what came of it; `None`: no backend is.
pub(super) fn backends(config: &Config, is_meant: impl Fn(&Backend<'_>) -> bool) -> Option<Exit> {
    let all = config.pools.iter().flat_map(|it| {
        it.pool.backends.iter().map(|backend| Backend {
            pool: &it.pool.name,
            name: &backend.name,
            address: &backend.address,
            probe: &it.probe,
            sources: it.pool.sources_of(backend),
            send_proxy: it.pool.send_proxy,
        })
    });
    let mut exit = None;
    for backend in all.filter(is_meant) {
        // A server may repeat what it was sent.
        let result = once(&backend).map_err(|why| config.taint.clean(&why));
        let line = describe(&backend.address.to_string(), &result);
        out(&format!("{}/{} {line}\n", backend.pool, backend.name));
        exit = match (result, exit) {
            (Ok(_), None | Some(Exit::Ok)) => Some(Exit::Ok),
            (Ok(_) | Err(_), _) => Some(Exit::Refused),
        };
    }
    exit
}

fn describe(address: &str, result: &Result<(String, Duration), String>) -> String {
    match result {
        Ok((outcome, took)) => {
            let millis = took.as_secs_f64() * 1000.0;
            format!("{address}: {outcome} in {millis:.1} ms")
        }
        Err(why) => format!("{address}: fail: {why}"),
    }
}

/// What the command line says; `None`: nothing of how to probe.
fn kind(args: &ProbeArgs) -> Result<Option<ProbeKind>, String> {
    let tls = match &args.https {
        Some(_) => Some(tls(args)?),
        None => None,
    };
    if let Some(path) = args.http.as_ref().or(args.https.as_ref()) {
        let host = args.host.as_deref().map(HttpHost::parse).transpose();
        let request = HttpRequest {
            method: HttpMethod::Get,
            path: HttpPath::parse(path).map_err(|why| why.to_string())?,
            host: host.map_err(|why| why.to_string())?,
        };
        return Ok(Some(ProbeKind::Http(HttpProbe {
            request,
            expect: vec![(200, 399)],
            body: None,
            drain_on_404: false,
            tls,
        })));
    }
    if args.tcp {
        return Ok(Some(ProbeKind::Tcp));
    }
    if !args.mysql {
        return Ok(None);
    }
    let login = match (&args.user, &args.password_file) {
        (Some(user), Some(file)) => {
            let text = std::fs::read_to_string(file)
                .map_err(|error| format!("{}: {error}", file.display()))?;
            Some(MysqlLogin {
                user: user.clone(),
                password: Secret::new(text.trim_end_matches(['\r', '\n'])),
            })
        }
        (Some(_), None) | (None, _) => None,
    };
    Ok(Some(ProbeKind::Mysql(MysqlProbe { login, tls: None })))
}

/// As `probe: https` has it, unless said.
fn tls(args: &ProbeArgs) -> Result<Tls, String> {
    let mut tls = Tls {
        verify: if args.insecure {
            Verify::Off
        } else {
            Verify::Name
        },
        trusted: None,
        server_name: None,
    };
    if let Some(file) = &args.ca_file {
        let text = std::fs::read_to_string(file);
        let text = text.map_err(|error| format!("{}: {error}", file.display()))?;
        let trusted = Trusted::parse(file, &text);
        tls.trusted = Some(trusted.map_err(|why| format!("{} {why}", file.display()))?);
    }
    Ok(tls)
}

/// Probes a backend once at each of its addresses, until one of them passes;
/// says what came of it and how long it took.
fn once(backend: &Backend<'_>) -> Result<(String, Duration), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let addresses = resolve(backend.address)?;
    let mut failures = Vec::new();
    for address in &addresses {
        match runtime.block_on(at(address.clone(), backend)) {
            Ok(passed) => return Ok(passed),
            Err(why) if addresses.len() > 1 => failures.push(format!("at {address}: {why}")),
            Err(why) => failures.push(why),
        }
    }
    Err(failures.join("; "))
}

/// Probes `backend`, which is at `address`, once.
async fn at(mut address: Endpoint, backend: &Backend<'_>) -> Result<(String, Duration), String> {
    let is_clients_port = backend.probe.is_at(address.port());
    if let (Some(port), Endpoint::Tcp(address)) = (backend.probe.port, &mut address) {
        address.set_port(port);
    }
    let target = Target {
        pool: backend.pool.clone(),
        backend: backend.name.clone(),
        sources: backend.sources.towards(Some(&address)),
        host: match backend.address {
            Address::Host { host, .. } => host.clone(),
            Address::Ip(_) | Address::Unix(_) => address.host(),
        },
        address,
        is_clients_port,
        send_proxy: backend.send_proxy,
    };
    let mut probe = Probe::new(backend.probe);
    let began = clock::now();
    let outcome = probe.run(&target).await;
    let took = clock::now().since(began);
    probe.close().await;
    match outcome {
        Outcome::Pass => Ok(("pass".to_owned(), took)),
        Outcome::Drain => Ok(("drain".to_owned(), took)),
        Outcome::Saturated => Ok(("saturated".to_owned(), took)),
        Outcome::Fail(failure) => Err(failure.to_string()),
        Outcome::Unknown(blindness) => Err(format!(
            "{blindness} (this machine is at fault, not the backend: {})",
            blindness.fault
        )),
    }
}

/// All that it has, as the system prefers them.
fn resolve(address: &Address) -> Result<Vec<Endpoint>, String> {
    let (host, port) = match address {
        Address::Ip(address) => return Ok(vec![Endpoint::Tcp(*address)]),
        Address::Unix(path) => return Ok(vec![Endpoint::Unix(path.clone())]),
        Address::Host { host, port } => (host, *port),
    };
    let found = (host.as_str(), port).to_socket_addrs();
    let found = found.map_err(|error| format!("{host}: {error}"))?;
    let mut all: Vec<Endpoint> = Vec::new();
    for address in found.map(|it| Endpoint::Tcp(plain_socket(it))) {
        if !all.contains(&address) {
            all.push(address);
        }
    }
    if all.is_empty() {
        return Err(format!("{host}: no address"));
    }
    Ok(all)
}
