//! A network that can be cut, silenced and slowed down.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// Passes connections on to a port of this machine.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    line: Arc<Line>,
}

#[derive(Default)]
struct Line {
    /// Bytes a second; 0 is as fast as it goes.
    pace: AtomicU64,
    /// Takes everything and passes nothing on, as a cable does that was pulled.
    silent: AtomicBool,
    /// Refuses new connections.
    closed: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
    /// Pieces passed on so far.
    passed: AtomicU64,
}

impl Proxy {
    pub(crate) fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let proxy = Self { port: listener.local_addr().expect("it is bound").port(), line: Arc::default() };
        let line = proxy.line.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if line.closed.load(Ordering::SeqCst) {
                    continue; // dropped at once
                }
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (from, to) = (from.try_clone().expect("a socket"), to.try_clone().expect("a socket"));
                    line.open.lock().expect("no test panics while it holds it").push(to.try_clone().expect("a socket"));
                    let line = line.clone();
                    thread::spawn(move || line.pump(from, to));
                }
            }
        });
        proxy
    }

    /// Waits until nothing is on its way: for a quarter of a second nobody said anything.
    pub(crate) fn settle(&self) {
        let passed = || self.line.passed.load(Ordering::SeqCst);
        let mut before = None;
        while before != Some(passed()) {
            before = Some(passed());
            thread::sleep(Duration::from_millis(250));
        }
    }

    /// Ends every connection, and refuses new ones.
    pub(crate) fn cut(&self) {
        self.line.closed.store(true, Ordering::SeqCst);
        for stream in self.line.open.lock().expect("no test panics while it holds it").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Stops passing anything on, without telling either side.
    pub(crate) fn silence(&self) {
        self.line.silent.store(true, Ordering::SeqCst);
    }

    /// Passes new connections again.
    pub(crate) fn mend(&self) {
        self.line.silent.store(false, Ordering::SeqCst);
        self.line.closed.store(false, Ordering::SeqCst);
    }

    /// Lets this many bytes a second through, each way.
    pub(crate) fn slow_down(&self, bytes_a_second: u64) {
        self.line.pace.store(bytes_a_second, Ordering::SeqCst);
    }
}

impl Line {
    fn pump(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut piece = [0; 4_096];
        while let Ok(n @ 1..) = from.read(&mut piece) {
            if self.silent.load(Ordering::SeqCst) {
                continue;
            }
            let pace = self.pace.load(Ordering::SeqCst);
            if 0 < pace {
                thread::sleep(Duration::from_secs_f64(n as f64 / pace as f64));
            }
            self.passed.fetch_add(1, Ordering::SeqCst);
            if to.write_all(&piece[..n]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    }
}
