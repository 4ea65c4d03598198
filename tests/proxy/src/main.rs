//! `segno-proxy tcp|http UPSTREAM`: a proxy with faults, controlled by lines of text on a second port.
//!
//! Owns: the command line. Prints the two addresses, then runs until it is ended.

use clap::{Parser, ValueEnum};
use segno_proxy::control::{Controlled, HTTP_COMMANDS, TCP_COMMANDS, serve};
use segno_proxy::http::HttpProxy;
use segno_proxy::tcp::TcpProxy;
use std::io;
use std::net::{SocketAddr, TcpListener};

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Tcp,
    Http,
}

#[derive(Parser)]
#[command(about = "A proxy that makes faults on purpose", after_help = format!("TCP:  {TCP_COMMANDS}\nHTTP: {HTTP_COMMANDS}"))]
struct Arguments {
    kind: Kind,
    /// host:port of the server
    upstream: String,
    /// Where clients connect
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Where commands are given, one on a line (for example with nc)
    #[arg(long, default_value = "127.0.0.1:0")]
    control: SocketAddr,
}

fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    let control = TcpListener::bind(arguments.control)?;
    let (address, proxy): (SocketAddr, Box<dyn Controlled>) = match arguments.kind {
        Kind::Tcp => {
            let proxy = TcpProxy::start_at(arguments.listen, &arguments.upstream)?;
            (proxy.address(), Box::new(proxy))
        }
        Kind::Http => {
            let proxy = HttpProxy::start_at(arguments.listen, &arguments.upstream)?;
            (proxy.address(), Box::new(proxy))
        }
    };
    println!("listen {address}\ncontrol {}", control.local_addr()?);
    serve(&control, &*proxy)
}
