use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, OnceLock};

type Order = (Command, Sender<std::io::Result<Child>>);

/// Starts `command` from the one thread of this process that never ends.
pub fn spawn(command: Command) -> std::io::Result<Child> {
    let (reply, answer) = channel();
    let gone = |_| std::io::Error::other("the spawner thread is gone");
    {
        let orders = orders()?.lock().map_err(|_| std::io::Error::other("the spawner's lock is poisoned"))?;
        orders.send((command, reply)).map_err(|_| gone(()))?;
    }
    answer.recv().map_err(|_| gone(()))?
}

fn orders() -> std::io::Result<&'static Mutex<Sender<Order>>> {
    static ORDERS: OnceLock<Option<Mutex<Sender<Order>>>> = OnceLock::new();
    ORDERS
        .get_or_init(|| {
            let (orders, inbox) = channel();
            let thread = std::thread::Builder::new().name("regtest-spawner".to_owned());
            thread.spawn(move || serve(&inbox)).ok().map(|_| Mutex::new(orders))
        })
        .as_ref()
        .ok_or_else(|| std::io::Error::other("could not start the spawner thread"))
}

fn serve(inbox: &Receiver<Order>) {
    while let Ok((mut command, reply)) = inbox.recv() {
        if let Err(unclaimed) = reply.send(command.spawn()) {
            // Nobody waits for this child any more.
            if let Ok(mut child) = unclaimed.0 {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}
