//! What ggml says while it works.
//!
//! It prints a line for each tensor that it converts to another layout, with the name of the kernel
//! that will read it. This is the only place where it names that kernel, so the line is kept; other
//! lines below a warning are dropped.

use std::{
    cell::RefCell,
    ffi::{CStr, c_char, c_void},
    ptr,
    sync::Once,
};

use llama_cpp_sys_2 as ffi;

thread_local! {
    static LAYOUT: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Makes ggml call this module instead of printing.
pub fn listen() {
    static ONCE: Once = Once::new();
    // SAFETY: the function has the type that ggml declares, and stays.
    ONCE.call_once(|| unsafe { ffi::ggml_log_set(Some(heard), ptr::null_mut()) });
}

/// The layout that ggml named in this thread since the last call, like `q4_0_8x8`.
pub fn layout() -> Option<String> {
    LAYOUT.take()
}

unsafe extern "C" fn heard(level: ffi::ggml_log_level, line: *const c_char, _: *mut c_void) {
    // SAFETY: ggml gives a text that ends with a zero.
    let line = unsafe { CStr::from_ptr(line) }.to_string_lossy();
    if let Some((_, layout)) = line.split_once("repack tensor").and_then(|(_, rest)| rest.split_once(" with ")) {
        LAYOUT.set(Some(layout.trim().to_owned()));
    } else if level == ffi::GGML_LOG_LEVEL_WARN || level == ffi::GGML_LOG_LEVEL_ERROR {
        eprint!("{line}");
    }
}
