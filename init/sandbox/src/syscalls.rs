//! Which system calls a service may use: the usual ones, and groups that it asks for (`syscalls`).
//!
//! After the groups of systemd ("System Call Filtering", systemd.exec(5)) and the default profile of the
//! container runtimes. A call that is in no list does not exist for a service (`ENOSYS`), as programs expect
//! it of a kernel that is older than they are; one that is refused says so (`EPERM`).

use aios_unit::SyscallGroup;
use libc::*;

/// Calls of newer kernels that the C library's headers do not name yet (x86-64).
const SYS_CACHESTAT: c_long = 451;

/// What every service may use.
#[rustfmt::skip]
pub(crate) const USUAL: &[c_long] = &[
    // Files and directories.
    SYS_read, SYS_write, SYS_open, SYS_close, SYS_stat, SYS_fstat, SYS_lstat, SYS_lseek, SYS_pread64,
    SYS_pwrite64, SYS_readv, SYS_writev, SYS_access, SYS_sendfile, SYS_fcntl, SYS_flock, SYS_fsync,
    SYS_fdatasync, SYS_truncate, SYS_ftruncate, SYS_getdents, SYS_getdents64, SYS_getcwd, SYS_chdir,
    SYS_fchdir, SYS_rename, SYS_mkdir, SYS_rmdir, SYS_creat, SYS_link, SYS_unlink, SYS_symlink, SYS_readlink,
    SYS_chmod, SYS_fchmod, SYS_umask, SYS_utime, SYS_utimes, SYS_futimesat, SYS_utimensat, SYS_mknod,
    SYS_mknodat, SYS_statfs, SYS_fstatfs, SYS_sync, SYS_syncfs, SYS_readahead, SYS_setxattr, SYS_lsetxattr,
    SYS_fsetxattr, SYS_getxattr, SYS_lgetxattr, SYS_fgetxattr, SYS_listxattr, SYS_llistxattr,
    SYS_flistxattr, SYS_removexattr, SYS_lremovexattr, SYS_fremovexattr, SYS_io_setup, SYS_io_destroy,
    SYS_io_getevents, SYS_io_submit, SYS_io_cancel, SYS_fadvise64, SYS_openat, SYS_openat2, SYS_mkdirat,
    SYS_newfstatat, SYS_unlinkat, SYS_renameat, SYS_renameat2, SYS_linkat, SYS_symlinkat, SYS_readlinkat,
    SYS_fchmodat, SYS_fchmodat2, SYS_faccessat, SYS_faccessat2, SYS_splice, SYS_tee, SYS_vmsplice,
    SYS_sync_file_range, SYS_fallocate, SYS_preadv, SYS_pwritev, SYS_preadv2, SYS_pwritev2,
    SYS_copy_file_range, SYS_statx, SYS_close_range, SYS_dup, SYS_dup2, SYS_dup3, SYS_pipe, SYS_pipe2,
    SYS_name_to_handle_at, SYS_CACHESTAT,
    // Waiting.
    SYS_poll, SYS_ppoll, SYS_select, SYS_pselect6, SYS_epoll_create, SYS_epoll_create1, SYS_epoll_ctl,
    SYS_epoll_wait, SYS_epoll_pwait, SYS_epoll_pwait2, SYS_eventfd, SYS_eventfd2, SYS_signalfd,
    SYS_signalfd4, SYS_timerfd_create, SYS_timerfd_settime, SYS_timerfd_gettime, SYS_inotify_init,
    SYS_inotify_init1, SYS_inotify_add_watch, SYS_inotify_rm_watch, SYS_pause, SYS_nanosleep,
    SYS_clock_nanosleep,
    // Memory.
    SYS_mmap, SYS_mprotect, SYS_munmap, SYS_brk, SYS_mremap, SYS_msync, SYS_mincore, SYS_madvise, SYS_mlock,
    SYS_mlock2, SYS_munlock, SYS_mlockall, SYS_munlockall, SYS_memfd_create, SYS_memfd_secret,
    SYS_pkey_alloc, SYS_pkey_free, SYS_pkey_mprotect, SYS_membarrier, SYS_get_mempolicy, SYS_mseal,
    // Processes and threads.
    SYS_fork, SYS_vfork, SYS_execve, SYS_execveat, SYS_exit, SYS_exit_group, SYS_wait4, SYS_waitid, SYS_kill,
    SYS_tkill, SYS_tgkill, SYS_pidfd_open, SYS_pidfd_send_signal, SYS_futex, SYS_futex_waitv,
    SYS_set_robust_list, SYS_get_robust_list, SYS_set_tid_address, SYS_rseq, SYS_restart_syscall,
    SYS_arch_prctl, SYS_prctl, SYS_getpid, SYS_gettid, SYS_getppid, SYS_getuid, SYS_geteuid, SYS_getgid,
    SYS_getegid, SYS_getresuid, SYS_getresgid, SYS_getgroups, SYS_getpgid, SYS_getpgrp, SYS_setpgid,
    SYS_getsid, SYS_setsid, SYS_capget, SYS_capset, SYS_getrlimit, SYS_setrlimit, SYS_prlimit64,
    SYS_getrusage, SYS_getpriority, SYS_sched_yield, SYS_sched_getparam, SYS_sched_getscheduler,
    SYS_sched_get_priority_max, SYS_sched_get_priority_min, SYS_sched_rr_get_interval,
    SYS_sched_getaffinity, SYS_sched_getattr, SYS_ioprio_get, SYS_getcpu,
    // Signals and time.
    SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_rt_sigpending, SYS_rt_sigtimedwait,
    SYS_rt_sigqueueinfo, SYS_rt_tgsigqueueinfo, SYS_rt_sigsuspend, SYS_sigaltstack, SYS_getitimer,
    SYS_setitimer, SYS_alarm, SYS_timer_create, SYS_timer_settime, SYS_timer_gettime,
    SYS_timer_getoverrun, SYS_timer_delete, SYS_gettimeofday, SYS_time, SYS_times, SYS_clock_gettime,
    SYS_clock_getres,
    // Sockets; socket(2) itself is looked at more closely.
    SYS_socketpair, SYS_connect, SYS_accept, SYS_accept4, SYS_bind, SYS_listen, SYS_sendto, SYS_recvfrom,
    SYS_sendmsg, SYS_recvmsg, SYS_sendmmsg, SYS_recvmmsg, SYS_shutdown, SYS_getsockname, SYS_getpeername,
    SYS_setsockopt, SYS_getsockopt,
    // Between the processes of the service, which has a namespace of its own for these.
    SYS_shmget, SYS_shmat, SYS_shmctl, SYS_shmdt, SYS_semget, SYS_semop, SYS_semtimedop, SYS_semctl,
    SYS_msgget, SYS_msgsnd, SYS_msgrcv, SYS_msgctl, SYS_mq_open, SYS_mq_unlink, SYS_mq_timedsend,
    SYS_mq_timedreceive, SYS_mq_notify, SYS_mq_getsetattr,
    // The machine, to look at.
    SYS_uname, SYS_sysinfo, SYS_getrandom,
    // Taking more away from itself.
    SYS_seccomp, SYS_landlock_create_ruleset, SYS_landlock_add_rule, SYS_landlock_restrict_self,
];

/// What no service may use, whatever it asks for.
#[rustfmt::skip]
pub(crate) const NEVER: &[c_long] = &[
    SYS_personality, SYS_uselib, SYS_ustat, SYS_sysfs, SYS__sysctl, SYS_modify_ldt, SYS_iopl, SYS_ioperm,
    SYS_vhangup, SYS_acct, SYS_syslog, SYS_sethostname, SYS_setdomainname, SYS_quotactl, SYS_quotactl_fd,
    SYS_lookup_dcookie, SYS_remap_file_pages, SYS_userfaultfd, SYS_set_thread_area, SYS_get_thread_area,
];

/// The calls of a group.
#[rustfmt::skip]
pub(crate) fn group(group: SyscallGroup) -> &'static [c_long] {
    match group {
        SyscallGroup::Clock => &[SYS_settimeofday, SYS_clock_settime, SYS_clock_adjtime, SYS_adjtimex],
        SyscallGroup::Debug => &[
            SYS_ptrace, SYS_process_vm_readv, SYS_process_vm_writev, SYS_kcmp, SYS_pidfd_getfd,
            SYS_process_madvise, SYS_process_mrelease,
        ],
        SyscallGroup::Fanotify => &[SYS_fanotify_init, SYS_fanotify_mark, SYS_open_by_handle_at],
        SyscallGroup::Keyring => &[SYS_add_key, SYS_request_key, SYS_keyctl],
        SyscallGroup::Module => &[SYS_init_module, SYS_finit_module, SYS_delete_module],
        SyscallGroup::Mount => &[
            SYS_mount, SYS_umount2, SYS_pivot_root, SYS_chroot, SYS_open_tree, SYS_move_mount, SYS_fsopen,
            SYS_fsconfig, SYS_fsmount, SYS_fspick, SYS_mount_setattr,
        ],
        // clone3 hides its flags from the filter; without it the C library falls back to clone.
        SyscallGroup::Namespaces => &[SYS_unshare, SYS_setns, SYS_clone3],
        SyscallGroup::Ownership => &[
            SYS_chown, SYS_fchown, SYS_lchown, SYS_fchownat, SYS_setuid, SYS_setgid, SYS_setreuid,
            SYS_setregid, SYS_setresuid, SYS_setresgid, SYS_setgroups, SYS_setfsuid, SYS_setfsgid,
        ],
        SyscallGroup::Perf => &[SYS_bpf, SYS_perf_event_open],
        SyscallGroup::Reboot => &[SYS_reboot, SYS_kexec_load, SYS_kexec_file_load],
        SyscallGroup::Scheduling => &[
            SYS_setpriority, SYS_ioprio_set, SYS_sched_setparam, SYS_sched_setscheduler,
            SYS_sched_setaffinity, SYS_sched_setattr, SYS_mbind, SYS_set_mempolicy,
            SYS_set_mempolicy_home_node, SYS_migrate_pages, SYS_move_pages,
        ],
        SyscallGroup::Swap => &[SYS_swapon, SYS_swapoff],
        SyscallGroup::Uring => &[SYS_io_uring_setup, SYS_io_uring_enter, SYS_io_uring_register],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_call_is_in_two_lists() {
        let mut all: Vec<c_long> = [USUAL, NEVER].concat();
        SyscallGroup::ALL.iter().for_each(|one| all.extend(group(*one)));
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
