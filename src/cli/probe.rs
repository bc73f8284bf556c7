//! `tandem probe`

use std::net::ToSocketAddrs;
use std::time::Duration;

use super::check::{describe, host_of};
use super::{Exit, ProbeArgs, complain, out};
use crate::clock;
use crate::health::{
    HttpMethod, HttpPath, HttpProbe, HttpRequest, MysqlLogin, MysqlProbe, Outcome, Probe,
    ProbeKind, ProbeSettings, Target, Timing, Tls,
};
use crate::types::{Address, Endpoint, Name, ProxyVersion, Secret, Sources, Taint, plain_socket};

pub(super) fn probe(args: &ProbeArgs) -> Exit {
    let address = match Address::parse(&args.address) {
        Ok(address) => address,
        Err(error) => {
            complain(&error.to_string());
            return Exit::Usage;
        }
    };
    let kind = match kind(args) {
        Ok(kind) => kind,
        Err(error) => {
            complain(&error);
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
    let settings = ProbeSettings {
        kind,
        port: None,
        timing: Timing {
            timeout: Duration::from_millis(args.timeout_ms),
            ..Timing::default()
        },
        is_hushed,
    };
    let name = Name::of_address(&address);
    let result = once(
        (name.clone(), name),
        &address,
        &settings,
        &Sources::default(),
        None,
    );
    let result = result.map_err(|why| taint.clean(&why));
    out(&format!("{}\n", describe(&args.address, &result)));
    if result.is_ok() {
        Exit::Ok
    } else {
        Exit::Refused
    }
}

fn kind(args: &ProbeArgs) -> Result<ProbeKind, String> {
    let http = |path, tls| {
        ProbeKind::Http(HttpProbe {
            request: HttpRequest {
                method: HttpMethod::Get,
                path,
                host: None,
            },
            expect: vec![(200, 399)],
            body: None,
            drain_on_404: false,
            tls,
        })
    };
    if let Some(path) = args.http.as_ref().or(args.https.as_ref()) {
        let path = HttpPath::parse(path).map_err(|why| why.to_string())?;
        return Ok(http(path, args.https.as_ref().map(|_| Tls::default())));
    }
    if !args.mysql {
        return Ok(ProbeKind::Tcp);
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
    Ok(ProbeKind::Mysql(MysqlProbe { login, tls: None }))
}

/// Probes `address` once; says what came of it and how long it took.
pub(super) fn once(
    (pool, backend): (Name, Name),
    address: &Address,
    settings: &ProbeSettings,
    sources: &Sources,
    send_proxy: Option<ProxyVersion>,
) -> Result<(String, Duration), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let mut socket_address = resolve(address)?;
    let is_clients_port = settings.is_at(socket_address.port());
    if let (Some(port), Endpoint::Tcp(address)) = (settings.port, &mut socket_address) {
        address.set_port(port);
    }
    let target = Target {
        pool,
        backend,
        sources: sources.towards(Some(&socket_address)),
        address: socket_address,
        is_clients_port,
        host: host_of(address),
        send_proxy,
    };
    runtime.block_on(async {
        let mut probe = Probe::new(settings);
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
    })
}

fn resolve(address: &Address) -> Result<Endpoint, String> {
    match address {
        Address::Ip(address) => Ok(Endpoint::Tcp(*address)),
        Address::Unix(path) => Ok(Endpoint::Unix(path.clone())),
        Address::Host { host, port } => (host.as_str(), *port)
            .to_socket_addrs()
            .map_err(|error| format!("{host}: {error}"))?
            .next()
            .map(|it| Endpoint::Tcp(plain_socket(it)))
            .ok_or_else(|| format!("{host}: no address")),
    }
}
