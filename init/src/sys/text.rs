//! What only the boot needed.

unsafe extern "C" {
    // ld(1) defines both: where the file begins in memory, and the first byte behind its code.
    static __executable_start: u8;
    static etext: u8;
}

/// Give back the pages of our own program, and what the allocator keeps for later: most of the code reads
/// service files and brings the machine up, and is not needed again for a long time. What is needed comes back
/// from the page cache by itself.
pub(crate) fn give_back() {
    let page = rustix::param::page_size();
    let start = (&raw const __executable_start).addr() / page * page;
    let end = (&raw const etext).addr() / page * page;
    // SAFETY: the range is that of our own code and constants, mapped from a file and never written to, so the
    // kernel reads the same bytes again. malloc_trim touches only what nobody holds.
    unsafe {
        libc::madvise(start as *mut libc::c_void, end.saturating_sub(start), libc::MADV_DONTNEED);
        libc::malloc_trim(0);
    }
}
