//! The console over a line: provisioning, refusals, nonsense, and what another identity finds.
#![allow(missing_docs, clippy::unwrap_used)]

use embedded_io_adapters::tokio_1::FromTokio;
use embedded_storage_async::nor_flash::{ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash};
use module_firmware::{
    Identity, Module,
    console::{self, ConsoleMailbox, Ended},
    link::Input,
    provision::{Provision, adopt},
    store::{Key, Store},
};
// Brings the time driver.
use module_host as _;
use protocol::{
    ModuleId, ModuleSecret,
    console::{Deframer, FRAME_MAX_BYTES, Info, Refusal, Reply, Request, Server, frame, parse},
    messages::Settings,
};
use std::{cell::RefCell, rc::Rc};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

const PAGE: usize = 2048;

/// Two pages or more in memory, shared so that they outlive what holds them.
#[derive(Clone)]
struct Memory(Rc<RefCell<Vec<u8>>>);

impl Memory {
    fn new(pages: usize) -> Self {
        Self(Rc::new(RefCell::new(vec![0xFF; pages * PAGE])))
    }
}

impl ErrorType for Memory {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for Memory {
    const READ_SIZE: usize = 1;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        let offset = offset as usize;
        bytes.copy_from_slice(&self.0.borrow()[offset..offset + bytes.len()]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.0.borrow().len()
    }
}

impl NorFlash for Memory {
    const WRITE_SIZE: usize = 8;
    const ERASE_SIZE: usize = PAGE;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        self.0.borrow_mut()[from as usize..to as usize].fill(0xFF);
        Ok(())
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        let mut memory = self.0.borrow_mut();
        memory[offset as usize..].iter_mut().zip(bytes).for_each(|(to, from)| *to &= from);
        Ok(())
    }
}

fn identity(id: &str, secret: u8) -> Identity {
    Identity { id: ModuleId::parse(id).unwrap(), secret: ModuleSecret::new([secret; 32]) }
}

fn settings() -> Settings {
    Settings { version: 4, credit_pulses_max: 7, ..Settings::default() }
}

/// A module's flash over boots.
struct Board {
    provision: Memory,
    store: Memory,
}

/// What a person at the tool's end sees.
struct Tool {
    line: DuplexStream,
    deframer: Deframer<FRAME_MAX_BYTES>,
    number: u32,
}

impl Tool {
    async fn ask<T>(&mut self, request: &Request<'_>, read: impl Fn(Reply<'_>) -> T) -> T {
        self.number += 1;
        self.line.write_all(&frame(self.number, request).unwrap()).await.unwrap();
        loop {
            let byte = self.line.read_u8().await.unwrap();
            let Some(body) = self.deframer.push(byte) else { continue };
            let (number, reply) = parse::<Reply<'_>>(body.unwrap()).unwrap();
            assert_eq!(number, self.number);
            return read(reply.unwrap());
        }
    }

    async fn done(&mut self, request: &Request<'_>) {
        self.ask(request, |reply| assert_eq!(reply, Reply::Done)).await;
    }

    async fn refused(&mut self, request: &Request<'_>, refusal: Refusal) {
        self.ask(request, |reply| assert_eq!(reply, Reply::Refused(refusal))).await;
    }

    async fn info<T>(&mut self, read: impl Fn(Info<'_>) -> T) -> T {
        let read = |reply: Reply<'_>| {
            let Reply::Info(info) = reply else { panic!("{reply:?}") };
            read(info)
        };
        self.ask(&Request::Info, read).await
    }
}

impl Board {
    fn new() -> Self {
        Self { provision: Memory::new(2), store: Memory::new(4) }
    }

    /// A boot, as a board does it, with somebody at the console until the boot or the visit ends.
    async fn boot<V: Future<Output = ()>>(&self, visit: impl FnOnce(Tool) -> V) -> Option<Ended> {
        let mut provision = Provision::new(self.provision.clone()).unwrap();
        let known = provision.identity().await.unwrap();
        let id = known.as_ref().map(|identity| identity.id);
        let identity = known.unwrap_or_else(|| identity("0000000000", 0));
        let mut store = Store::new(self.store.clone()).unwrap();
        adopt(&mut store, identity.id).await;
        let mut module = Module::boot(&mut store, &identity, true, 0).await;
        let (mailbox, (near, far)) = (ConsoleMailbox::new(), duplex(64));
        let mut port = FromTokio::new(near);
        let tool = Tool { line: far, deframer: Deframer::default(), number: 0 };
        let core = async {
            loop {
                mailbox.asked().await;
                while let Some(input) = mailbox.take_input() {
                    match input {
                        Input::Settings(settings) => module.take_settings(settings),
                        Input::Tell => mailbox.tell(&module.info(1_000)),
                        Input::Edge { .. } | Input::Sense { .. } | Input::Button { .. } | Input::Health(_) => {}
                    }
                    while module.poll(1_000) <= 1_000 || module.write_next(&mut store, 1_000).await {}
                }
            }
        };
        tokio::select! {
            ended = console::run(&mut port, &mut provision, id, &mailbox) => Some(ended.unwrap()),
            () = visit(tool) => None,
            () = core => None,
        }
    }
}

async fn stay(mut tool: Tool) {
    // Until the module is gone.
    let _ = tool.line.read_to_end(&mut vec![]).await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_module_gets_its_identity_server_and_settings() {
    let board = Board::new();
    let me = identity("7K2M9QXW4D", 9);
    let set = Request::SetIdentity { id: me.id, secret: me.secret.clone(), replace: false };
    let server = Server { host: "broker.example", port: 1883, apn: "internet", user: "u", password: "p" };
    let ended = board.boot(|mut tool| {
        let set = set.clone();
        async move {
            tool.info(|info| assert_eq!((info.id, info.server, info.boot), (None, None, 1))).await;
            tool.refused(&Request::SetSettings(settings()), Refusal::NoIdentity).await;
            tool.done(&set).await;
            tool.done(&set).await;
            tool.done(&Request::SetServer(server)).await;
            tool.refused(&Request::SetServer(Server { host: "a\"b", ..server }), Refusal::Invalid).await;
            tool.done(&Request::Reboot).await;
            stay(tool).await;
        }
    });
    assert_eq!(ended.await, Some(Ended::Restart));
    let visit = |mut tool: Tool| async move {
        tool.done(&Request::SetSettings(settings())).await;
        tool.refused(&Request::SetSettings(Settings { version: 0, ..settings() }), Refusal::Invalid).await;
        tool.info(|info| {
            assert_eq!(info.id, ModuleId::parse("7K2M9QXW4D").ok());
            // The access point's password is not told.
            assert_eq!(info.server, Some(Server { password: "", ..server }));
            assert_eq!(info.settings, settings());
        })
        .await;
    };
    assert_eq!(board.boot(visit).await, None);
    let kept = |mut tool: Tool| async move { tool.info(|info| assert_eq!(info.settings, settings())).await };
    assert_eq!(board.boot(kept).await, None);
    let stored = Provision::new(board.provision.clone()).unwrap().server().await.unwrap().unwrap();
    assert_eq!((stored.user.as_str(), stored.password.as_str()), ("u", "p"));
}

#[tokio::test(flavor = "current_thread")]
async fn another_identity_needs_force_and_finds_nothing() {
    let board = Board::new();
    let (me, other) = (identity("7K2M9QXW4D", 9), identity("7K2M9QXW4D", 10));
    Provision::new(board.provision.clone()).unwrap().set_identity(&me).await.unwrap();
    let take = |replace| Request::SetIdentity { id: other.id, secret: other.secret.clone(), replace };
    let (refused, forced) = (take(false), take(true));
    let visit = |mut tool: Tool| async move {
        tool.done(&Request::SetSettings(settings())).await;
        tool.refused(&refused, Refusal::OtherIdentity).await;
        tool.done(&forced).await;
    };
    assert_eq!(board.boot(visit).await, None);
    // Of the same id: what it remembers is its own still.
    let same =
        |mut tool: Tool| async move { tool.info(|info| assert_eq!((info.boot, info.settings.version), (2, 4))).await };
    assert_eq!(board.boot(same).await, None);
    Provision::new(board.provision.clone()).unwrap().set_identity(&identity("0123456789", 1)).await.unwrap();
    let another =
        |mut tool: Tool| async move { tool.info(|info| assert_eq!((info.boot, info.settings.version), (1, 0))).await };
    assert_eq!(board.boot(another).await, None);
}

#[tokio::test(flavor = "current_thread")]
async fn erasing_leaves_nothing() {
    let board = Board::new();
    Provision::new(board.provision.clone()).unwrap().set_identity(&identity("7K2M9QXW4D", 9)).await.unwrap();
    let ended = board.boot(|mut tool| async move {
        tool.done(&Request::SetSettings(settings())).await;
        tool.done(&Request::Erase).await;
        stay(tool).await;
    });
    assert_eq!(ended.await, Some(Ended::Restart));
    let nothing = |mut tool: Tool| async move {
        tool.info(|info| assert_eq!((info.id, info.settings.version, info.boot), (None, 0, 1))).await;
    };
    assert_eq!(board.boot(nothing).await, None);
}

#[tokio::test(flavor = "current_thread")]
async fn nonsense_is_counted_and_harms_nothing() {
    let board = Board::new();
    let visit = |mut tool: Tool| async move {
        tool.line.write_all(b"help\r\n\0\0\xff\xff\0").await.unwrap();
        tool.line.write_all(&vec![b'x'; 5_000]).await.unwrap();
        tool.line.write_all(&[0]).await.unwrap();
        tool.info(|info| assert_eq!(info.hardware.bad_frames, 3)).await;
    };
    assert_eq!(board.boot(visit).await, None);
}

#[tokio::test(flavor = "current_thread")]
async fn damaged_memory_is_erased_once_and_nothing_of_it_is_in_force() {
    let me = identity("7K2M9QXW4D", 9);
    let mut store = Store::new(Memory::new(4)).unwrap();
    adopt(&mut store, me.id).await;
    // Locked, and behind that what no firmware of ours has written: too long.
    store.write(Key::Lock, &[7, 0, 0, 0, 1]).await.unwrap();
    store.write(Key::Credit(31), &[0; 150]).await.unwrap();
    let module = Module::boot(&mut store, &me, true, 0).await;
    assert_eq!((module.boots(), module.is_locked(), module.faults()), (1, false, 0));
    adopt(&mut store, me.id).await;
    let module = Module::boot(&mut store, &me, true, 0).await;
    assert_eq!(module.boots(), 2, "it was erased again");
}

#[tokio::test(flavor = "current_thread")]
async fn memory_without_an_owner_is_erased_once() {
    let id = ModuleId::parse("7K2M9QXW4D").unwrap();
    let mut store = Store::new(Memory::new(4)).unwrap();
    store.write(Key::Boot, &9_u32.to_le_bytes()).await.unwrap();
    adopt(&mut store, id).await;
    let mut value = [0; module_firmware::store::VALUE_MAX_BYTES];
    assert_eq!(store.read(Key::Boot, &mut value).await, Ok(None));
    store.write(Key::Boot, &1_u32.to_le_bytes()).await.unwrap();
    adopt(&mut store, id).await;
    assert_eq!(store.read(Key::Boot, &mut value).await, Ok(Some(4)));
}
