//! Counts what a program executes under qemu-user: instructions, loads and stores between marks.
//!
//! A mark is a harmless system call with a number that nobody else uses: `getpriority` of the
//! process [`MARK`]` + value`. At each mark the counters so far are kept, and when the program ends
//! they are written to the file named by the argument `out`, one line a mark:
//! `value instructions loads stores`. The counts are exact, and do not depend on the machine or
//! its load: what differs between two runs is what the program itself does differently.
//!
//! The plugin speaks version 1 of qemu's plugin interface, that of qemu 7.2; the functions it
//! declares are those of `qemu-plugin.h`, written down anew because Debian ships no such file.

// The interface is one of C: every call into qemu is unsafe, and so are symbols without a mangled name.
#![expect(unsafe_code, reason = "the emulator's interface is one of C")]

use std::{
    ffi::{CStr, c_char, c_int, c_uint, c_void},
    fs::File,
    io::Write,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// The process that marks pretend to ask about, less the mark's value; see `runtime::count`.
const MARK: u64 = 0x5eed_0000;

/// Values of marks.
const MARKS: u64 = 0x1_0000;

/// Version of the interface; qemu reads it before anything else.
#[unsafe(no_mangle)]
pub static qemu_plugin_version: c_int = 1;

/// Called once by qemu; anything but 0 ends the emulation.
///
/// # Safety
/// qemu passes what its interface promises: `info` is valid, and `argv` holds `argc` C strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qemu_plugin_install(
    id: u64,
    info: *const Info,
    argc: c_int,
    argv: *const *const c_char,
) -> c_int {
    // SAFETY: the promise above.
    let (guest, args) = unsafe {
        let args: Vec<String> = (0..argc.max(0) as usize).map(|idx| text(*argv.add(idx))).collect();
        (text((*info).target_name), args)
    };
    let Some(getpriority) = getpriority(&guest) else {
        return refuse(&format!("no marks are known for programs of {guest}"));
    };
    let Some(path) = args.iter().find_map(|arg| arg.strip_prefix("out=")) else {
        return refuse("the argument out=FILE is missing");
    };
    let file = match File::create(path) {
        Ok(file) => file,
        Err(error) => return refuse(&format!("cannot write {path}: {error}")),
    };
    let Ok(mut state) = STATE.lock() else { return refuse("it was installed twice") };
    *state = Some(State { file, getpriority, decodes: guest == "aarch64", marks: Vec::new() });
    // SAFETY: these are qemu's own functions, and the callbacks live as long as the program.
    unsafe {
        qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
        qemu_plugin_register_vcpu_syscall_cb(id, on_system_call);
        qemu_plugin_register_atexit_cb(id, on_exit, std::ptr::null_mut());
    }
    0
}

/// Number of the system call `getpriority`, by architecture.
fn getpriority(guest: &str) -> Option<i64> {
    match guest {
        "aarch64" => Some(141),
        "arm" => Some(96),
        "x86_64" => Some(140),
        _ => None,
    }
}

struct State {
    file: File,
    getpriority: i64,
    /// Whether loads and stores can be told apart: instructions of AArch64 alone.
    decodes: bool,
    marks: Vec<[u64; 4]>,
}

static STATE: Mutex<Option<State>> = Mutex::new(None);
static INSTRUCTIONS: AtomicU64 = AtomicU64::new(0);
static LOADS: AtomicU64 = AtomicU64::new(0);
static STORES: AtomicU64 = AtomicU64::new(0);

/// Called for each new block of instructions: adds what the block holds whenever it will be executed.
extern "C" fn on_translation(_id: u64, block: *mut c_void) {
    let decodes = STATE.lock().is_ok_and(|state| state.as_ref().is_some_and(|state| state.decodes));
    // SAFETY: qemu's own functions on the block that qemu passes; an instruction of AArch64 has 4 bytes.
    // The counters live as long as the program, and only its one thread executes.
    unsafe {
        let n = qemu_plugin_tb_n_insns(block);
        let (mut loads, mut stores) = (0, 0);
        for idx in (0..n).filter(|_| decodes) {
            let data = qemu_plugin_insn_data(qemu_plugin_tb_get_insn(block, idx)).cast::<u32>();
            match access(data.read_unaligned()) {
                Some(Access::Load) => loads += 1,
                Some(Access::Store) => stores += 1,
                None => {}
            }
        }
        for (counter, amount) in [(&INSTRUCTIONS, n as u64), (&LOADS, loads), (&STORES, stores)] {
            if 0 < amount {
                qemu_plugin_register_vcpu_tb_exec_inline(block, ADD_U64, counter.as_ptr().cast(), amount);
            }
        }
    }
}

enum Access {
    Load,
    Store,
}

/// What an instruction of AArch64 does with memory: bits 27 and 25 are `1` and `0` for loads and
/// stores, and bit 22 tells them apart (Arm Architecture Reference Manual, C4.1).
fn access(instruction: u32) -> Option<Access> {
    let is_access = instruction >> 25 & 0b101 == 0b100;
    is_access.then_some(if instruction >> 22 & 1 == 1 { Access::Load } else { Access::Store })
}

extern "C" fn on_system_call(
    _id: u64,
    _vcpu: c_uint,
    number: i64,
    _which: u64,
    who: u64,
    _a3: u64,
    _a4: u64,
    _a5: u64,
    _a6: u64,
    _a7: u64,
    _a8: u64,
) {
    let Ok(mut state) = STATE.lock() else { return };
    let Some(state) = state.as_mut() else { return };
    let value = (who & u64::from(u32::MAX)).wrapping_sub(MARK);
    if number == state.getpriority && value < MARKS {
        state.marks.push([value, INSTRUCTIONS.load(Relaxed), LOADS.load(Relaxed), STORES.load(Relaxed)]);
    }
}

extern "C" fn on_exit(_id: u64, _data: *mut c_void) {
    let Ok(mut state) = STATE.lock() else { return };
    let Some(state) = state.as_mut() else { return };
    let mut text = String::new();
    for [value, instructions, loads, stores] in &state.marks {
        text.push_str(&format!("{value} {instructions} {loads} {stores}\n"));
    }
    // Written in one piece: whoever reads an incomplete file finds marks missing.
    if let Err(error) = state.file.write_all(text.as_bytes()) {
        refuse(&format!("cannot write the counts: {error}"));
    }
}

/// Words on stderr, and the status that makes qemu give up.
fn refuse(why: &str) -> c_int {
    let _ = writeln!(std::io::stderr(), "instruction counter: {why}");
    -1
}

/// # Safety
/// `it` is a C string.
unsafe fn text(it: *const c_char) -> String {
    // SAFETY: the promise above.
    unsafe { CStr::from_ptr(it) }.to_string_lossy().into_owned()
}

/// What qemu tells of itself; more follows that is not read here.
#[repr(C)]
pub struct Info {
    /// The emulated architecture.
    target_name: *const c_char,
}

/// Adds to a 64-bit number each time a block is executed.
const ADD_U64: c_int = 0;

type OnTranslation = extern "C" fn(u64, *mut c_void);
type OnExit = extern "C" fn(u64, *mut c_void);
type OnSystemCall = extern "C" fn(u64, c_uint, i64, u64, u64, u64, u64, u64, u64, u64, u64);

unsafe extern "C" {
    fn qemu_plugin_register_vcpu_tb_trans_cb(id: u64, callback: OnTranslation);
    fn qemu_plugin_register_vcpu_syscall_cb(id: u64, callback: OnSystemCall);
    fn qemu_plugin_register_atexit_cb(id: u64, callback: OnExit, data: *mut c_void);
    fn qemu_plugin_register_vcpu_tb_exec_inline(block: *mut c_void, op: c_int, counter: *mut c_void, amount: u64);
    fn qemu_plugin_tb_n_insns(block: *const c_void) -> usize;
    fn qemu_plugin_tb_get_insn(block: *const c_void, idx: usize) -> *mut c_void;
    fn qemu_plugin_insn_data(instruction: *const c_void) -> *const c_void;
}
