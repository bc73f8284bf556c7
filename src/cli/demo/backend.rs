//! A tiny web server that answers every GET with its name.

use std::io;
use std::net::SocketAddr;

use axum::Router;
use axum::routing::get;

use crate::cli::{Exit, complain};

pub(in crate::cli) fn backend(name: &str, bind: SocketAddr) -> Exit {
    match serve(name, bind) {
        Ok(()) => Exit::Ok,
        Err(error) => {
            complain(&format!("demo-backend {name}: {error}"));
            Exit::Refused
        }
    }
}

fn serve(name: &str, bind: SocketAddr) -> io::Result<()> {
    let name = format!("{name}\n");
    let answer = move || {
        let name = name.clone();
        async move { name }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(bind).await?;
        let router = Router::new()
            .route("/healthz", get(|| async { "ok\n" }))
            .fallback(get(answer));
        axum::serve(listener, router).await
    })
}
