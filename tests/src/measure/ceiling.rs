//! What serving can be measured against: the same bytes from nginx, which has them in a file, and from axum, which
//! has them in memory.

use std::{io::Read, net::SocketAddr, path::Path, process::Command, time::Duration, time::Instant};

use anyhow::{Context, bail};
use axum::{
    Router,
    body::Bytes,
    http::{HeaderMap, HeaderName, HeaderValue},
    routing::get,
    serve::ListenerExt,
};

use super::{
    client::{Answer, Client},
    process::{self, Role, SERVER_CORE},
};

/// Headers that a server makes by itself, for every answer or from its file.
const OWN: [&str; 6] = ["connection", "content-length", "content-type", "date", "etag", "last-modified"];

/// Starts nginx, tuned for one small file. In one process: a worker of its own would be the same work, and would
/// outlive a master that is killed.
pub(super) fn nginx(dir: &Path, target: &str, answer: &Answer, sendfile: bool) -> anyhow::Result<(Role, SocketAddr)> {
    let address = process::free_address()?;
    let (path, _) = target.split_once('?').unwrap_or((target, ""));
    let file = dir.join(path.trim_start_matches('/'));
    std::fs::create_dir_all(file.parent().context("a file is in a folder")?)?;
    std::fs::write(&file, &answer.body)?;
    let config = dir.join(format!("nginx-{}.conf", address.port()));
    std::fs::write(&config, nginx_config(dir, address, answer, sendfile))?;
    let mut command = Command::new("taskset");
    command.args(["-c", SERVER_CORE, "nginx", "-e", "stderr", "-c"]).arg(&config);
    let role = Role::spawn(&mut command)?;
    wait_same(address, target, answer).context("nginx does not serve; is it installed (apt install nginx-light)?")?;
    Ok((role, address))
}

fn nginx_config(dir: &Path, address: SocketAddr, answer: &Answer, sendfile: bool) -> String {
    let on_off = |is_on: bool| if is_on { "on" } else { "off" };
    let has = |name: &str| answer.headers.iter().any(|(it, _)| it == name);
    let others = answer.headers.iter().filter(|(name, _)| !OWN.contains(&name.as_str()));
    let headers: String =
        others.map(|(name, value)| format!("add_header {name} \"{}\";\n", value.replace('"', "\\\""))).collect();
    let kind = answer.headers.iter().find(|(name, _)| name == "content-type").map_or("text/plain", |(_, it)| it);
    let dir = dir.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {dir}/{name};\n"))
        .concat();
    let modified = if has("last-modified") { "" } else { "add_header last-modified \"\";\n" };
    format!(
        "daemon off; master_process off; worker_processes 1; pid {dir}/nginx-{port}.pid; error_log stderr crit;\n\
         events {{ worker_connections 1024; }}\n\
         http {{\n{temporary}\
         access_log off; server_tokens off; types {{ }} default_type \"{kind}\"; sendfile {sendfile};\n\
         tcp_nodelay on; keepalive_timeout 75s; keepalive_requests 1000000000; etag {etag};\n\
         open_file_cache max=16 inactive=1h; open_file_cache_valid 1h;\n\
         server {{ listen {address}; root {dir}; location / {{\n{headers}{modified}}} }}\n}}\n",
        port = address.port(),
        sendfile = on_off(sendfile),
        etag = on_off(has("etag")),
    )
}

/// Starts the role below.
pub(super) fn bare_axum(dir: &Path, target: &str, answer: &Answer) -> anyhow::Result<(Role, SocketAddr)> {
    let (head, body) = (dir.join("head"), dir.join("body"));
    let others = answer.headers.iter().filter(|(name, _)| !["content-length", "date"].contains(&name.as_str()));
    std::fs::write(&head, others.map(|(name, value)| format!("{name}:{value}\n")).collect::<String>())?;
    std::fs::write(&body, &answer.body)?;
    let (head, body) = (head.display().to_string(), body.display().to_string());
    let mut role = Role::start_on(SERVER_CORE, &["bare-axum", &head, &body])?;
    let address = role.line()?.parse()?;
    wait_same(address, target, answer)?;
    Ok((role, address))
}

/// The role of axum with nothing behind it: every path answers with this head and body. Prints its address.
pub(super) fn serve_bare(head: &str, body: &str) -> anyhow::Result<()> {
    let mut headers = HeaderMap::new();
    for line in std::fs::read_to_string(head)?.lines() {
        let (name, value) = line.split_once(':').context("NAME:VALUE")?;
        headers.insert(name.parse::<HeaderName>()?, value.parse::<HeaderValue>()?);
    }
    let body = Bytes::from(std::fs::read(body)?);
    let answer = move || std::future::ready((headers.clone(), body.clone()));
    let router: Router = Router::new().route("/plugins/{id}/{metric}", get(answer));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        let listener = listener.tap_io(|stream| {
            // Without it, it is slower, and nothing else.
            let _ = stream.set_nodelay(true);
        });
        tokio::spawn(async { axum::serve(listener, router).await });
        tokio::task::spawn_blocking(|| std::io::stdin().read(&mut [0])).await??;
        Ok(())
    })
}

/// Waits until the server gives that answer.
fn wait_same(address: SocketAddr, target: &str, answer: &Answer) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match Client::connect(address).and_then(|mut client| client.get(target)) {
            Ok(same) if same.body == answer.body => return Ok(()),
            Ok(other) => bail!("another answer: {}", String::from_utf8_lossy(&other.body)),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}
