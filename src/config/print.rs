//! A [`Config`] as JSON and as YAML: every setting, defaults included, secrets
//! masked. The YAML is an lb.yaml again.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::scalar::show_duration;
use super::{Config, PairConfig, PoolConfig};
use crate::event::LogFormat;
use crate::health::{HttpProbe, MysqlProbe, ProbeKind, ProbeSettings, Tls, TlsName, Verify};
use crate::pair::{Failback, Mode, PairSettings};
use crate::pool::{BackendSettings, ListenerSettings, OnDead, Plane, PoolSettings, ProxyVersion};
use crate::types::{Endpoint, Name, Sources};

/// What stands in the place of a secret.
const MASK: &str = "****************";

/// As people and scripts see it.
pub(super) fn json(config: &Config) -> Value {
    config.given.mask(all(config), str::to_owned)
}

/// The same with every `${` that is not the environment's written so that it
/// stays one.
pub(super) fn as_file(config: &Config) -> Value {
    let plain = |text: &str| text.replace("${", "$${");
    config.given.mask(all(config), plain)
}

/// Every setting with what the environment gave.
pub(super) fn all(config: &Config) -> Value {
    let auto = |value: Option<u64>| value.map_or_else(|| json!("auto"), |it| json!(it));
    let listeners = config.listeners.iter();
    let listeners: Map<String, Value> = listeners
        .map(|it| (it.name.to_string(), listener(it)))
        .collect();
    let pools = config.pools.iter();
    let pools: Map<String, Value> = pools
        .map(|it| (it.pool.name.to_string(), pool(it)))
        .collect();
    let mut admin = json!({
        "bind": or_off(config.admin.bind.map(|it| it.to_string())),
        "socket": or_off(config.admin.socket.as_ref().map(|it| it.path().display().to_string())),
    });
    if !config.admin.hosts.is_empty() {
        admin["hosts"] = json!(config.admin.hosts);
    }
    admin["histograms"] = json!(config.admin.histograms.as_str());
    if config.admin.token.is_some() {
        admin["token"] = json!(MASK);
    }
    let mut out = json!({
        "process": {
            "workers": auto(config.limits.workers.map(u64::from)),
            "max_connections": auto(config.limits.max_connections.map(u64::from)),
            "busy_poll": match config.limits.busy_poll.as_micros() {
                0 => "off".to_owned(),
                micros => format!("{micros}us"),
            },
            "shutdown_grace": show_duration(config.limits.shutdown_grace),
            "state_dir": or_off(config.state_dir.as_ref().map(|it| it.display().to_string())),
        },
        "listeners": listeners,
        "pools": pools,
        "admin": admin,
        "log": {
            "format": match config.log.format {
                LogFormat::Auto => "auto",
                LogFormat::Json => "json",
                LogFormat::Text => "text",
            },
            "connections": config.log.connections,
        },
    });
    set_some(&mut out, "pair", config.pair.as_ref().map(pair));
    out
}

fn or_off(value: Option<String>) -> Value {
    value.map_or_else(|| json!("off"), Value::String)
}

fn limit(value: Option<Duration>) -> Value {
    or_off(value.map(show_duration))
}

fn set_some(target: &mut Value, key: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        target[key] = value.into();
    }
}

fn listener(it: &ListenerSettings) -> Value {
    let texts = |networks: &[ipnet::IpNet]| -> Vec<String> {
        networks.iter().map(ToString::to_string).collect()
    };
    let binds: Vec<String> = it.binds.iter().map(ToString::to_string).collect();
    let mut accept_proxy = texts(&it.accept_proxy);
    accept_proxy.extend(it.accept_proxy_unix.then(|| "unix".to_owned()));
    let mut out = json!({
        "bind": binds,
        "pool": it.pool,
        "allow": texts(&it.allow),
        "deny": texts(&it.deny),
        "backlog": it.backlog,
        "accept_proxy": accept_proxy,
        "proxy_header_timeout": show_duration(it.proxy_header_timeout),
        "first_byte_timeout": limit(it.first_byte_timeout),
        "client_first": if it.client_first { "on" } else { "off" },
    });
    set_some(&mut out, "max_connections", it.max_connections);
    set_some(&mut out, "max_per_source", it.max_per_source);
    if it.binds.iter().any(Endpoint::has_file) {
        out["unix_mode"] = json!(format!("{:03o}", it.unix.mode));
        let number = |it: Option<u32>| it.map_or_else(String::new, |it| it.to_string());
        let (user, group) = (it.unix.user, it.unix.group);
        let owner = format!("{}:{}", number(user), number(group));
        set_some(&mut out, "unix_owner", (owner != ":").then_some(owner));
    }
    // The workers are the rule, and not worth a line.
    let plane = (it.plane != Plane::default()).then(|| it.plane.as_str());
    set_some(&mut out, "plane", plane);
    out
}

fn pool(it: &PoolConfig) -> Value {
    let pool = &it.pool;
    let keepalive = pool.keepalive.map_or_else(
        || json!("off"),
        |it| {
            json!({
                "idle": show_duration(it.idle),
                "interval": show_duration(it.interval),
                "count": it.count,
            })
        },
    );
    let queue = match pool.queue_limit {
        0 => json!("off"),
        limit => json!({ "timeout": show_duration(pool.queue_timeout), "limit": limit }),
    };
    let mut out = json!({
        "backends": backends(pool),
        "probe": probe(&it.probe),
        "protocol": pool.protocol.as_str(),
        "policy": pool.policy.as_str(),
        "connect_timeout": show_duration(pool.connect_timeout),
        "connect_tries": pool.connect_tries,
        "connect_budget": show_duration(pool.connect_budget),
        "idle_timeout": limit(pool.idle_timeout),
        "half_close_timeout": limit(pool.half_close_timeout),
        "keepalive": keepalive,
        "tcp_user_timeout": limit(pool.tcp_user_timeout),
        "send_proxy": match pool.send_proxy {
            None => "off",
            Some(ProxyVersion::V1) => "v1",
            Some(ProxyVersion::V2) => "v2",
        },
        "queue": queue,
        "slow_start": limit(pool.slow_start),
        "panic_threshold": or_off(pool.panic_threshold.map(|it| format!("{it}%"))),
        "on_dead": match pool.on_dead {
            OnDead::Keep => "keep",
            OnDead::Reset => "reset",
        },
        "drain_timeout": limit(pool.drain_timeout),
    });
    set_some(&mut out, "source", source(&pool.source));
    out
}

/// Nobody's by default, and then not worth a line.
fn source(it: &Sources) -> Option<Vec<String>> {
    (!it.is_empty()).then(|| it.iter().map(|ip| ip.to_string()).collect())
}

/// A list if that is how the file had it: there names are addresses, and all
/// else is as by default.
fn backends(pool: &PoolSettings) -> Value {
    let is_bare = |it: &BackendSettings| it.name == Name::of_address(&it.address);
    if pool.backends.iter().all(is_bare) {
        let all = pool.backends.iter().map(|it| json!(it.address.to_string()));
        return Value::Array(all.collect());
    }
    let all = pool.backends.iter().map(|it| {
        let mut out = json!({
            "address": it.address.to_string(),
            "weight": it.weight.get(),
            "tier": it.tier,
        });
        set_some(&mut out, "max_connections", it.max_connections);
        set_some(&mut out, "source", source(&it.source));
        (it.name.to_string(), out)
    });
    Value::Object(all.collect())
}

fn probe(it: &ProbeSettings) -> Value {
    let mut out = match &it.kind {
        ProbeKind::Exec(command) => json!({ "type": "exec", "command": command }),
        ProbeKind::Http(probe) => http(probe),
        ProbeKind::Mysql(probe) => mysql(probe),
        ProbeKind::SendExpect(probe) => json!({
            "type": "send_expect",
            "send": String::from_utf8_lossy(&probe.send),
            "expect": String::from_utf8_lossy(&probe.expect),
        }),
        ProbeKind::Tcp => json!({ "type": "tcp" }),
    };
    let timing = &it.timing;
    set_some(&mut out, "port", it.port);
    out["interval"] = json!(show_duration(timing.interval));
    out["timeout"] = json!(show_duration(timing.timeout));
    out["fall"] = json!(timing.fall);
    out["rise"] = json!(timing.rise);
    out["fast_interval"] = json!(show_duration(timing.fast_interval));
    out["down_interval"] = json!(show_duration(timing.down_interval));
    out["jitter"] = json!(format!("{}%", timing.jitter));
    out
}

fn http(probe: &HttpProbe) -> Value {
    let ranges = probe.expect.iter();
    let expect: Vec<String> = ranges.map(|(from, to)| format!("{from}-{to}")).collect();
    let mut out = json!({
        "type": if probe.tls.is_some() { "https" } else { "http" },
        "method": probe.request.method.as_str(),
        "path": probe.request.path.as_str(),
        "expect": expect,
        "drain_on_404": probe.drain_on_404,
    });
    set_some(
        &mut out,
        "host",
        probe.request.host.as_ref().map(ToString::to_string),
    );
    set_some(&mut out, "body", probe.body.clone());
    set_some(&mut out, "tls", probe.tls.as_ref().map(tls));
    out
}

fn mysql(probe: &MysqlProbe) -> Value {
    let mut out = json!({ "type": "mysql" });
    if let Some(login) = &probe.login {
        out["user"] = json!(login.user);
        if !login.password.expose().is_empty() {
            out["password"] = json!(MASK);
        }
    }
    out["tls"] = probe.tls.as_ref().map_or_else(|| json!("off"), tls);
    out
}

fn tls(it: &Tls) -> Value {
    let mut out = json!({
        "verify": match it.verify {
            Verify::Authority => json!("ca"),
            Verify::Name => json!(true),
            Verify::Off => json!(false),
        },
    });
    let ca_file = it
        .trusted
        .as_ref()
        .map(|it| it.file().display().to_string());
    set_some(&mut out, "ca_file", ca_file);
    set_some(
        &mut out,
        "server_name",
        it.server_name.as_ref().map(TlsName::as_str),
    );
    out
}

fn pair(it: &PairConfig) -> Value {
    let pair = &it.pair;
    let nodes = pair.nodes.iter().map(|node| {
        let addresses: Vec<String> = node.addresses.iter().map(ToString::to_string).collect();
        (node.name.to_string(), json!(addresses))
    });
    let nodes: Map<String, Value> = nodes.collect();
    let port = pair.nodes.first().and_then(|it| it.heartbeat.first());
    let dns = it.serve.as_ref().map_or_else(
        || json!("off"),
        |serve| {
            let binds: Vec<String> = serve.binds.iter().map(ToString::to_string).collect();
            json!({
                "ttl": show_duration(serve.ttl),
                "serve": {
                    "bind": binds,
                    "per_source_qps": serve.per_source_qps,
                    "global_qps": serve.global_qps,
                    "tcp_clients": serve.tcp_clients,
                },
            })
        },
    );
    let dns = with_register(it, dns);
    json!({
        "name": pair.name.as_str(),
        "nodes": nodes,
        "me": pair.me,
        "secret": MASK.repeat(2),
        "heartbeat": {
            "port": port.map_or(PairSettings::HEARTBEAT_PORT, |it| it.port()),
            "interval": show_duration(pair.timing.heartbeat),
            "start_grace": show_duration(pair.timing.start_grace),
            "forget_after": show_duration(pair.timing.forget_after),
        },
        "failback": match &pair.failback {
            Failback::Never => json!("never"),
            Failback::Prefer { node, after } => {
                json!({ "prefer": node, "after": show_duration(*after) })
            }
        },
        "mode": if pair.active_active { "active-active" } else { "active-passive" },
        "dns": dns,
    })
}

fn with_register(it: &PairConfig, serve: Value) -> Value {
    let mut dns = match (serve, &it.register, &it.hook) {
        (Value::Object(map), _, _) => Value::Object(map),
        (off, None, None) if it.observe.is_empty() => return off,
        (_, _, _) => json!({}),
    };
    if let Some(register) = &it.register {
        let mut out = json!({
            "server": register.server.to_string(),
            "zone": register.zone,
            "timeout": show_duration(register.timeout),
            "tcp": register.tcp,
        });
        if let Some(key) = &register.key {
            out["key"] = json!(key.name);
            out["algorithm"] = json!(key.algorithm.as_str());
            // Valid base64, so that what is printed can be checked.
            out["secret"] = json!("bWFza2VkIHNlY3JldCwgbm90IHRoZSByZWFsIG9uZQ==");
        }
        dns["rfc2136"] = out;
        dns["ttl"] = json!(show_duration(register.ttl));
    }
    if !it.observe.is_empty() {
        let servers: Vec<String> = it.observe.iter().map(ToString::to_string).collect();
        dns["observe"] = json!(servers);
    }
    if let Mode::Lease { ttl, margin } = it.mode {
        dns["lease"] = json!({ "ttl": show_duration(ttl), "margin": show_duration(margin) });
    }
    if let Some(hook) = &it.hook {
        dns["exec"] = json!({
            "command": hook.command,
            "timeout": show_duration(hook.timeout),
        });
    }
    dns
}
