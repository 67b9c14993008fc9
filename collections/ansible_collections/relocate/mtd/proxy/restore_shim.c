/* LD_PRELOAD object for the criu processes of a relocation: the one that restores under a plain `docker start`, and the dump.
 * Copyright (c) 2026 The RELOCATE authors. SPDX-License-Identifier: GPL-3.0-or-later
 *
 * It changes fifteen things and nothing else; 1 to 4, 9 and 14 only where RELOCATE_PID and RELOCATE_VERDICT are set, at the restore:
 *
 * 1. The host pid of the restored init. The containerd shim records one pid when the container is created and never looks
 *    again, so the restored init must get exactly that pid (RELOCATE_PID). CRIU creates the first task of a new pid namespace
 *    with clone3(set_tid = {1}); we make that {1, RELOCATE_PID}: innermost namespace first, the host's last.
 *
 * 2. The wait for the image. runc and criu are started long before there is an image: what they cost to start (runtime,
 *    mounts, cgroups, linking, the probing of the kernel) is not in anybody's pause. The first image that criu opens is
 *    inventory.img; there we say 'i' to the keeper on RELOCATE_VERDICT, a unix socket. It answers 'o' when all images are
 *    there and criu may go on; anything else, and criu exits: it has made nothing yet.
 *
 * 3. The wait for the routes. The last that CRIU does with a socket is to end its repair, and the kernel then sends an
 *    acknowledgement to the peer. One that comes to the edge before the edge knows the connection's new place is answered with
 *    a reset. CRIU says "post-restore" to its caller just before; there we say 's', and wait for 'o'.
 *
 * 4. The wait for the verdict. When everything is restored and nothing has run yet, CRIU sends its caller (runc) the
 *    notification "pre-resume" (protobuf message criu_resp.notify.script) and receives the answer. Before it does we say 'p',
 *    and wait: 'c' commits, anything else (a keeper that is gone among it) means the copy must never run an instruction, so
 *    criu kills the tree it holds and exits. First it takes the links of the copy's network down: its sockets are live, and
 *    would tell their peers that they are closed. After a 'c' we say 'r' before the first task is let go, and wait for nothing:
 *    the copy has run from then on, whatever becomes of CRIU.
 *
 * 5. Two dumps of the connection tracking table. CRIU 4.2 asks for the table of a container's network namespace even where
 *    that namespace is external, and its restore then does not look at it. The kernel walks its whole hash table for each:
 *    12 ms apiece on a host with a large one. We ask for the list of dying entries instead, which is short.
 *
 * 6. Raising RLIMIT_NOFILE to fs.nr_open, which CRIU insists on, needs CAP_SYS_RESOURCE. Where the host has been denied that
 *    capability (system containers, some virtual machines), the hard limit is as good: only more open files than that fail.
 *
 *    For the same reason CRIU may not ask for the limits of a process of another user. /proc/PID/limits tells everybody.
 *
 * 7. The pages of deferred memory, only where RELOCATE_DEFERRED is set, at the dump of a post-copy (deferred.py says why). It is
 *    the path of a list of areas (pid, start, end: three 64-bit numbers each), which is there when the tasks are frozen. Where
 *    CRIU asks which pages a process has, by ioctl PAGEMAP_SCAN or, on kernels before 6.7, by reading /proc/PID/pagemap,
 *    the pages are appended to the list, and CRIU is told that there are none.
 *
 * 8. The handles of watched files, only where RELOCATE_WATCHES is set, at the dump. It is the path of a list: the root of the
 *    container, then a handle and a path in the container on each line (files/watches.py says why). A handle that the kernel
 *    does not open is opened by its path.
 *
 * 9. The end of a CRIU that is killed while it holds the restored tasks. The kernel would let them go, and the copy would run
 *    before the verdict. With PTRACE_O_EXITKILL it kills them. Those that CRIU has let go itself, at the commit, run on.
 *
 * 10. Sleeps, on x86_64. The kernel remembers until when an interrupted nanosleep(2) is to last, and CRIU, which cannot carry that,
 *    has it return early with EINTR, which sleep(3) does not expect: a container of one `sleep 1000` would end. But where the
 *    call may write the time that is left over the time that it was given, as sleep(3) lets it, it has done so, and need only
 *    be made again: CRIU is told that it is to be.
 *
 * 11. Reserved address space. A program may reserve far more than there is memory, and CRIU maps it anew, writable, so that pages
 *    can come into it, though most of it never was: an area that is larger than memory and swap together, and writable, the kernel
 *    refuses (vm.overcommit_memory 0). It grants it with MAP_NORESERVE, which only means that the area is not counted as promised.
 *
 * 12. The addresses of unix sockets whose files are elsewhere. The image has such a socket under a name of ours, in the directory
 *    of its file (unix_images.py says why), and the true address is in the list `relocate-addresses` among the images. When CRIU
 *    binds to that name, we bind to the address in a room of its own, a new directory that is the root meanwhile, and give the
 *    file that name: CRIU finds it where it thinks that it has made it.
 *
 * 13. The files of unix sockets with a relative address, at the dump. CRIU asks where the file is, and gives up if that does not
 *    end with the address. The image will have another name anyway: we say that it lies in the root.
 *
 * 14. The peers that unix connections name. The kernel has them from whoever made the connection, which here is CRIU. The list
 *    `relocate-peers` among the images says who made them, and as whom (unix_peers.py has more).
 *
 * 15. The time for which TCP sockets are in repair, at the dump. CRIU leaves them so to its end, though it has read all there is when
 *    it opens the image of a connection, `tcp-stream-…`. If it is killed meanwhile its tasks run on, the kernel refuses whatever they
 *    do with such a socket, and their connections are lost. We end the repair there. Nothing comes or goes in the freeze
 *    all the same: the edge sees to that, or CRIU's own lock.
 *
 * Freestanding on purpose (no libc header is linked, symbols resolve at load time): one object serves every glibc.
 * Build: cc -shared -fPIC -Os -nostdlib -o restore_shim.so restore_shim.c
 */
#if !defined(__x86_64__) && !defined(__aarch64__)
#error "restore_shim.c knows the system call convention of x86_64 and aarch64 only"
#endif

typedef unsigned long u64;
typedef long ssize;
typedef unsigned long usize;

extern char *getenv(const char *name);
extern int *__errno_location(void);
extern int getpagesize(void);

#define CLONE_NEWPID 0x20000000UL
#define SIGKILL 9
#define AF_UNIX 1
#define SOCK_STREAM 1
#define SOCK_CLOEXEC 02000000
#define MSG_NOSIGNAL 0x4000

#if defined(__x86_64__)
enum { NR_READ = 0, NR_WRITE = 1, NR_CLOSE = 3, NR_IOCTL = 16, NR_PREAD64 = 17, NR_SOCKET = 41, NR_CONNECT = 42, NR_BIND = 49, NR_SETSOCKOPT = 54, NR_GETSOCKNAME = 51, NR_CHDIR = 80, NR_FCHDIR = 81, NR_CHROOT = 161, NR_MKDIRAT = 258, NR_UNLINKAT = 263, NR_RENAMEAT = 264, NR_SENDTO = 44, NR_RECVFROM = 45, NR_SENDMSG = 46, NR_KILL = 62, NR_PTRACE = 101, NR_SETNS = 308, NR_EXIT_GROUP = 231, NR_OPENAT = 257, NR_READLINKAT = 267, NR_PRLIMIT64 = 302, NR_OPEN_BY_HANDLE_AT = 304, NR_MMAP = 9, NR_LSEEK = 8, NR_FCNTL = 72, NR_FSTAT = 5, NR_SOCKETPAIR = 53, NR_LISTEN = 50, NR_ACCEPT4 = 288, NR_WAIT4 = 61, NR_FUTEX = 202, NR_PRCTL = 157, NR_GETPID = 39, NR_SETRESUID = 117, NR_SETRESGID = 119, NR_SETFSUID = 122, NR_GETRESUID = 118, NR_GETRESGID = 120, NR_GETGROUPS = 115, NR_SETGROUPS = 116 };
static long raw(long n, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
	long r;
	__asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
	return r;
}
#else
enum { NR_READ = 63, NR_WRITE = 64, NR_CLOSE = 57, NR_IOCTL = 29, NR_PREAD64 = 67, NR_SOCKET = 198, NR_CONNECT = 203, NR_BIND = 200, NR_SETSOCKOPT = 208, NR_GETSOCKNAME = 204, NR_CHDIR = 49, NR_FCHDIR = 50, NR_CHROOT = 51, NR_MKDIRAT = 34, NR_UNLINKAT = 35, NR_RENAMEAT = 38, NR_SENDTO = 206, NR_RECVFROM = 207, NR_SENDMSG = 211, NR_KILL = 129, NR_PTRACE = 117, NR_SETNS = 268, NR_EXIT_GROUP = 94, NR_OPENAT = 56, NR_READLINKAT = 78, NR_PRLIMIT64 = 261, NR_OPEN_BY_HANDLE_AT = 265, NR_MMAP = 222, NR_LSEEK = 62, NR_FCNTL = 25, NR_FSTAT = 80, NR_SOCKETPAIR = 199, NR_LISTEN = 201, NR_ACCEPT4 = 242, NR_WAIT4 = 260, NR_FUTEX = 98, NR_PRCTL = 167, NR_GETPID = 172, NR_SETRESUID = 147, NR_SETRESGID = 149, NR_SETFSUID = 151, NR_GETRESUID = 148, NR_GETRESGID = 150, NR_GETGROUPS = 158, NR_SETGROUPS = 159 };
static long raw(long n, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = n, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d, x4 __asm__("x4") = e, x5 __asm__("x5") = f;
	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
	return x0;
}
#endif
#define NR_CLONE3 435
#define NR_PIDFD_OPEN 434
#define NR_CLOSE_RANGE 436
#define NR_PIDFD_GETFD 438

static long as_libc(long r)
{
	if (r < 0 && r > -4096) {
		*__errno_location() = (int)-r;
		return -1;
	}
	return r;
}

static int number(const char *s)
{
	int n = 0;

	for (; s && *s >= '0' && *s <= '9'; s++)
		n = n * 10 + (*s - '0');
	return n;
}

/* struct clone_args of <linux/sched.h>, first version with set_tid (88 bytes with cgroup) */
struct clone_args { u64 flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup; };

#define AT_FDCWD (-100)
#define O_RDONLY 0
#define EPERM 1

struct rlimit64 { u64 soft, hard; };

static char *append(char *at, const char *text)
{
	while ((*at = *text++))
		at++;
	return at;
}

static char *append_number(char *at, unsigned int n)
{
	char digits[12];
	int k = 0;

	do
		digits[k++] = (char)('0' + n % 10);
	while ((n /= 10));
	while (k)
		*at++ = digits[--k];
	*at = 0;
	return at;
}

static u64 limit_at(const char *text)
{
	u64 value = 0;

	if (*text == 'u') /* unlimited */
		return ~0UL;
	for (; *text >= '0' && *text <= '9'; text++)
		value = value * 10 + (u64)(*text - '0');
	return value;
}

/* Read a limit from /proc/PID/limits: a heading, then a line for each in the order of their numbers, in columns. Return 0 or
 * -EPERM, which is what the kernel has said. */
static long limit_from_proc(int pid, long resource, struct rlimit64 *limit)
{
	enum { SOFT = 26, HARD = 47 }; /* columns, fs/proc/base.c */
	char path[40], text[4096];
	long fd, n, size = 0, begin = 0, line = 0;

	append(append_number(append(path, "/proc/"), (unsigned int)pid), "/limits");
	fd = raw(NR_OPENAT, AT_FDCWD, (long)path, O_RDONLY | SOCK_CLOEXEC, 0, 0, 0);
	if (fd < 0)
		return -EPERM;
	while (size < (long)sizeof(text) && (n = raw(NR_READ, fd, (long)text + size, (long)sizeof(text) - size, 0, 0, 0)) > 0)
		size += n;
	raw(NR_CLOSE, fd, 0, 0, 0, 0, 0);
	for (long i = 0; i < size; i++) {
		if (text[i] != '\n')
			continue;
		if (line++ == resource + 1 && i - begin > HARD) {
			limit->soft = limit_at(text + begin + SOFT);
			limit->hard = limit_at(text + begin + HARD);
			return 0;
		}
		begin = i + 1;
	}
	return -EPERM;
}

#define PROT_READ 1
#define MAP_PRIVATE 2
#define SEEK_END 2

struct file_handle { unsigned int bytes; int type; unsigned char handle[128]; };

static const char *watches; /* the list, and where the search goes on: CRIU asks in the same order */
static long watches_size, watches_at;

static void map_watches(void)
{
	const char *path = getenv("RELOCATE_WATCHES");
	long fd;

	if (watches_size || !path || !*path)
		return;
	watches_size = -1;
	fd = raw(NR_OPENAT, AT_FDCWD, (long)path, O_RDONLY | SOCK_CLOEXEC, 0, 0, 0);
	if (fd >= 0) {
		long size = raw(NR_LSEEK, fd, 0, SEEK_END, 0, 0, 0);
		long at = size > 0 ? raw(NR_MMAP, 0, size, PROT_READ, MAP_PRIVATE, fd, 0) : -1;

		if (at > 0 || at < -4095) {
			watches = (const char *)at;
			watches_size = size;
		}
		raw(NR_CLOSE, fd, 0, 0, 0, 0, 0);
	}
}

static long line_end(long from)
{
	while (from < watches_size && watches[from] != '\n')
		from++;
	return from;
}

/* Return whether the line at a place begins with a handle, and a blank. */
static int is_of(long at, long end, const struct file_handle *handle)
{
	static const char hex[] = "0123456789abcdef";
	long k = 0;

	for (; k < (long)handle->bytes && k < (long)sizeof(handle->handle); k++) {
		if (at + 2 * k + 1 >= end || watches[at + 2 * k] != hex[handle->handle[k] >> 4] ||
		    watches[at + 2 * k + 1] != hex[handle->handle[k] & 15])
			return 0;
	}
	return at + 2 * k < end && watches[at + 2 * k] == ' ';
}

/* Open what a handle stands for by the path that is known of it; return the descriptor, or the kernel's first answer. */
static long open_watched(const struct file_handle *handle, long flags, long answer)
{
	char path[4096 + 64];
	long root, end, fd;

	map_watches();
	if (watches_size <= 0)
		return answer;
	root = line_end(0);
	for (int round = 0; round < 2; round++) {
		for (long at = round || watches_at <= root ? root + 1 : watches_at; at < watches_size; at = end + 1) {
			long length = 0, from = at + 2 * (long)handle->bytes + 1;

			end = line_end(at);
			if (!is_of(at, end, handle))
				continue;
			if (root + end - from >= (long)sizeof(path))
				return answer;
			for (long i = 0; i < root; i++)
				path[length++] = watches[i];
			for (long i = from; i < end; i++)
				path[length++] = watches[i];
			path[length] = 0;
			watches_at = end + 1;
			fd = raw(NR_OPENAT, AT_FDCWD, (long)path, flags, 0, 0, 0);
			return fd >= 0 ? fd : answer;
		}
	}
	return answer;
}

static void make_holder(long init);

long syscall(long n, ...)
{
	__builtin_va_list v;
	long a[6], r;
	int pids[2];

	__builtin_va_start(v, n);
	for (int i = 0; i < 6; i++)
		a[i] = __builtin_va_arg(v, long);
	__builtin_va_end(v);

	if (n == NR_CLONE3) {
		struct clone_args *args = (struct clone_args *)a[0];
		int pid = number(getenv("RELOCATE_PID"));

		if (pid && (args->flags & CLONE_NEWPID) && args->set_tid_size == 1) {
			pids[0] = *(int *)args->set_tid;
			pids[1] = pid;
			args->set_tid = (u64)pids;
			args->set_tid_size = 2;
		}
	}
	r = raw(n, a[0], a[1], a[2], a[3], a[4], a[5]);
	if (n == NR_CLONE3 && r > 0 && (((struct clone_args *)a[0])->flags & CLONE_NEWPID))
		make_holder(r);
	if (n == NR_PRLIMIT64 && r == -EPERM && !a[2] && a[3])
		r = limit_from_proc((int)a[0], a[1], (struct rlimit64 *)a[3]);
	if (n == NR_OPEN_BY_HANDLE_AT && r < 0 && r > -4096)
		r = open_watched((const struct file_handle *)a[1], a[2], r);
	return as_libc(r);
}

static int contains(const char *buf, usize len, const char *word, usize wlen)
{
	for (usize i = 0; i + wlen <= len; i++) {
		usize k = 0;

		while (k < wlen && buf[i + k] == word[k])
			k++;
		if (k == wlen)
			return 1;
	}
	return 0;
}

/* Say one character to the keeper; return the connection, for its answer, or a negative number when it does not hear. */
static long tell_keeper(const char *path, char what)
{
	struct { unsigned short family; char path[108]; } address = { AF_UNIX, { 0 } };
	long fd;

	for (int i = 0; path[i] && i < 107; i++)
		address.path[i] = path[i];
	fd = raw(NR_SOCKET, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, 0, 0, 0);
	if (fd >= 0 && raw(NR_CONNECT, fd, (long)&address, sizeof(address), 0, 0, 0) == 0 && raw(NR_WRITE, fd, (long)&what, 1, 0, 0, 0) == 1)
		return fd;
	raw(NR_CLOSE, fd, 0, 0, 0, 0, 0);
	return -1;
}

/* Say one character to the keeper and return its answer, or 0 when there is none. */
static char ask_keeper(const char *path, char what)
{
	long fd = tell_keeper(path, what), n = 0;
	char answer = 0;

	if (fd >= 0) {
		do
			n = raw(NR_READ, fd, (long)&answer, 1, 0, 0, 0);
		while (n == -4); /* EINTR */
	}
	raw(NR_CLOSE, fd, 0, 0, 0, 0, 0);
	return n == 1 ? answer : 0;
}

/* Returns only when the images are there. */
static void await_images(void)
{
	const char *path = getenv("RELOCATE_VERDICT");
	static int asked;

	if (!path || asked++)
		return;
	if (ask_keeper(path, 'i') != 'o')
		raw(NR_EXIT_GROUP, 1, 0, 0, 0, 0, 0);
}

#define AF_INET 2
#define SOCK_DGRAM 2
#define CLONE_NEWNET 0x40000000
#define SIOCGIFNAME 0x8910
#define SIOCGIFFLAGS 0x8913
#define SIOCSIFFLAGS 0x8914
#define IFF_UP 1
#define IFF_LOOPBACK 8
enum { MOST_LINKS = 1 << 20 };

struct ifreq { char name[16]; union { short flags; int index; char room[24]; } is; };

/* Take every link but loopback down in the network of a process: nothing that is there leaves it any more. Ours is the host's,
 * and is left alone, whoever else is in it. */
static void links_down(int pid)
{
	char path[32], ours[32] = { 0 }, theirs[32] = { 0 };
	long fd, i, same = 1;

	append(append_number(append(path, "/proc/"), (unsigned int)pid), "/ns/net");
	if (raw(NR_READLINKAT, AT_FDCWD, (long)"/proc/self/ns/net", (long)ours, sizeof(ours) - 1, 0, 0) <= 0 ||
	    raw(NR_READLINKAT, AT_FDCWD, (long)path, (long)theirs, sizeof(theirs) - 1, 0, 0) <= 0)
		return;
	for (i = 0; i < (long)sizeof(ours); i++)
		same &= ours[i] == theirs[i];
	if (same)
		return;
	fd = raw(NR_OPENAT, AT_FDCWD, (long)path, O_RDONLY | SOCK_CLOEXEC, 0, 0, 0);
	if (fd < 0 || raw(NR_SETNS, fd, CLONE_NEWNET, 0, 0, 0, 0))
		return;
	fd = raw(NR_SOCKET, AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0, 0, 0, 0);
	for (int index = 1; fd >= 0 && index < MOST_LINKS; index++) {
		struct ifreq link = { { 0 }, { .index = index } };

		if (raw(NR_IOCTL, fd, SIOCGIFNAME, (long)&link, 0, 0, 0) || raw(NR_IOCTL, fd, SIOCGIFFLAGS, (long)&link, 0, 0, 0))
			continue;
		if (link.is.flags & IFF_LOOPBACK)
			continue;
		link.is.flags &= ~IFF_UP;
		raw(NR_IOCTL, fd, SIOCSIFFLAGS, (long)&link, 0, 0, 0);
	}
}

static int may_run; /* the verdict is that the copy may run, and none of its tasks does yet */

/* Returns only when the keeper agrees: that the sockets may speak, or that the copy may run. */
static void await_consent(char question, char consent)
{
	const char *path = getenv("RELOCATE_VERDICT");

	if (!path)
		return;
	if (ask_keeper(path, question) == consent) {
		may_run = consent == 'c';
		return;
	}
	/* It does not: the tasks are still stopped under our ptrace. The init of the new pid namespace takes all others with it. */
	links_down(number(getenv("RELOCATE_PID")));
	raw(NR_KILL, number(getenv("RELOCATE_PID")), SIGKILL, 0, 0, 0, 0);
	raw(NR_EXIT_GROUP, 1, 0, 0, 0, 0, 0);
}

static void end_holder(void);

static char noticed; /* a notification has been sent, and this is to be asked before its answer is received */

static void watch(const void *buf, usize len)
{
	/* a notification is a short protobuf message whose first field is the varint `type` (tag 0x08); a log line is not */
	if (len >= 64 || len < 2 || *(const char *)buf != 0x08)
		return;
	if (contains(buf, len, "post-restore", 12))
		noticed = 's';
	if (contains(buf, len, "pre-resume", 10))
		noticed = 'p';
}

ssize write(int fd, const void *buf, usize len)
{
	watch(buf, len);
	return as_libc(raw(NR_WRITE, fd, (long)buf, (long)len, 0, 0, 0));
}

ssize send(int fd, const void *buf, usize len, int flags)
{
	watch(buf, len);
	return as_libc(raw(NR_SENDTO, fd, (long)buf, (long)len, flags, 0, 0));
}

ssize recv(int fd, void *buf, usize len, int flags)
{
	char question = noticed;

	noticed = 0;
	if (question)
		end_holder();
	if (question)
		await_consent(question, question == 's' ? 'o' : 'c');
	return as_libc(raw(NR_RECVFROM, fd, (long)buf, (long)len, flags, 0, 0));
}

#define TOKEN ".relocate-socket-" /* unix_sockets.py has the same names */
#define ROOM ".relocate-binding"
#define LONGEST 108
#define O_DIRECTORY_PATH (010000000 | SOCK_CLOEXEC) /* O_PATH */
#define AT_REMOVEDIR 0x200
#define EINVAL 22
#define ENAMETOOLONG 36
enum { MOST_ADDRESSES = 4096 };

struct unix_address { unsigned short family; char path[LONGEST + 1]; };
static struct { unsigned int length; char path[LONGEST]; } addresses[MOST_ADDRESSES];
static long address_count;

/* Read the list of addresses; most containers have none. */
static void read_addresses(int images)
{
	long fd, n, size = 0;

	if (address_count || !getenv("RELOCATE_VERDICT"))
		return;
	fd = raw(NR_OPENAT, images, (long)"relocate-addresses", O_RDONLY | SOCK_CLOEXEC, 0, 0, 0);
	if (fd < 0)
		return;
	while (size < (long)sizeof(addresses) &&
	       (n = raw(NR_READ, fd, (long)addresses + size, (long)sizeof(addresses) - size, 0, 0, 0)) > 0)
		size += n;
	address_count = size / (long)sizeof(addresses[0]);
	raw(NR_CLOSE, fd, 0, 0, 0, 0, 0);
}

/* Bind a socket to an address where it is the only file: whatever directories it names are made for it. The caller has made the
 * room its root. Return 0 or -errno. */
static long bind_in_room(int fd, struct unix_address *to, unsigned int length, long here, const char *token)
{
	unsigned char made[LONGEST];
	long problem;

	for (unsigned int i = 1; i < length; i++) {
		made[i] = 0;
		if (to->path[i] != '/')
			continue;
		to->path[i] = 0;
		made[i] = raw(NR_MKDIRAT, AT_FDCWD, (long)to->path, 0700, 0, 0, 0) == 0;
		to->path[i] = '/';
	}
	problem = raw(NR_BIND, fd, (long)to, (long)(sizeof(to->family) + length), 0, 0, 0);
	if (!problem)
		problem = raw(NR_RENAMEAT, AT_FDCWD, (long)to->path, here, (long)token, 0, 0);
	for (unsigned int i = length; i-- > 1;) {
		if (!made[i])
			continue;
		to->path[i] = 0;
		raw(NR_UNLINKAT, AT_FDCWD, (long)to->path, AT_REMOVEDIR, 0, 0, 0);
		to->path[i] = '/';
	}
	return problem;
}

/* Bind a socket to the address that a name of ours stands for, and have its file under that name in this directory. CRIU has
 * only one of its tasks bind at a time. Return 0 or -errno. */
static long bind_as(int fd, const char *token)
{
	long which = number(token + sizeof(TOKEN) - 1), here, root, problem, back;
	struct unix_address to = { AF_UNIX, { 0 } };
	unsigned int length;

	if (which >= address_count)
		return -EINVAL;
	length = addresses[which].length;
	if (!length || length > LONGEST)
		return -EINVAL;
	for (unsigned int i = 0; i < length; i++)
		to.path[i] = addresses[which].path[i];
	here = raw(NR_OPENAT, AT_FDCWD, (long)".", O_DIRECTORY_PATH, 0, 0, 0);
	root = raw(NR_OPENAT, AT_FDCWD, (long)"/", O_DIRECTORY_PATH, 0, 0, 0);
	problem = here < 0 ? here : root < 0 ? root : raw(NR_MKDIRAT, here, (long)ROOM, 0700, 0, 0, 0);
	if (!problem) {
		problem = raw(NR_CHROOT, (long)ROOM, 0, 0, 0, 0, 0);
		if (!problem) {
			problem = raw(NR_CHDIR, (long)"/", 0, 0, 0, 0, 0);
			if (!problem)
				problem = bind_in_room(fd, &to, length, here, token);
			back = raw(NR_FCHDIR, root, 0, 0, 0, 0, 0);
			back = back ? back : raw(NR_CHROOT, (long)".", 0, 0, 0, 0, 0);
			back = back ? back : raw(NR_FCHDIR, here, 0, 0, 0, 0, 0);
			problem = problem ? problem : back;
		}
		back = raw(NR_UNLINKAT, here, (long)ROOM, AT_REMOVEDIR, 0, 0, 0);
		problem = problem ? problem : back;
	}
	raw(NR_CLOSE, here, 0, 0, 0, 0, 0);
	raw(NR_CLOSE, root, 0, 0, 0, 0, 0);
	return problem;
}

#define CLONE_FILES 0x400
#define CLONE_VFORK 0x4000
#define EINTR 4
#define EEXIST 17
#define ETIMEDOUT 110
#define F_SETFD 2
#define FUTEX_WAIT 0
#define FUTEX_WAKE 1
#define MAP_SHARED 1
#define MAP_ANONYMOUS 0x20
#define PR_GET_DUMPABLE 3
#define PR_SET_DUMPABLE 4
#define PROT_WRITE 2
#define WALL 0x40000000
enum { MOST_TASKS = 1 << 30 };

enum { MOST_GROUPS = 64 };

struct peer {
	int pid;
	unsigned int uid, gid, group_count, groups[MOST_GROUPS];
	int partner; /* the place of the other end of a connection; -1: there is none any more */
	int how, type;
	unsigned int length;
	char address[LONGEST];
};
enum { LISTENS = 1, CONNECTS, PAIRED };
enum { KIND = 15, PLACE_SHIFT = 4, PLACED = 1 << 30, NOBODY = 65534 }; /* unix_peers.py has the same */
enum { WAITING, SOCKETS_MADE, SOCKETS_HELD };

static const struct peer *peers; /* behind their number, and that of the holder */
static int peer_count, holder_number;
static long holder_keeper;
/* Shared by all tasks of the restore: how far we are, and descriptors of the maker's, later of the holder's. There are two for each
 * place: of the socket, and of its other end. The holder has its number on this host here. */
static struct { int stage, holder, of[]; } *shared;
static u64 *own; /* the inodes of the sockets that this task has made; before that, descriptors of the maker's */

static void read_peers(int images)
{
	long fd, size, at;

	if (peers || !getenv("RELOCATE_VERDICT"))
		return;
	fd = raw(NR_OPENAT, images, (long)"relocate-peers", O_RDONLY | SOCK_CLOEXEC, 0, 0, 0);
	if (fd < 0)
		return;
	size = raw(NR_LSEEK, fd, 0, SEEK_END, 0, 0, 0);
	at = size > 8 ? raw(NR_MMAP, 0, size, PROT_READ, MAP_PRIVATE, fd, 0) : -1;
	raw(NR_CLOSE, fd, 0, 0, 0, 0, 0);
	if (at < 0 && at > -4096)
		raw(NR_EXIT_GROUP, 1, 0, 0, 0, 0, 0);
	peer_count = (int)((size - 8) / (long)sizeof(*peers));
	holder_number = ((const int *)at)[1];
	peers = (const struct peer *)(at + 8);
	for (int i = 0; i < peer_count; i++)
		if (peers[i].group_count > MOST_GROUPS || peers[i].partner >= peer_count || peers[i].length > LONGEST)
			raw(NR_EXIT_GROUP, 1, 0, 0, 0, 0, 0); /* another host's word */
	shared = (void *)raw(NR_MMAP, 0, 8 + 8 * (long)peer_count, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	own = (void *)raw(NR_MMAP, 0, 16 * (long)peer_count, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (int i = 0; i < 2 * peer_count; i++)
		shared->of[i] = -1;
}

static int alike(const char *a, const char *b, usize length)
{
	return contains(a, length, b, length);
}

/* Return whether two sockets name the same process, user and groups. */
static int same_peer(const struct peer *a, const struct peer *b)
{
	return a->pid == b->pid && a->uid == b->uid && a->gid == b->gid && a->group_count == b->group_count &&
	       alike((const char *)a->groups, (const char *)b->groups, a->group_count * sizeof(a->groups[0]));
}

struct user { unsigned int uid[3], gid[3], groups[1024]; long group_count, dumpable; };

/* Have this thread's user be another for who asks, though not for files. Return 0 or -errno. */
static long become(unsigned int uid, unsigned int gid, const unsigned int *groups, long group_count)
{
	long problem = raw(NR_SETGROUPS, group_count, (long)groups, 0, 0, 0, 0);

	problem = problem ? problem : raw(NR_SETRESGID, -1, gid, -1, 0, 0, 0);
	problem = problem ? problem : raw(NR_SETRESUID, -1, uid, -1, 0, 0, 0);
	raw(NR_SETFSUID, 0, 0, 0, 0, 0, 0);
	return problem;
}

static long become_peer(const struct peer *as, struct user *was)
{
	was->dumpable = raw(NR_PRCTL, PR_GET_DUMPABLE, 0, 0, 0, 0, 0);
	was->group_count = raw(NR_GETGROUPS, 1024, (long)was->groups, 0, 0, 0, 0);
	raw(NR_GETRESUID, (long)&was->uid[0], (long)&was->uid[1], (long)&was->uid[2], 0, 0, 0);
	raw(NR_GETRESGID, (long)&was->gid[0], (long)&was->gid[1], (long)&was->gid[2], 0, 0, 0);
	if (was->group_count < 0)
		return was->group_count;
	return as ? become(as->uid, as->gid, as->groups, as->group_count) : become(NOBODY, NOBODY, 0, 0);
}

/* A task that cannot become what it was must not go on. */
static void become_again(const struct user *was)
{
	long problem = raw(NR_SETRESUID, -1, was->uid[1], -1, 0, 0, 0);

	problem = problem ? problem : raw(NR_SETRESGID, -1, was->gid[1], -1, 0, 0, 0);
	problem = problem ? problem : raw(NR_SETGROUPS, was->group_count, (long)was->groups, 0, 0, 0, 0);
	if (problem)
		raw(NR_EXIT_GROUP, 1, 0, 0, 0, 0, 0);
	raw(NR_PRCTL, PR_SET_DUMPABLE, was->dumpable, 0, 0, 0, 0);
}

/* Have something done by a process of the number that a socket names, and as the user it names: this one, or one that has our
 * descriptors and is gone afterwards. Return 0 or -errno. */
static long as_peer(const struct peer *as, long (*what)(const struct peer *as, long with), long with)
{
	struct user was;
	long pid, problem;
	int number = as->pid, status = 0;
	struct clone_args args = { .flags = CLONE_FILES | CLONE_VFORK, .set_tid = (u64)&number, .set_tid_size = 1 };

	if (raw(NR_GETPID, 0, 0, 0, 0, 0, 0) == as->pid) {
		problem = become_peer(as, &was);
		problem = problem ? problem : what(as, with);
		become_again(&was);
		return problem;
	}
	pid = raw(NR_CLONE3, (long)&args, sizeof(args), 0, 0, 0, 0);
	if (!pid) {
		problem = become(as->uid, as->gid, as->groups, as->group_count);
		problem = problem ? problem : what(as, with);
		raw(NR_EXIT_GROUP, problem ? 1 : 0, 0, 0, 0, 0, 0);
	}
	if (pid < 0)
		return pid;
	while ((problem = raw(NR_WAIT4, pid, (long)&status, WALL, 0, 0, 0)) == -EINTR)
		;
	return problem == pid && !status ? 0 : -EINVAL;
}

static int backlog = 1;

static long listen_as(const struct peer *as, long fd)
{
	(void)as;
	return raw(NR_LISTEN, fd, backlog, 0, 0, 0, 0);
}

/* Return whether a socket is an end of a connection that is not there yet. */
static int to_be_made(int i)
{
	return peers[i].how == PAIRED && shared->of[2 * i] < 0;
}

/* Note both ends of a connection: the first is that at a place. */
static void note_ends(int i, int end, int other)
{
	int partner = peers[i].partner;

	shared->of[2 * i] = end;
	shared->of[2 * i + 1] = other;
	if (partner >= 0) {
		shared->of[2 * partner] = other;
		shared->of[2 * partner + 1] = end;
	}
}

static int is_abstract(const struct peer *end)
{
	return end->length && !end->address[0];
}

/* Return whether a connection can be made as a pair: both ends name the same, and none has an address that nobody gives it later. */
static int is_pair(int i)
{
	const struct peer *other = peers[i].partner < 0 ? 0 : &peers[peers[i].partner];

	return !other || (same_peer(&peers[i], other) && !is_abstract(&peers[i]) && !is_abstract(other));
}

/* Make all pairs whose ends name the same. Return 0 or -errno. */
static long make_pairs(const struct peer *as, long from)
{
	for (int i = (int)from; i < peer_count; i++) {
		int ends[2];
		long problem;

		if (!to_be_made(i) || !is_pair(i) || !same_peer(&peers[i], as))
			continue;
		problem = raw(NR_SOCKETPAIR, AF_UNIX, peers[i].type, 0, (long)ends, 0, 0);
		if (problem)
			return problem;
		note_ends(i, ends[0], ends[1]);
	}
	return 0;
}

/* A listener that connections are made with, the address that leads to it, and an end that it has accepted */
static long listener;
static struct unix_address way;
static unsigned int way_length;
static int accepted;

/* Return whether a socket is to be accepted by the listener that another is accepted by: who connects sees its user. */
static int is_accepted_alike(int i)
{
	const struct peer *a = &peers[i], *b = &peers[accepted];

	return to_be_made(i) && a->partner >= 0 && a->length && a->length == b->length && alike(a->address, b->address, a->length) &&
	       a->type == b->type && !is_pair(i) && same_peer(&peers[a->partner], &peers[b->partner]);
}

/* Make all connections of a listener that a process and user have connected to it. Return 0 or -errno. */
static long make_connected(const struct peer *as, long from)
{
	for (int i = (int)from; i < peer_count; i++) {
		long client, server, problem;

		if (!is_accepted_alike(i) || !same_peer(&peers[i], as))
			continue;
		client = raw(NR_SOCKET, AF_UNIX, peers[i].type, 0, 0, 0, 0);
		problem = client < 0 ? client : raw(NR_CONNECT, client, (long)&way, (long)(sizeof(way.family) + way_length), 0, 0, 0);
		server = problem ? problem : raw(NR_ACCEPT4, listener, 0, 0, 0, 0, 0);
		if (server < 0)
			return server;
		note_ends(i, (int)server, (int)client);
	}
	return 0;
}

#define MEETING ".relocate-peers" /* in a room that is the root */

/* Make a listener with the address of an end that it has accepted, and all connections that it had. Return 0 or -errno. */
static long make_connections(int i)
{
	const struct peer *end;
	long problem, room = raw(NR_OPENAT, AT_FDCWD, (long)"/", O_DIRECTORY_PATH, 0, 0, 0);

	accepted = peers[i].length ? i : peers[i].partner;
	end = &peers[accepted];
	if (!end->length || end->length > LONGEST)
		return -EINVAL;
	way = (struct unix_address){ AF_UNIX, { 0 } };
	for (unsigned int k = 0; k < end->length; k++)
		way.path[k] = end->address[k];
	way_length = end->length;
	listener = raw(NR_SOCKET, AF_UNIX, end->type, 0, 0, 0, 0);
	if (listener < 0)
		return listener;
	if (!way.path[0]) {
		problem = raw(NR_BIND, listener, (long)&way, (long)(sizeof(way.family) + way_length), 0, 0, 0);
	} else {
		problem = bind_in_room((int)listener, &way, way_length, room, MEETING);
		way = (struct unix_address){ AF_UNIX, MEETING };
		way_length = sizeof(MEETING) - 1;
	}
	problem = problem ? problem : as_peer(&peers[end->partner], listen_as, listener);
	for (int k = 0; k < peer_count && !problem; k++)
		if (is_accepted_alike(k))
			problem = as_peer(&peers[k], make_connected, k);
	raw(NR_CLOSE, listener, 0, 0, 0, 0, 0);
	raw(NR_CLOSE, room, 0, 0, 0, 0, 0);
	raw(NR_UNLINKAT, AT_FDCWD, (long)MEETING, 0, 0, 0, 0);
	return problem;
}

/* Make every connection, in a new directory that is the root meanwhile. Return 0 or -errno. */
static long make_in_room(void)
{
	long here, root, back, problem;

	here = raw(NR_OPENAT, AT_FDCWD, (long)".", O_DIRECTORY_PATH, 0, 0, 0);
	root = raw(NR_OPENAT, AT_FDCWD, (long)"/", O_DIRECTORY_PATH, 0, 0, 0);
	problem = here < 0 ? here : root < 0 ? root : raw(NR_CHDIR, (long)"/dev", 0, 0, 0, 0, 0);
	problem = problem ? problem : raw(NR_MKDIRAT, AT_FDCWD, (long)ROOM, 0700, 0, 0, 0);
	if (problem)
		return problem;
	problem = raw(NR_CHROOT, (long)ROOM, 0, 0, 0, 0, 0);
	problem = problem ? problem : raw(NR_CHDIR, (long)"/", 0, 0, 0, 0, 0);
	for (int i = 0; i < peer_count && !problem; i++)
		if (to_be_made(i))
			problem = is_pair(i) ? as_peer(&peers[i], make_pairs, i) : make_connections(i);
	back = raw(NR_FCHDIR, root, 0, 0, 0, 0, 0);
	back = back ? back : raw(NR_CHROOT, (long)".", 0, 0, 0, 0, 0);
	raw(NR_UNLINKAT, AT_FDCWD, (long)"dev/" ROOM, AT_REMOVEDIR, 0, 0, 0);
	back = back ? back : raw(NR_FCHDIR, here, 0, 0, 0, 0, 0);
	raw(NR_CLOSE, here, 0, 0, 0, 0, 0);
	raw(NR_CLOSE, root, 0, 0, 0, 0, 0);
	return problem ? problem : back;
}

static void go_to(int stage)
{
	__atomic_store_n(&shared->stage, stage, __ATOMIC_SEQ_CST);
	raw(NR_FUTEX, (long)&shared->stage, FUTEX_WAKE, MOST_TASKS, 0, 0, 0);
}

/* Return whether it is another stage before long. */
static int await_other_than(int stage)
{
	struct { long seconds, nanoseconds; } patience = { 10, 0 };

	while (__atomic_load_n(&shared->stage, __ATOMIC_SEQ_CST) == stage)
		if (raw(NR_FUTEX, (long)&shared->stage, FUTEX_WAIT, stage, (long)&patience, 0, 0) == -ETIMEDOUT)
			return 0;
	return 1;
}

/* In the first task, before it has children: make the connections, and have them held. Ends the restore if that cannot be. */
static void make_peers(void)
{
	long problem;

	if (!peers || shared->stage != WAITING || raw(NR_GETPID, 0, 0, 0, 0, 0, 0) != 1)
		return;
	problem = make_in_room();
	for (int i = 0; i < 2 * peer_count; i++)
		own[i] = (u64)(shared->of[i] + 1);
	go_to(SOCKETS_MADE);
	if (problem || !await_other_than(SOCKETS_MADE))
		raw(NR_EXIT_GROUP, problem ? -problem : ETIMEDOUT, 0, 0, 0, 0, 0);
	for (int i = 0; i < 2 * peer_count; i++) {
		if (own[i])
			raw(NR_CLOSE, (long)own[i] - 1, 0, 0, 0, 0, 0);
		own[i] = 0;
	}
}

static void hold(void)
{
	long maker;

	raw(NR_CLOSE_RANGE, 0, ~0U, 0, 0, 0, 0);
	while (shared->stage == WAITING)
		await_other_than(WAITING);
	maker = raw(NR_PIDFD_OPEN, 1, 0, 0, 0, 0, 0);
	for (int i = 0; i < 2 * peer_count; i++) {
		if (shared->of[i] < 0)
			continue;
		shared->of[i] = (int)raw(NR_PIDFD_GETFD, maker, shared->of[i], 0, 0, 0, 0);
		if (shared->of[i] < 0)
			raw(NR_EXIT_GROUP, 1, 0, 0, 0, 0, 0);
	}
	go_to(SOCKETS_HELD);
	for (;;)
		await_other_than(SOCKETS_HELD);
}

/* Make a process among the container's that holds sockets until it is killed, and wait for that. Returns only if it cannot. */
static void make_among(long init)
{
	char path[32];
	long theirs, made;
	struct clone_args args = { .set_tid = (u64)&holder_number, .set_tid_size = 1 };

	append(append_number(append(path, "/proc/"), (unsigned int)init), "/ns/pid");
	theirs = raw(NR_OPENAT, AT_FDCWD, (long)path, O_RDONLY | SOCK_CLOEXEC, 0, 0, 0);
	if (theirs < 0 || raw(NR_SETNS, theirs, CLONE_NEWPID, 0, 0, 0, 0))
		return;
	raw(NR_CLOSE_RANGE, 0, ~0U, 0, 0, 0, 0);
	made = raw(NR_CLONE3, (long)&args, sizeof(args), 0, 0, 0, 0);
	if (!made)
		hold();
	if (made < 0)
		return;
	__atomic_store_n(&shared->holder, (int)made, __ATOMIC_SEQ_CST);
	raw(NR_FUTEX, (long)&shared->holder, FUTEX_WAKE, MOST_TASKS, 0, 0, 0);
	while (raw(NR_WAIT4, made, 0, WALL, 0, 0, 0) == -EINTR)
		;
	raw(NR_EXIT_GROUP, 0, 0, 0, 0, 0, 0);
}

/* The holder is the child of a process that waits for it at once: the first process of a namespace does not end before all others
 * are waited for, and CRIU waits for that one. */
static void make_holder(long init)
{
	struct clone_args args = { 0 };

	if (!peers || holder_keeper)
		return;
	holder_keeper = raw(NR_CLONE3, (long)&args, sizeof(args), 0, 0, 0, 0);
	if (!holder_keeper) {
		make_among(init);
		shared->holder = -1;
		raw(NR_FUTEX, (long)&shared->holder, FUTEX_WAKE, MOST_TASKS, 0, 0, 0);
		raw(NR_EXIT_GROUP, 1, 0, 0, 0, 0, 0);
	}
	while (holder_keeper > 0 && !__atomic_load_n(&shared->holder, __ATOMIC_SEQ_CST))
		raw(NR_FUTEX, (long)&shared->holder, FUTEX_WAIT, 0, 0, 0, 0);
	if (holder_keeper < 0 || shared->holder < 0) /* the first task would wait for it in vain */
		raw(NR_EXIT_GROUP, 1, 0, 0, 0, 0, 0);
}

/* Returns when it is gone: the copy must not see it. */
static void end_holder(void)
{
	if (!peers || holder_keeper <= 0)
		return;
	raw(NR_KILL, shared->holder, SIGKILL, 0, 0, 0, 0);
	while (raw(NR_WAIT4, holder_keeper, 0, WALL, 0, 0, 0) == -EINTR)
		;
	holder_keeper = 0;
}

static u64 inode_of(int fd)
{
	u64 status[32]; /* struct stat: its second word is the inode */

	return raw(NR_FSTAT, fd, (long)status, 0, 0, 0, 0) ? 0 : status[1];
}

/* Return what is known of a socket that this task has made. */
static const struct peer *peer_of(int fd, int how)
{
	u64 inode = peers ? inode_of(fd) : 0;

	for (int i = 0; inode && i < peer_count; i++)
		if (own[i] == inode)
			return peers[i].how == how ? &peers[i] : 0;
	return 0;
}

static long take_held(int i, int *ends)
{
	long keeper = raw(NR_PIDFD_OPEN, holder_number, 0, 0, 0, 0, 0), fd;

	if (keeper < 0)
		return keeper;
	for (int k = 0; k < 2; k++) {
		fd = shared->of[2 * i + k] < 0 ? -EINVAL : raw(NR_PIDFD_GETFD, keeper, shared->of[2 * i + k], 0, 0, 0, 0);
		if (fd < 0)
			return fd;
		raw(NR_FCNTL, fd, F_SETFD, 0, 0, 0, 0);
		ends[k] = (int)fd;
	}
	raw(NR_CLOSE, keeper, 0, 0, 0, 0, 0);
	return 0;
}

int socketpair(int family, int type, int protocol, int *ends)
{
	int i = (type & ~PLACED) >> PLACE_SHIFT;
	const struct peer *as = 0;
	struct user was;
	long problem;

	if (!peers || family != AF_UNIX)
		return (int)as_libc(raw(NR_SOCKETPAIR, family, type, protocol, (long)ends, 0, 0));
	if (type & PLACED) {
		if (i >= peer_count)
			return (int)as_libc(-EINVAL);
		as = &peers[i];
		if (as->pid != raw(NR_GETPID, 0, 0, 0, 0, 0, 0) || !is_pair(i))
			return (int)as_libc(take_held(i, ends));
		type &= KIND;
	}
	problem = become_peer(as, &was);
	problem = problem ? problem : raw(NR_SOCKETPAIR, family, type, protocol, (long)ends, 0, 0);
	become_again(&was);
	return (int)as_libc(problem);
}

int socket(int family, int type, int protocol)
{
	int i = (type & ~PLACED) >> PLACE_SHIFT, placed = peers && family == AF_UNIX && (type & PLACED) && i < peer_count;
	long fd = raw(NR_SOCKET, family, placed ? type & KIND : type, protocol, 0, 0, 0);

	if (placed && fd >= 0)
		own[i] = inode_of((int)fd);
	return (int)as_libc(fd);
}

int listen(int fd, int most)
{
	const struct peer *as = peer_of(fd, LISTENS);
	struct user was;
	long problem;

	if (!as)
		return (int)as_libc(raw(NR_LISTEN, fd, most, 0, 0, 0, 0));
	backlog = most;
	problem = as_peer(as, listen_as, fd);
	if (problem == -EEXIST || (problem && !as->pid)) { /* the process that is to be named is another one: unix_peers.py will see to it */
		problem = become_peer(as, &was);
		problem = problem ? problem : listen_as(as, fd);
		become_again(&was);
	}
	return (int)as_libc(problem);
}

int connect(int fd, const void *to, unsigned int length)
{
	const struct peer *as = peer_of(fd, CONNECTS);
	struct user was;
	long problem;

	if (!as)
		return (int)as_libc(raw(NR_CONNECT, fd, (long)to, (long)length, 0, 0, 0));
	problem = become_peer(as, &was);
	problem = problem ? problem : raw(NR_CONNECT, fd, (long)to, (long)length, 0, 0, 0);
	become_again(&was);
	return (int)as_libc(problem);
}

#define TRANSPORT "x/crtools-fd-" /* what CRIU's tasks call each other by, an abstract address */

int bind(int fd, const struct unix_address *to, unsigned int length)
{
	/* each of its tasks binds this before it has children */
	if (length > sizeof(to->family) + sizeof(TRANSPORT) && to->family == AF_UNIX && !to->path[0] &&
	    contains(to->path + 1, sizeof(TRANSPORT) - 2, &TRANSPORT[1], sizeof(TRANSPORT) - 2))
		make_peers();
	if (length > sizeof(to->family) + sizeof(TOKEN) && to->family == AF_UNIX && contains(to->path, sizeof(TOKEN) - 1, TOKEN, sizeof(TOKEN) - 1))
		return (int)as_libc(bind_as(fd, to->path));
	return (int)as_libc(raw(NR_BIND, fd, (long)to, (long)length, 0, 0, 0));
}

#define SIOCUNIXFILE 0x89E0
static int unix_file = -1; /* the file that CRIU was given last at the dump, and the address of its socket */
static struct unix_address unix_file_address;

static void note_unix_file(int sock, int file)
{
	unsigned int length = sizeof(unix_file_address);

	for (unsigned int i = 0; i < sizeof(unix_file_address.path); i++)
		unix_file_address.path[i] = 0;
	unix_file = raw(NR_GETSOCKNAME, sock, (long)&unix_file_address, (long)&length, 0, 0, 0) ? -1 : file;
}

static long text_length(const char *text)
{
	long n = 0;

	while (text[n])
		n++;
	return n;
}

/* Return whether a path of some length ends with a text that has a slash before it. */
static int ends_with(const char *path, long size, const char *text, long length)
{
	if (size <= length || path[size - length - 1] != '/')
		return 0;
	for (long i = 0; i < length; i++)
		if (path[size - length + i] != text[i])
			return 0;
	return 1;
}

ssize readlink(const char *path, char *buf, usize size)
{
	static const char gone[] = " (deleted)";
	long n = raw(NR_READLINKAT, AT_FDCWD, (long)path, (long)buf, (long)size, 0, 0), end, length;
	const char *address = unix_file_address.path;
	char ours[40];

	if (unix_file < 0 || n <= 0 || *address == '/' || !*address)
		return as_libc(n);
	append_number(append(ours, "/proc/self/fd/"), (unsigned int)unix_file);
	length = text_length(ours);
	if (text_length(path) != length || !contains(path, (usize)length, ours, (usize)length))
		return as_libc(n);
	unix_file = -1;
	if (address[0] == '.' && address[1] == '/') /* as CRIU does */
		address += 2;
	length = text_length(address);
	end = n > 10 && contains(buf + n - 10, 10, gone, 10) ? n - 10 : n;
	if (ends_with(buf, end, address, length))
		return n;
	if ((usize)length + sizeof(gone) + 1 > size)
		return as_libc(-ENAMETOOLONG);
	buf[0] = '/';
	for (long i = 0; i < length; i++)
		buf[1 + i] = address[i];
	for (long i = 0; end < n && i < 10; i++)
		buf[1 + length + i] = gone[i];
	return 1 + length + (end < n ? 10 : 0);
}

#define IPPROTO_TCP 6
#define TCP_REPAIR 19
enum { REPAIR_ON = 1, REPAIR_OFF_QUIETLY = -1 };

static int in_repair = -1; /* the socket that is being read */

int setsockopt(int fd, int level, int name, const void *value, unsigned int length)
{
	if (level == IPPROTO_TCP && name == TCP_REPAIR && length == sizeof(int) && !getenv("RELOCATE_VERDICT"))
		in_repair = *(const int *)value == REPAIR_ON ? fd : -1;
	return (int)as_libc(raw(NR_SETSOCKOPT, fd, level, name, (long)value, length, 0));
}

static void end_repair(void)
{
	int off = REPAIR_OFF_QUIETLY;

	if (in_repair >= 0)
		raw(NR_SETSOCKOPT, in_repair, IPPROTO_TCP, TCP_REPAIR, (long)&off, sizeof(off), 0);
	in_repair = -1;
}

int openat64(int directory, const char *path, int flags, ...)
{
	__builtin_va_list v;
	int mode;

	__builtin_va_start(v, flags);
	mode = __builtin_va_arg(v, int); /* garbage where there is none: the kernel looks at it only where there must be one */
	__builtin_va_end(v);
	if (contains(path, 14, "inventory.img", 14)) {
		await_images();
		read_addresses(directory);
		read_peers(directory);
	}
	if (contains(path, 11, "tcp-stream-", 11))
		end_repair();
	return (int)as_libc(raw(NR_OPENAT, directory, (long)path, flags, mode, 0, 0));
}

#define CT_GET 0x0101 /* NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET */
#define CT_GET_DYING 0x0106
#define NLM_F_DUMP 0x300
#define NFGENMSG_END 20 /* bytes of nlmsghdr and nfgenmsg: all that CRIU's request has */

struct nlmsghdr { unsigned int length; unsigned short type, flags; unsigned int sequence, port; };
struct iovec { void *base; usize length; };
struct msghdr { void *name; unsigned int name_length; struct iovec *parts; usize count; void *control; usize control_length; int flags; };

ssize sendmsg(int fd, const struct msghdr *message, int flags)
{
	if (message->count == 1 && message->parts->length == NFGENMSG_END) {
		struct nlmsghdr *header = message->parts->base;

		if (header->length == NFGENMSG_END && header->type == CT_GET && (header->flags & NLM_F_DUMP) == NLM_F_DUMP)
			header->type = CT_GET_DYING;
	}
	return as_libc(raw(NR_SENDMSG, fd, (long)message, flags, 0, 0, 0));
}

#define RLIMIT_NOFILE 7

int prlimit64(int pid, int resource, const struct rlimit64 *new, struct rlimit64 *old)
{
	long r = raw(NR_PRLIMIT64, pid, resource, (long)new, (long)old, 0, 0);

	if (r == -EPERM && resource == RLIMIT_NOFILE && new) {
		struct rlimit64 have;

		raw(NR_PRLIMIT64, pid, resource, 0, (long)&have, 0, 0);
		if (new->hard > have.hard) {
			have.soft = have.hard;
			r = raw(NR_PRLIMIT64, pid, resource, (long)&have, (long)old, 0, 0);
		}
	}
	return (int)as_libc(r);
}

int prlimit(int pid, int resource, const struct rlimit64 *new, struct rlimit64 *old)
{
	return prlimit64(pid, resource, new, old);
}

#define O_RDWR 2
#define O_APPEND 02000
#define O_CLOEXEC SOCK_CLOEXEC
#define E2BIG 7
#define PAGEMAP_SCAN 0xC0606610UL /* _IOWR('f', 16, struct pm_scan_arg) */
#define PAGE_IS_PRESENT (1UL << 3)
#define PAGE_IS_GUARD (1UL << 8)
#define PME_PRESENT (1UL << 63)
#define PME_SWAP (1UL << 62)
#define PME_GUARD_REGION (1UL << 58)

struct pm_scan_arg { u64 size, flags, start, end, walk_end, regions, count, max_pages, inverted, mask, anyof, wanted; };
struct page_region { u64 start, end, categories; };
struct area { u64 pid, start, end; };

enum { MOST_AREAS = 4096, BATCH = 128 };
static struct area areas[MOST_AREAS]; /* as deferred.py limits them */
static long area_count = -1;
static long list_fd;
static struct area noted[BATCH];
static int noted_count;

/* Read the list, once it is there: CRIU tries out what the kernel can do long before. */
static int have_areas(void)
{
	const char *path;
	long n, size = 0;

	if (area_count >= 0)
		return area_count > 0;
	path = getenv("RELOCATE_DEFERRED");
	if (!path || !*path)
		return 0;
	list_fd = raw(NR_OPENAT, AT_FDCWD, (long)path, O_RDWR | O_APPEND | O_CLOEXEC, 0, 0, 0);
	if (list_fd < 0)
		return 0;
	while (size < (long)sizeof(areas) && (n = raw(NR_READ, list_fd, (long)areas + size, (long)sizeof(areas) - size, 0, 0, 0)) > 0)
		size += n;
	area_count = size / (long)sizeof(areas[0]);
	return area_count > 0;
}

/* The process whose page map a descriptor is; 0 if it is something else. */
static u64 whose_pages(int fd)
{
	char path[32], link[64];
	const char *name = "/pagemap";
	long n, i;
	u64 pid = 0;

	append_number(append(path, "/proc/self/fd/"), (unsigned int)fd);
	n = raw(NR_READLINKAT, AT_FDCWD, (long)path, (long)link, sizeof(link), 0, 0);
	if (n < 9 || n >= (long)sizeof(link))
		return 0;
	for (i = 0; i < 8; i++)
		if (link[n - 8 + i] != name[i])
			return 0;
	for (i = n - 8; i > 0 && link[i - 1] >= '0' && link[i - 1] <= '9'; i--)
		;
	for (; i < n - 8; i++)
		pid = pid * 10 + (u64)(link[i] - '0');
	return pid;
}

/* The first deferred area of a process that ends behind an address; the list is in order. One beyond the last if there is none. */
static const struct area *area_behind(u64 pid, u64 address)
{
	const struct area *area = areas;

	while (area < areas + area_count && (area->pid < pid || (area->pid == pid && area->end <= address)))
		area++;
	return area;
}

/* Both return 0 or -errno: a list that cannot be written ends the dump, like an image. */
static long flush_notes(void)
{
	const char *from = (const char *)noted;
	long left = noted_count * (long)sizeof(noted[0]);

	noted_count = 0;
	while (left) {
		long n = raw(NR_WRITE, list_fd, (long)from, left, 0, 0, 0);

		if (n < 0)
			return n;
		from += n;
		left -= n;
	}
	return 0;
}

static long note(u64 pid, u64 start, u64 end)
{
	struct area *last = noted_count ? &noted[noted_count - 1] : 0;

	if (last && last->pid == pid && last->end == start) {
		last->end = end;
		return 0;
	}
	noted[noted_count++] = (struct area){ pid, start, end };
	return noted_count == BATCH ? flush_notes() : 0;
}

/* Take what is deferred out of regions with pages; return how many are left, or -errno. Those left may be more than there were,
 * so the regions are moved to the end of their vector first, and what is left is written from its beginning on. */
static long without_deferred(u64 pid, struct page_region *regions, long count, long room)
{
	long left = 0, problem = 0;

	for (long i = count; i-- > 0;)
		regions[room - count + i] = regions[i];
	for (long i = room - count; i < room; i++) {
		struct page_region region = regions[i];
		const struct area *area = area_behind(pid, region.start);

		while (region.start < region.end) {
			int inside = area < areas + area_count && area->pid == pid && area->start <= region.start;
			u64 until = area == areas + area_count || area->pid != pid ? region.end : inside ? area->end : area->start;

			if (until > region.end)
				until = region.end;
			if (!inside) {
				if (left > i)
					return -E2BIG;
				regions[left++] = (struct page_region){ region.start, until, region.categories };
			} else {
				if (!(region.categories & PAGE_IS_GUARD)) /* no page: a trap, which CRIU looks for apart */
					problem = note(pid, region.start, until);
				if (problem)
					return problem;
				area++;
			}
			region.start = until;
		}
	}
	problem = flush_notes();
	return problem ? problem : left;
}

int ioctl(int fd, u64 request, ...)
{
	__builtin_va_list v;
	struct pm_scan_arg *scan;
	long found;
	u64 pid;

	__builtin_va_start(v, request);
	scan = __builtin_va_arg(v, void *);
	__builtin_va_end(v);
	found = raw(NR_IOCTL, fd, (long)request, (long)scan, 0, 0, 0);
	if (request == SIOCUNIXFILE && found >= 0)
		note_unix_file(fd, (int)found);
	if (request == PAGEMAP_SCAN && found > 0 && (scan->wanted & PAGE_IS_PRESENT) && have_areas() && (pid = whose_pages(fd)))
		found = without_deferred(pid, (struct page_region *)scan->regions, found, (long)scan->count);
	return (int)as_libc(found);
}

ssize pread64(int fd, void *buf, usize len, long offset)
{
	long got = raw(NR_PREAD64, fd, (long)buf, (long)len, offset, 0, 0), problem = 0;
	u64 pid, page = (u64)getpagesize(), address = (u64)offset / sizeof(u64) * page;

	if (got > 0 && have_areas() && (pid = whose_pages(fd))) {
		const struct area *area = area_behind(pid, address);

		for (u64 *entry = buf; (char *)entry < (char *)buf + got && !problem; entry++, address += page) {
			while (area < areas + area_count && area->pid == pid && area->end <= address)
				area++;
			if (area == areas + area_count || area->pid != pid)
				break;
			if (area->start > address)
				continue;
			if ((*entry & (PME_PRESENT | PME_SWAP)) && !(*entry & PME_GUARD_REGION))
				problem = note(pid, address, address + page);
			*entry &= PME_GUARD_REGION;
		}
		problem = problem ? problem : flush_notes();
	}
	return as_libc(problem ? problem : got);
}

#define ENOMEM 12
#define MAP_NORESERVE 0x4000

void *mmap64(void *at, usize length, int prot, int flags, int fd, long offset)
{
	long r = raw(NR_MMAP, (long)at, (long)length, prot, flags, fd, offset);

	/* a mapping of ordinary size is refused for want of memory, and then it is to be refused */
	if (r == -ENOMEM && (flags & (MAP_PRIVATE | MAP_ANONYMOUS)) && !(flags & MAP_NORESERVE))
		r = raw(NR_MMAP, (long)at, (long)length, prot, flags | MAP_NORESERVE, fd, offset);
	return (void *)as_libc(r);
}

void *mmap(void *at, usize length, int prot, int flags, int fd, long offset)
{
	return mmap64(at, length, prot, flags, fd, offset);
}

#define ERESTARTNOINTR 513
#define ERESTART_RESTARTBLOCK 516

#if defined(__x86_64__)
/* struct user_regs_struct of <sys/user.h>, native */
struct registers { u64 r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi, orig_rax, rip, cs, eflags, rsp, ss, fs_base, gs_base, ds, es, fs, gs; };
enum { NR_NANOSLEEP = 35, NR_CLOCK_NANOSLEEP = 230, CODE_64 = 0x33 };

static void sleep_again(struct registers *of)
{
	int overwrites = of->orig_rax == NR_NANOSLEEP ? of->rdi == of->rsi : of->orig_rax == NR_CLOCK_NANOSLEEP && of->rdx == of->r10;

	if ((long)of->rax == -ERESTART_RESTARTBLOCK && of->cs == CODE_64 && overwrites)
		of->rax = (u64)-ERESTARTNOINTR;
}
#endif

enum { GET_REGISTERS = 0x4204, NT_PRSTATUS = 1, PEEK_TEXT = 1, PEEK_USER = 3, DETACH = 17, SET_OPTIONS = 0x4200, SEIZE = 0x4206, EXIT_KILL = 1 << 20 };

/* The first task is let go: from now on the copy has run, whatever becomes of us. The keeper need not answer, and need not be there. */
static void say_that_it_runs(void)
{
	may_run = 0;
	raw(NR_CLOSE, tell_keeper(getenv("RELOCATE_VERDICT"), 'r'), 0, 0, 0, 0, 0);
}

/* As glibc has it: what is peeked at is returned. */
long ptrace(int request, ...)
{
	__builtin_va_list v;
	long pid, address, data, word, r;

	__builtin_va_start(v, request);
	pid = __builtin_va_arg(v, long);
	address = __builtin_va_arg(v, long);
	data = __builtin_va_arg(v, long); /* garbage where there is none: the kernel looks at it only where there must be one */
	__builtin_va_end(v);
	if ((request == SEIZE || request == SET_OPTIONS) && getenv("RELOCATE_VERDICT"))
		data |= EXIT_KILL;
	if (request == DETACH && may_run)
		say_that_it_runs();
	if (request >= PEEK_TEXT && request <= PEEK_USER)
		data = (long)&word;
	r = as_libc(raw(NR_PTRACE, request, pid, address, data, 0, 0));
#if defined(__x86_64__)
	if (request == GET_REGISTERS && address == NT_PRSTATUS && !r && ((struct iovec *)data)->length >= sizeof(struct registers))
		sleep_again(((struct iovec *)data)->base);
#endif
	if (r < 0 || request < PEEK_TEXT || request > PEEK_USER)
		return r;
	*__errno_location() = 0;
	return word;
}
