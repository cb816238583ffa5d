//! The C functions by which SQLite uses a disk.
//!
//! What makes the unsafe code sound: SQLite gives `Handle::BYTES` of memory for each open file, which hold a [`Handle`]
//! from `open` to `close` and nothing after; it calls for one file from one thread at a time; and it gives buffers of
//! the length it says. A panic would cross into C, so nothing here panics on SQLite's input.

use crate::{Call, Fault, Inner, file, file::Region, find, lock};
use libsqlite3_sys as ffi;
use std::{
    ffi::{CStr, c_char, c_int, c_void},
    ptr,
    sync::{
        Arc, Mutex, Once,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

/// The name in a database's URL.
pub(crate) const NAME: &str = "failing-disk";
const C_NAME: &CStr = c"failing-disk";
const PATH_MAX: c_int = 512;
/// The lock in shared memory that a writer of a write-ahead log takes.
const WRITE_LOCK: c_int = 0;
/// Milliseconds from SQLite's day zero to 1970.
const DAY_ZERO_MS: i64 = 210_866_760_000_000;

/// An open file, in memory that SQLite gives.
#[repr(C)]
struct Handle {
    base: ffi::sqlite3_file,
    open: *mut Open,
}

struct Open {
    number: u64,
    disk: Arc<Inner>,
    file: Arc<Mutex<file::File>>,
    level: c_int,
    removed_on_close: Option<String>,
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(take_lock),
    xUnlock: Some(release_lock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

/// Makes the disk known to SQLite, once in a process.
pub(crate) fn register() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let vfs = Box::leak(Box::new(ffi::sqlite3_vfs {
            iVersion: 1,
            szOsFile: size_of::<Handle>() as c_int,
            mxPathname: PATH_MAX,
            pNext: ptr::null_mut(),
            zName: C_NAME.as_ptr(),
            pAppData: ptr::null_mut(),
            xOpen: Some(open),
            xDelete: Some(delete),
            xAccess: Some(access),
            xFullPathname: Some(full_pathname),
            xDlOpen: None,
            xDlError: None,
            xDlSym: None,
            xDlClose: None,
            xRandomness: Some(randomness),
            xSleep: Some(sleep),
            xCurrentTime: Some(current_time),
            xGetLastError: None,
            xCurrentTimeInt64: None,
            xSetSystemCall: None,
            xGetSystemCall: None,
            xNextSystemCall: None,
        }));
        // SAFETY: the structure is leaked, so that it outlives every connection; 0 leaves the default VFS as it is.
        let result = unsafe { ffi::sqlite3_vfs_register(vfs, 0) };
        assert_eq!(result, ffi::SQLITE_OK, "SQLite takes the disk");
    });
}

/// SAFETY: `name` must be null or a C text.
unsafe fn text<'a>(name: *const c_char) -> Option<&'a str> {
    if name.is_null() {
        return None;
    }
    // SAFETY: by the caller.
    unsafe { CStr::from_ptr(name) }.to_str().ok()
}

/// SAFETY: `handle` must be what [`open`] filled.
unsafe fn opened<'a>(handle: *mut ffi::sqlite3_file) -> &'a mut Open {
    // SAFETY: `open` put a valid pointer there, and only `close` frees it.
    unsafe { &mut *(*handle.cast::<Handle>()).open }
}

unsafe extern "C" fn open(
    _: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    handle: *mut ffi::sqlite3_file,
    flags: c_int,
    flags_out: *mut c_int,
) -> c_int {
    static NUMBERS: AtomicU64 = AtomicU64::new(1);
    // SAFETY: SQLite gives memory of `szOsFile` bytes; without methods it is not closed if this fails.
    unsafe { (*handle).pMethods = ptr::null() };
    // SAFETY: SQLite gives a C text or null.
    let found = match unsafe { text(name) } {
        Some(name) => find(name),
        None => Some((Arc::default(), "temporary".into())),
    };
    let Some((disk, name)) = found else { return ffi::SQLITE_CANTOPEN };
    let file = {
        let mut files = lock(&disk.files);
        match files.get(&name) {
            Some(file) => file.clone(),
            None if flags & ffi::SQLITE_OPEN_CREATE == 0 => return ffi::SQLITE_CANTOPEN,
            None => files.entry(name.clone()).or_default().clone(),
        }
    };
    let removed_on_close = (flags & ffi::SQLITE_OPEN_DELETEONCLOSE != 0).then_some(name);
    let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
    let open = Box::new(Open { number, disk, file, level: 0, removed_on_close });
    // SAFETY: as above; the pointers are to a static and to a box that `close` takes back.
    unsafe {
        *handle.cast::<Handle>() = Handle { base: ffi::sqlite3_file { pMethods: &METHODS }, open: Box::into_raw(open) };
        if !flags_out.is_null() {
            *flags_out = flags;
        }
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn close(handle: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: SQLite closes a file once, and does not use it after.
    let open = unsafe { Box::from_raw((*handle.cast::<Handle>()).open) };
    {
        let mut file = lock(&open.file);
        file.unlock(open.number, 0);
        file.shared_memory.left_by(open.number);
    }
    if let Some(name) = &open.removed_on_close {
        lock(&open.disk.files).remove(name);
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn read(handle: *mut ffi::sqlite3_file, buffer: *mut c_void, length: c_int, offset: i64) -> c_int {
    // SAFETY: SQLite's file, and a buffer of its length.
    let (open, buffer) = unsafe { (opened(handle), std::slice::from_raw_parts_mut(buffer.cast::<u8>(), size(length))) };
    if open.disk.meets(Call::Read).is_some() {
        return ffi::SQLITE_IOERR_READ;
    }
    let read = lock(&open.file).read(place(offset), buffer);
    if read == buffer.len() { ffi::SQLITE_OK } else { ffi::SQLITE_IOERR_SHORT_READ }
}

unsafe extern "C" fn write(handle: *mut ffi::sqlite3_file, bytes: *const c_void, length: c_int, offset: i64) -> c_int {
    // SAFETY: SQLite's file, and bytes of their length.
    let (open, bytes) = unsafe { (opened(handle), std::slice::from_raw_parts(bytes.cast::<u8>(), size(length))) };
    match open.disk.meets(Call::Write) {
        Some(Fault::Full) => return ffi::SQLITE_FULL,
        Some(_) => {
            lock(&open.file).write(place(offset), &bytes[..bytes.len() / 2]);
            return ffi::SQLITE_IOERR_WRITE;
        }
        None => {}
    }
    lock(&open.file).write(place(offset), bytes);
    ffi::SQLITE_OK
}

unsafe extern "C" fn truncate(handle: *mut ffi::sqlite3_file, length: i64) -> c_int {
    // SAFETY: SQLite's file.
    let open = unsafe { opened(handle) };
    lock(&open.file).truncate(place(length));
    ffi::SQLITE_OK
}

unsafe extern "C" fn sync(handle: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    // SAFETY: SQLite's file.
    let open = unsafe { opened(handle) };
    if open.disk.meets(Call::Sync).is_some() {
        return ffi::SQLITE_IOERR_FSYNC;
    }
    lock(&open.file).sync();
    ffi::SQLITE_OK
}

unsafe extern "C" fn file_size(handle: *mut ffi::sqlite3_file, length: *mut i64) -> c_int {
    // SAFETY: SQLite's file, and a place for the answer.
    unsafe { *length = i64::try_from(lock(&opened(handle).file).len()).unwrap_or(i64::MAX) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn take_lock(handle: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: SQLite's file.
    let open = unsafe { opened(handle) };
    if level <= open.level {
        return ffi::SQLITE_OK;
    }
    if !lock(&open.file).lock(open.number, level) {
        return ffi::SQLITE_BUSY;
    }
    open.level = level;
    ffi::SQLITE_OK
}

unsafe extern "C" fn release_lock(handle: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: SQLite's file.
    let open = unsafe { opened(handle) };
    if level < open.level || level < file::SHARED {
        lock(&open.file).unlock(open.number, level);
        open.level = level;
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn check_reserved_lock(handle: *mut ffi::sqlite3_file, answer: *mut c_int) -> c_int {
    // SAFETY: SQLite's file, and a place for the answer.
    unsafe { *answer = c_int::from(lock(&opened(handle).file).is_reserved()) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn file_control(_: *mut ffi::sqlite3_file, _: c_int, _: *mut c_void) -> c_int {
    ffi::SQLITE_NOTFOUND
}

unsafe extern "C" fn sector_size(_: *mut ffi::sqlite3_file) -> c_int {
    4096
}

unsafe extern "C" fn device_characteristics(_: *mut ffi::sqlite3_file) -> c_int {
    ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE
}

unsafe extern "C" fn shm_map(
    handle: *mut ffi::sqlite3_file,
    region: c_int,
    length: c_int,
    extend: c_int,
    memory: *mut *mut c_void,
) -> c_int {
    // SAFETY: SQLite's file.
    let open = unsafe { opened(handle) };
    let mut file = lock(&open.file);
    let shared = &mut file.shared_memory;
    shared.joined_by(open.number);
    let wanted = size(region) + 1;
    while extend != 0 && shared.regions.len() < wanted {
        shared.regions.push(Region((0..size(length)).map(|_| AtomicU8::new(0)).collect()));
    }
    let found = shared.regions.get(size(region)).map_or(ptr::null_mut(), |region| region.0.as_ptr().cast_mut().cast());
    // SAFETY: a place for the answer; the region stays where it is until its last user unmaps it.
    unsafe { *memory = found };
    ffi::SQLITE_OK
}

unsafe extern "C" fn shm_lock(handle: *mut ffi::sqlite3_file, offset: c_int, count: c_int, flags: c_int) -> c_int {
    // SAFETY: SQLite's file.
    let open = unsafe { opened(handle) };
    let slots = size(offset)..size(offset) + size(count);
    if flags & ffi::SQLITE_SHM_UNLOCK != 0 {
        lock(&open.file).shared_memory.unlock(open.number, slots);
        return ffi::SQLITE_OK;
    }
    let is_exclusive = flags & ffi::SQLITE_SHM_EXCLUSIVE != 0;
    if is_exclusive && offset == WRITE_LOCK && count == 1 && open.disk.meets(Call::WriteLock).is_some() {
        return ffi::SQLITE_BUSY;
    }
    let taken = lock(&open.file).shared_memory.lock(open.number, slots, is_exclusive);
    if taken { ffi::SQLITE_OK } else { ffi::SQLITE_BUSY }
}

unsafe extern "C" fn shm_barrier(_: *mut ffi::sqlite3_file) {
    std::sync::atomic::fence(Ordering::SeqCst);
}

unsafe extern "C" fn shm_unmap(handle: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    // SAFETY: SQLite's file.
    let open = unsafe { opened(handle) };
    lock(&open.file).shared_memory.left_by(open.number);
    ffi::SQLITE_OK
}

unsafe extern "C" fn delete(_: *mut ffi::sqlite3_vfs, name: *const c_char, _: c_int) -> c_int {
    // SAFETY: SQLite gives a C text.
    let Some((disk, name)) = unsafe { text(name) }.and_then(find) else { return ffi::SQLITE_IOERR_DELETE };
    match lock(&disk.files).remove(&name) {
        Some(_) => ffi::SQLITE_OK,
        None => ffi::SQLITE_IOERR_DELETE_NOENT,
    }
}

unsafe extern "C" fn access(_: *mut ffi::sqlite3_vfs, name: *const c_char, _: c_int, answer: *mut c_int) -> c_int {
    // SAFETY: SQLite gives a C text, and a place for the answer.
    unsafe {
        let found = text(name).and_then(find).is_some_and(|(disk, name)| lock(&disk.files).contains_key(&name));
        *answer = c_int::from(found);
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn full_pathname(
    _: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    length: c_int,
    answer: *mut c_char,
) -> c_int {
    // SAFETY: SQLite gives a C text, and `length` bytes for the answer.
    unsafe {
        let bytes = CStr::from_ptr(name).to_bytes_with_nul();
        if bytes.len() > size(length) {
            return ffi::SQLITE_CANTOPEN;
        }
        ptr::copy_nonoverlapping(bytes.as_ptr(), answer.cast(), bytes.len());
    }
    ffi::SQLITE_OK
}

/// Names and salts: they must differ, and nothing else.
unsafe extern "C" fn randomness(_: *mut ffi::sqlite3_vfs, length: c_int, bytes: *mut c_char) -> c_int {
    static STATE: AtomicU64 = AtomicU64::new(1);
    // SAFETY: SQLite gives so many bytes.
    let bytes = unsafe { std::slice::from_raw_parts_mut(bytes.cast::<u8>(), size(length)) };
    for chunk in bytes.chunks_mut(8) {
        let mut word = STATE.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word ^= word >> 27;
        chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
    }
    length
}

/// Called while SQLite waits for a lock. It only yields: the lock is either held for the whole fault or released by
/// another thread soon.
unsafe extern "C" fn sleep(_: *mut ffi::sqlite3_vfs, microseconds: c_int) -> c_int {
    std::thread::yield_now();
    microseconds
}

unsafe extern "C" fn current_time(_: *mut ffi::sqlite3_vfs, days: *mut f64) -> c_int {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now_ms = DAY_ZERO_MS + i64::try_from(since.as_millis()).unwrap_or(0);
    // SAFETY: a place for the answer.
    unsafe { *days = now_ms as f64 / 86_400_000.0 };
    ffi::SQLITE_OK
}

fn size(value: c_int) -> usize {
    usize::try_from(value).unwrap_or(0)
}

fn place(offset: i64) -> usize {
    usize::try_from(offset).unwrap_or(0)
}
