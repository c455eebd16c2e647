//! Memory given back to the system. A large commit takes much for a moment, and the allocator of
//! glibc keeps what is freed behind anything that stays.

/// Commits of more bytes are followed by giving back.
const AFTER_COMMIT_BYTES: usize = 4 << 20;

/// Gives back what a commit of that many bytes has left, if that is much.
pub fn give_back_after(commit_bytes: usize) {
    if commit_bytes > AFTER_COMMIT_BYTES {
        give_back();
    }
}

/// Gives back what the allocator holds and nobody uses. Takes milliseconds, on the calling thread.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code)]
fn give_back() {
    unsafe extern "C" {
        /// malloc_trim(3).
        fn malloc_trim(pad: usize) -> std::ffi::c_int;
    }
    // SAFETY: it may be called at any time on any thread, and touches free memory only.
    unsafe { malloc_trim(0) };
}

/// Other allocators do so on their own.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn give_back() {}
